package parley_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/store/pebblestore"
)

// onDisk returns a Live that keeps everything in dir, with the same secret each
// time.
func onDisk(t *testing.T, dir string, opts ...parley.Option) *parley.Live {
	t.Helper()
	data, err := pebblestore.Open(dir, pebblestore.Options{})
	must(t, err)
	live, err := parley.Open(append(opts, parley.WithData(data), parley.WithSecret(make([]byte, 32)),
		parley.WithTopic("public/d/#", parley.TopicSettings{Durable: true, History: 1000, HistoryAge: time.Hour, Receipts: parley.ReceiptsAuto}))...)
	must(t, err)
	return live
}

// client is a connection whose connect command the test writes.
type client struct{ *parleytest.Client }

func dialAs(s *parleytest.Server, user string, c *parleyv1.Connect) (client, *parleyv1.Connected) {
	cl := client{s.Open(http.Header{"Parley-Test-User": {user}})}
	r := cl.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: c}})
	return cl, r.GetConnected()
}

func (c client) subscribe(sub *parleyv1.Subscribe) *parleyv1.Subscribed {
	return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: sub}}).GetSubscribed()
}

func (c client) ack(topic string, seq uint64) {
	c.Send(fmt.Sprintf(`{"ack":{"topic":%q,"seq":%d}}`, topic, seq))
	c.Do(&parleyv1.Command{Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}) // it has been read
}

// messages returns the seqs of the next n messages.
func (c client) messages(n int) (seqs []uint64) {
	for range n {
		m := c.Until("a message", func(r *parleyv1.Reply) bool { return r.GetMessage() != nil })
		seqs = append(seqs, m.GetMessage().GetSeq())
	}
	return seqs
}

// A session, what it is subscribed to and how far it has got outlive the
// process: by its ticket, and by the name of its device without any ticket.
func TestSessionsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	var byTicket string
	t.Run("before", func(t *testing.T) {
		s := parleytest.Serve(t, onDisk(t, dir))
		a, connected := dialAs(s, "ada", &parleyv1.Connect{ExpirySeconds: 3600})
		byTicket = connected.GetSession()
		if connected.GetExpirySeconds() != 3600 || connected.GetResumed() {
			t.Errorf("connected: %v", connected)
		}
		b, connected := dialAs(s, "bob", &parleyv1.Connect{Device: "phone", Subscriptions: []*parleyv1.Subscribe{{Topic: "public/d/#", Qos: 1}}})
		if connected.GetExpirySeconds() != 7*24*3600 || connected.GetSubscriptions()[0].GetQos() != 1 {
			t.Errorf("connected: %v", connected)
		}
		if sub := a.subscribe(&parleyv1.Subscribe{Topic: "public/d/1", Qos: 2}); sub.GetQos() != 2 && sub.GetQos() != 1 {
			t.Errorf("subscribed: %v", sub)
		}
		a.subscribe(&parleyv1.Subscribe{Topic: "public/fleeting"})
		for i := range 5 {
			a.Publish("public/d/1", "m", i)
		}
		a.messages(5)
		b.messages(5)
		a.ack("public/d/1", 3)
		b.ack("public/d/1", 4)
		a.Drop()
		b.Drop()
	})
	t.Run("between", func(t *testing.T) { // nobody is there while more is published
		live := onDisk(t, dir)
		for i := range 3 {
			_, err := live.Publish(t.Context(), "public/d/1", "m", i)
			must(t, err)
		}
		_, err := live.Publish(t.Context(), "public/d/new", "m", 1)
		must(t, err)
		must(t, live.Shutdown(t.Context()))
	})
	t.Run("after", func(t *testing.T) {
		s := parleytest.Serve(t, onDisk(t, dir))
		a, connected := dialAs(s, "ada", &parleyv1.Connect{Session: byTicket})
		if !connected.GetResumed() || len(connected.GetSubscriptions()) != 2 || connected.GetExpirySeconds() != 3600 {
			t.Fatalf("connected: %v", connected)
		}
		for _, sub := range connected.GetSubscriptions() {
			if lasts := sub.GetTopic() == "public/d/1"; sub.GetRecovered() != lasts || sub.GetResumed() != lasts {
				t.Errorf("subscription: %v", sub)
			}
		}
		if seqs := a.messages(5); fmt.Sprint(seqs) != "[4 5 6 7 8]" {
			t.Errorf("by the ticket came %v", seqs)
		}
		b, connected := dialAs(s, "bob", &parleyv1.Connect{Device: "phone"})
		if !connected.GetResumed() || len(connected.GetSubscriptions()) != 1 || !connected.GetSubscriptions()[0].GetRecovered() {
			t.Fatalf("connected: %v", connected)
		}
		if seqs := b.messages(5); fmt.Sprint(seqs) != "[5 6 7 8 1]" && fmt.Sprint(seqs) != "[1 5 6 7 8]" {
			t.Errorf("by the device came %v", seqs)
		}
		b.ExpectNothing()
		_, other := dialAs(s, "eve", &parleyv1.Connect{Session: byTicket, Device: "phone"})
		if other.GetResumed() || len(other.GetSubscriptions()) > 0 {
			t.Errorf("another user: %v", other)
		}
		_, clean := dialAs(s, "bob", &parleyv1.Connect{Device: "phone", Clean: true})
		if end := b.ExpectEnd(); end.Code != 4501 || clean.GetResumed() || len(clean.GetSubscriptions()) > 0 {
			t.Errorf("clean: %v, and the older %v", clean, end)
		}
	})
	t.Run("at last", func(t *testing.T) {
		s := parleytest.Serve(t, onDisk(t, dir))
		if _, connected := dialAs(s, "bob", &parleyv1.Connect{Device: "phone"}); connected.GetResumed() {
			t.Errorf("what was cleaned is there again: %v", connected)
		}
	})
}

