package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session/vault/vaulttest"
	"github.com/parleyhq/parley/topic"
)

// relay is a broker that outlives those who use it.
type relay struct {
	*localbroker.Broker

	mu sync.RWMutex
	to broker.Handler
}

func (r *relay) Start(to broker.Handler) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
	return nil
}

func (r *relay) HandleMessage(m *message.Message) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.to != nil {
		r.to.HandleMessage(m)
	}
}

func (r *relay) Close(context.Context) error { return r.Start(nil) }

// want is one subscription that was answered: everything above base, of each
// topic, has to arrive.
type want struct {
	filter topic.Filter
	base   map[string]uint64
	got    map[string]map[uint64]bool
}

// peer is one connection of a device.
type peer struct {
	w       *model
	device  string
	session *Session

	mu        sync.Mutex
	connected *parleyv1.Connected
	last      map[string]uint64 // by topic, on this connection
	answered  []string          // filters
	ended     bool
	wrong     string
}

func (p *peer) Reply(r *parleyv1.Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.GetConnected() != nil:
		p.connected = r.GetConnected()
		for _, sub := range r.GetConnected().GetSubscriptions() {
			p.answered = append(p.answered, sub.GetTopic())
		}
	case p.connected == nil && r.GetLeaving() == nil:
		p.wrong = fmt.Sprintf("before the answer to connect came %v", r)
	case r.GetSubscribed() != nil:
		p.answered = append(p.answered, r.GetSubscribed().GetTopic())
	case r.GetError() != nil:
		p.wrong = r.String()
	}
}

func (p *peer) Deliver(d *hub.Delivery) bool {
	if d.Message == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := d.Message
	// What is not acknowledged comes again when a filter is subscribed to again,
	// and when two that overlap go on.
	last := p.last[m.Topic]
	if last != 0 && m.Seq > last+1 {
		p.wrong = fmt.Sprintf("%s: %d came after %d", m.Topic, m.Seq, last)
	}
	if p.connected == nil {
		p.wrong = "a message came before the answer to connect"
	}
	p.last[m.Topic] = max(last, m.Seq)
	p.w.received(p.device, m)
	return true
}

func (p *peer) Ready(func()) bool { return true }
func (p *peer) Abort()            { p.Close(protocol.Lost) }

func (p *peer) Close(r protocol.Reason) {
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	p.mu.Unlock()
	if !ended {
		go p.session.End(r)
	}
}

func (p *peer) say(c *parleyv1.Command) {
	p.session.Handle([]protocol.Incoming{{ID: 1, Command: c}})
}

// model is what clients were told, and therefore may rely on.
type model struct {
	broker  *relay
	disk    *vaulttest.Disk
	m       *Manager
	stop    context.CancelFunc
	topics  *pubsub.Service
	newest  map[string]uint64
	tickets map[string]string
	peers   map[string]*peer // by device

	mu    sync.Mutex
	wants map[string]map[string]*want // by device and filter
	asked map[string]map[string]*want // not answered yet
}

func (w *model) received(device string, m *message.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wants := range []map[string]*want{w.wants[device], w.asked[device]} {
		for _, one := range wants {
			if one.filter.Matches(topic.Name(m.Topic)) {
				if one.got[m.Topic] == nil {
					one.got[m.Topic] = make(map[uint64]bool)
				}
				one.got[m.Topic][m.Seq] = true
			}
		}
	}
}

func (w *model) start(t *rapid.T) {
	rules, err := auth.NewRules(auth.DefaultRules()...)
	if err == nil {
		w.topics, err = pubsub.New(pubsub.Config{Broker: w.broker, Authorizer: rules, Default: &pubsub.Settings{History: 10_000, HistoryAge: 1000 * time.Hour}})
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ticket.NewKeys(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	w.m = NewManager(Config{PubSub: w.topics, Router: routing.New(0, nil), Keys: keys, Store: w.disk, Limits: Limits{HeartbeatInterval: 1000 * time.Hour}})
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	if err := w.topics.Start(ctx, w.m); err != nil {
		t.Fatal(err)
	}
	w.m.Start()
	w.peers = make(map[string]*peer)
}

// halt ends the process; nothing it still says is heard.
func (w *model) halt() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.m.Drain(over)
	w.disk.Forsake()
	w.m.Close()
	w.stop()
	w.topics.Wait()
}

func (w *model) crash(t *rapid.T) {
	left := w.disk.Crash("ada")
	w.halt()
	w.disk = left
	w.mu.Lock()
	clear(w.asked)
	w.mu.Unlock()
	w.start(t)
}

func (w *model) connect(t *rapid.T, device string, c *parleyv1.Connect) {
	if err := w.m.Admit("192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	p := &peer{w: w, device: device, last: make(map[string]uint64)}
	p.session = w.m.Accept(p, Info{Address: "192.0.2.1", Known: true, Identity: auth.Identity{User: "ada"}})
	w.mu.Lock()
	delete(w.asked, device)
	if c.GetClean() {
		delete(w.wants, device)
	}
	if list := c.GetSubscriptions(); len(list) > 0 { // they replace what was
		for f := range w.wants[device] {
			if !slices.ContainsFunc(list, func(sub *parleyv1.Subscribe) bool { return sub.GetTopic() == f }) {
				delete(w.wants[device], f)
			}
		}
		for _, sub := range list {
			w.ask(device, topic.Filter(sub.GetTopic()))
		}
	}
	w.mu.Unlock()
	w.peers[device] = p
	p.say(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: c}})
}

// ask notes that a device wants f, unless it has it and goes on; mu is held.
func (w *model) ask(device string, f topic.Filter) {
	if w.wants[device][string(f)] != nil {
		return
	}
	one := &want{filter: f, base: maps.Clone(w.newest), got: make(map[string]map[uint64]bool)}
	if w.asked[device] == nil {
		w.asked[device] = make(map[string]*want)
	}
	w.asked[device][string(f)] = one
}