// Many connections that want the same session at once: each goes on with what
// the one before had, and the last has it all.
func TestRacesForOneSession(t *testing.T) {
	for name, by := range map[string]func(ticket string) *parleyv1.Connect{
		"by ticket": func(ticket string) *parleyv1.Connect { return &parleyv1.Connect{Session: ticket} },
		"by device": func(string) *parleyv1.Connect { return &parleyv1.Connect{Device: "phone"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := parleytest.Serve(t, onDisk(t, t.TempDir()))
			first, connected := dialAs(s, "ada", &parleyv1.Connect{Device: "phone", Subscriptions: []*parleyv1.Subscribe{
				{Topic: "public/d/1", Qos: 1}, {Topic: "public/d/+", Qos: 1}, {Topic: "public/x"},
			}})
			ticket := connected.GetSession()
			for round := range 20 {
				if round%2 == 0 {
					first.Drop() // else it is taken over
				}
				const rivals = 6
				clients, answers := make([]client, rivals), make([]*parleyv1.Connected, rivals)
				var running sync.WaitGroup
				for i := range rivals {
					running.Go(func() { clients[i], answers[i] = rival(s, by(ticket)) })
				}
				running.Wait()
				alive := -1
				for i, a := range answers {
					if a == nil {
						continue // it was taken over before it could be answered
					}
					if !a.GetResumed() || len(a.GetSubscriptions()) != 3 {
						t.Fatalf("round %d: client %d got %v", round, i, a)
					}
				}
				at := publishTo(t, s)
				for i, c := range clients {
					if answers[i] != nil && c.has(at) {
						if alive >= 0 {
							t.Fatalf("round %d: %d and %d both have it", round, alive, i)
						}
						alive = i
					}
				}
				if alive < 0 {
					t.Fatalf("round %d: nobody has the session", round)
				}
				first = clients[alive]
			}
		})
	}
}