func (w *model) subscribe(device string, f topic.Filter) {
	w.mu.Lock()
	w.ask(device, f)
	w.mu.Unlock()
	w.peers[device].say(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: string(f), Qos: 1}}})
}

// check looks, when nothing moves, whether everybody has what they were
// promised.
func (w *model) check(t *rapid.T) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for device, p := range w.peers {
		p.mu.Lock()
		connected, wrong, answered, ended := p.connected, p.wrong, p.answered, p.ended
		p.answered = nil
		p.mu.Unlock()
		if wrong != "" {
			t.Fatalf("%s: %s", device, wrong)
		}
		if w.wants[device] == nil {
			w.wants[device] = make(map[string]*want)
		}
		for _, f := range answered {
			if one := w.asked[device][f]; one != nil {
				w.wants[device][f] = one
				delete(w.asked[device], f)
			}
		}
		if connected == nil || ended {
			continue
		}
		w.tickets[device] = connected.GetSession()
		if l := p.session.last.Load(); l != nil && l.answers.Len() > 0 {
			continue // what comes through a subscription waits for its answer
		}
		for f, one := range w.wants[device] {
			for name, newest := range w.newest {
				for seq := one.base[name] + 1; seq <= newest && one.filter.Matches(topic.Name(name)); seq++ {
					if !one.got[name][seq] {
						t.Fatalf("%s: %s of %s was lost: %d, newest %d, resumed %v", device, name, f, seq, newest, connected)
					}
				}
			}
		}
	}
}

func (w *model) actions() map[string]func(*rapid.T) {
	device := rapid.SampledFrom([]string{"phone", "laptop"})
	name := rapid.SampledFrom([]string{"public/0", "public/1"})
	filter := rapid.SampledFrom([]topic.Filter{"public/0", "public/1", "public/+"})
	online := func(t *rapid.T) *peer {
		p := w.peers[device.Draw(t, "device")]
		if p == nil || p.ended {
			t.Skip("it has no connection")
		}
		return p
	}
	return map[string]func(*rapid.T){
		"connect": func(t *rapid.T) {
			d := device.Draw(t, "device")
			c := &parleyv1.Connect{Device: d, Clean: rapid.IntRange(0, 9).Draw(t, "clean") == 0}
			if rapid.Bool().Draw(t, "by ticket") {
				c.Session = w.tickets[d]
			}
			if rapid.IntRange(0, 2).Draw(t, "with a list") == 0 {
				for _, f := range rapid.SliceOfNDistinct(filter, 1, 3, rapid.ID).Draw(t, "filters") {
					c.Subscriptions = append(c.Subscriptions, &parleyv1.Subscribe{Topic: string(f), Qos: 1})
				}
			}
			w.connect(t, d, c)
		},
		"drop": func(t *rapid.T) { online(t).Abort() },
		"subscribe": func(t *rapid.T) {
			p := online(t)
			if !p.session.isWelcomed() {
				t.Skip("it waits for its welcome")
			}
			w.subscribe(p.device, filter.Draw(t, "filter"))
		},
		"unsubscribe": func(t *rapid.T) {
			p := online(t)
			if l := p.session.last.Load(); !p.session.isWelcomed() || l != nil && l.answers.Len() > 0 {
				t.Skip("it would wait for the disk, and the test with it")
			}
			f := string(filter.Draw(t, "filter"))
			w.mu.Lock()
			delete(w.wants[p.device], f)
			delete(w.asked[p.device], f)
			w.mu.Unlock()
			p.mu.Lock()
			clear(p.last) // what comes until it subscribes again is not for it
			p.mu.Unlock()
			p.say(&parleyv1.Command{Command: &parleyv1.Command_Unsubscribe{Unsubscribe: &parleyv1.Unsubscribe{Topic: f}}})
		},
		"publish": func(t *rapid.T) {
			n := name.Draw(t, "topic")
			w.newest[n]++
			w.topics.Publish(pubsub.Publication{Message: &message.Message{Topic: n}}, func(r broker.Result, err error) {
				if err != nil || r.Position.Seq != w.newest[n] {
					t.Fatalf("%v, %v", r, err)
				}
			})
		},
		"ack": func(t *rapid.T) {
			p, n := online(t), name.Draw(t, "topic")
			p.mu.Lock()
			seq, welcome := p.last[n], p.connected != nil
			p.mu.Unlock()
			if welcome {
				p.say(&parleyv1.Command{Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: n, Seq: seq}}})
			}
		},
		"wait":   func(*rapid.T) { <-time.NewTimer(300 * time.Millisecond).C },
		"commit": func(t *rapid.T) { w.disk.Commit(rapid.IntRange(1, 4).Draw(t, "writes")) },
		"crash":  w.crash,
		"":       w.check,
	}
}

// Two devices connect, are cut off, take each other's place, subscribe and
// acknowledge, while messages are published and the server crashes: nobody
// loses anything that was published after their subscription was answered,
// everything comes in order, and nothing before its answer.
func TestSessionsAgainstAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			w := &model{
				broker: &relay{Broker: localbroker.New(localbroker.Limits{})}, disk: vaulttest.New(), newest: make(map[string]uint64),
				tickets: make(map[string]string), wants: make(map[string]map[string]*want), asked: make(map[string]map[string]*want),
			}
			if err := w.broker.Broker.Start(w.broker); err != nil {
				t.Fatal(err)
			}
			w.start(t)
			defer func() {
				w.halt()
				_ = w.broker.Broker.Close(context.Background())
			}()
			t.Repeat(w.actions())
		})
	})
}