// rival connects as one of many; nil when another had the session before it was
// answered.
func rival(s *parleytest.Server, c *parleyv1.Connect) (client, *parleyv1.Connected) {
	cl := client{s.Open(http.Header{"Parley-Test-User": {"ada"}})}
	cl.Send(fmt.Sprintf(`{"id":1,"connect":{"session":%q,"device":%q}}`, c.GetSession(), c.GetDevice()))
	r := cl.Until("the answer", func(r *parleyv1.Reply) bool { return r.GetConnected() != nil || r.GetLeaving() != nil })
	return cl, r.GetConnected()
}

func publishTo(t *testing.T, s *parleytest.Server) uint64 {
	t.Helper()
	at, err := s.Live.Publish(t.Context(), "public/d/1", "m", 1)
	must(t, err)
	return at.Seq
}

// has reads until the message with seq, or the end.
func (c client) has(seq uint64) bool {
	for {
		r, end := c.next()
		if end {
			return false
		}
		if r.GetMessage().GetSeq() == seq {
			c.ack("public/d/1", seq)
			return true
		}
	}
}

func (c client) next() (r *parleyv1.Reply, end bool) {
	r = c.Until("anything", func(*parleyv1.Reply) bool { return true })
	return r, r.GetLeaving() != nil
}

// Whoever is banned has nothing to come back to, on no device.
func TestDisconnectForgets(t *testing.T) {
	dir := t.TempDir()
	s := parleytest.Serve(t, onDisk(t, dir))
	subs := []*parleyv1.Subscribe{{Topic: "public/d/1", Qos: 1}}
	away, connected := dialAs(s, "ada", &parleyv1.Connect{Device: "phone", Subscriptions: subs})
	here, _ := dialAs(s, "ada", &parleyv1.Connect{Device: "laptop", Subscriptions: subs})
	away.Drop()
	if n, err := s.Live.Disconnect(t.Context(), "ada", "banned"); err != nil || n < 1 {
		t.Errorf("%d, %v", n, err)
	}
	if end := here.ExpectEnd(); end.Code != 4502 {
		t.Errorf("closed with %v", end)
	}
	for _, c := range []*parleyv1.Connect{{Session: connected.GetSession()}, {Device: "laptop"}} {
		if _, again := dialAs(s, "ada", c); again.GetResumed() || len(again.GetSubscriptions()) > 0 {
			t.Errorf("%v resumed %v", c, again)
		}
	}
}

// Roles of a live connection follow what the application says.
func TestRolesThatChange(t *testing.T) {
	var mu sync.Mutex
	roles := map[string][]string{"ada": {"admin"}, "eve": {"admin"}}
	identify := func(_ context.Context, user string) (parley.Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		if user == "zoe" {
			panic("an application's mistake")
		}
		if roles[user] == nil {
			return parley.Identity{}, errors.New("no such user")
		}
		return parley.Identity{User: user, Roles: roles[user]}, nil
	}
	all := []auth.Action{auth.ActionSubscribe, auth.ActionPublish}
	live := parley.New(parley.WithIdentity(identify), parley.WithRules(
		auth.Rule{Actions: all, Pattern: "public/#"}, auth.Rule{Roles: []string{"admin"}, Actions: all, Pattern: "admin/#"}))
	s := parleytest.Serve(t, live)
	ada, eve, zoe := s.Dial("ada", "admin"), s.Dial("eve", "admin"), s.Dial("zoe", "admin")
	for _, c := range []*parleytest.Client{ada, eve, zoe} {
		c.Subscribe("admin/1")
	}
	mu.Lock()
	roles["ada"] = []string{"member"}
	delete(roles, "eve")
	mu.Unlock()
	for _, user := range []string{"ada", "eve", "zoe", "nobody"} {
		want := 1
		if user == "nobody" {
			want = 0
		}
		if n := live.Reauthorize(t.Context(), user); n != want {
			t.Errorf("%d subscriptions of %s ended", n, user)
		}
	}
	ada.Until("the end of a subscription", func(r *parleyv1.Reply) bool { return r.GetUnsubscribed().GetTopic() == "admin/1" })
	if e := subscribe(ada, "admin/1").GetError(); e.GetCode() != "forbidden" || !strings.Contains(e.GetMessage(), "member") {
		t.Errorf("got %v", e)
	}
	for _, c := range []*parleytest.Client{eve, zoe} {
		if end := c.ExpectEnd(); end.Code != 4502 {
			t.Errorf("closed with %v", end)
		}
	}
	mu.Lock()
	roles["ada"] = []string{"admin"}
	mu.Unlock()
	live.Reauthorize(t.Context(), "ada")
	ada.Subscribe("admin/1")
}

// Receipts over sockets: who has got how far, to those who want to know.
func TestReceipts(t *testing.T) {
	dir := t.TempDir()
	heard := make(chan parley.Receipt, 100)
	t.Run("before", func(t *testing.T) {
		live := onDisk(t, dir)
		live.OnReceipt(func(r parley.Receipt) { heard <- r })
		s := parleytest.Serve(t, live)
		ada, _ := dialAs(s, "ada", &parleyv1.Connect{Subscriptions: []*parleyv1.Subscribe{{Topic: "public/d/1", Receipts: true}}})
		bob, _ := dialAs(s, "bob", &parleyv1.Connect{Subscriptions: []*parleyv1.Subscribe{{Topic: "public/d/1", Qos: 1, Receipts: true}}})
		for i := range 3 {
			ada.Publish("public/d/1", "m", i)
		}
		bob.messages(3)
		bob.ack("public/d/1", 2)
		r := ada.Until("a receipt", func(r *parleyv1.Reply) bool { return r.GetReceipt() != nil }).GetReceipt()
		if r.GetUser() != "bob" || r.GetDelivered() != 2 || r.GetRead() != 0 || r.GetTopic() != "public/d/1" {
			t.Errorf("delivered: %v", r)
		}
		said := bob.Do(&parleyv1.Command{Command: &parleyv1.Command_Read{Read: &parleyv1.Read{Topic: "public/d/1", Seq: 99}}}).GetReceipt()
		if said.GetRead() != 3 || said.GetUser() != "bob" {
			t.Errorf("read: %v", said)
		}
		r = ada.Until("a receipt", func(r *parleyv1.Reply) bool { return r.GetReceipt().GetRead() > 0 }).GetReceipt()
		if r.GetDelivered() != 3 || r.GetRead() != 3 {
			t.Errorf("read: %v", r)
		}
		bob.ExpectNothing() // it knows what it did
		if got := <-heard; got.User != "bob" || got.Delivered != 2 {
			t.Errorf("the application heard %+v", got)
		}
	})
	t.Run("after", func(t *testing.T) {
		live := onDisk(t, dir)
		s := parleytest.Serve(t, live)
		c := s.Dial("eve")
		list := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Receipts{Receipts: &parleyv1.Receipts{Topic: "public/d/1"}}}).GetReceipts()
		if rs := list.GetReceipts(); len(rs) != 1 || rs[0].GetUser() != "bob" || rs[0].GetRead() != 3 {
			t.Errorf("the list: %v", list)
		}
		if rs, err := live.Receipts(t.Context(), "public/d/1"); err != nil || len(rs) != 1 || rs[0].User != "bob" || rs[0].Read != 3 {
			t.Errorf("receipts: %+v, %v", rs, err)
		}
		for topic, code := range map[string]string{"public/1": "not_found", "secret": "forbidden", "public/+": "bad_request"} {
			r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Receipts{Receipts: &parleyv1.Receipts{Topic: topic}}})
			if r.GetError().GetCode() != code {
				t.Errorf("receipts of %s: %v", topic, r)
			}
			if _, err := live.Receipts(t.Context(), topic); (err == nil) != (topic == "secret") && topic != "secret" {
				t.Errorf("receipts of %s: %v", topic, err)
			}
		}
	})
}
