package client_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

// model is a server that keeps everything it is told and carries it badly: it
// loses and doubles messages on their way, and connections break at any moment. Nothing it
// does may be seen by who subscribes.
type model struct {
	t *testing.T
	n *network
	r *rand.Rand

	mu   sync.Mutex
	logs map[string][]*parleyv1.Message
	keys map[string]uint64
	peer *peer // the present connection
	subs []string
	lose float64
}

// serve answers connections until the bubble ends.
func (m *model) serve(done <-chan struct{}) {
	for {
		select {
		case p := <-m.n.peers:
			m.mu.Lock()
			m.peer, m.subs = p, nil
			m.mu.Unlock()
			go m.attend(p)
		case <-done:
			return
		}
	}
}

func (m *model) attend(p *peer) {
	for {
		select {
		case c := <-p.commands:
			m.mu.Lock()
			m.answer(p, c)
			m.mu.Unlock()
		case <-p.gone:
			return
		}
	}
}

// tell writes without caring whether it arrives.
func (m *model) tell(p *peer, r *parleyv1.Reply) {
	_, _ = p.conn.Write(ws.MustCompileFrame(ws.NewTextFrame((protocol.JSON{}).AppendReply(nil, r))))
}

func (m *model) answer(p *peer, c *parleyv1.Command) {
	id := c.GetId()
	switch {
	case c.GetConnect() != nil:
		answer := &parleyv1.Connected{Session: "s", User: "ann", PingSeconds: 25}
		for _, s := range c.GetConnect().GetSubscriptions() {
			answer.Subscriptions = append(answer.Subscriptions, m.subscribe(s))
		}
		m.tell(p, &parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Connected{Connected: answer}})
		for _, s := range c.GetConnect().GetSubscriptions() {
			m.catchUp(p, s)
		}
	case c.GetSubscribe() != nil:
		m.tell(p, &parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Subscribed{Subscribed: m.subscribe(c.GetSubscribe())}})
		m.catchUp(p, c.GetSubscribe())
	case c.GetHistory() != nil:
		m.tell(p, &parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_History{History: m.page(c.GetHistory())}})
	case c.GetPublish() != nil:
		w := c.GetPublish()
		seq, again := m.keys[w.GetKey()]
		if !again {
			seq = m.append(w.GetTopic(), w.GetPayload())
			m.keys[w.GetKey()] = seq
		}
		m.tell(p, &parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Published{Published: &parleyv1.Published{Position: position(seq), Duplicate: again}}})
	}
}

func (m *model) subscribe(s *parleyv1.Subscribe) *parleyv1.Subscribed {
	m.subs = append(m.subs, s.GetTopic())
	answer := &parleyv1.Subscribed{Topic: s.GetTopic(), Recovered: true}
	if !topic.Filter(s.GetTopic()).Wildcard() {
		answer.Position = position(uint64(len(m.logs[s.GetTopic()])))
	}
	return answer
}

func (m *model) catchUp(p *peer, s *parleyv1.Subscribe) {
	if s.GetSince() == nil {
		return
	}
	for _, msg := range m.logs[s.GetTopic()][s.GetSince().GetSeq():] {
		m.tell(p, &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: msg}})
	}
}

func (m *model) page(h *parleyv1.History) *parleyv1.HistoryPage {
	all := m.logs[h.GetTopic()]
	rest := all[min(int(h.GetAfter().GetSeq()), len(all)):]
	few := min(len(rest), 1+m.r.IntN(5))
	return &parleyv1.HistoryPage{Topic: h.GetTopic(), Messages: rest[:few], More: few < len(rest), Position: position(uint64(len(all)))}
}

// append keeps a message and carries it, perhaps.
func (m *model) append(name string, payload []byte) uint64 {
	seq := uint64(len(m.logs[name]) + 1)
	msg := &parleyv1.Message{Topic: name, Seq: seq, Prev: seq - 1, Epoch: "k", Type: "t", Time: int64(seq), Payload: payload}
	m.logs[name] = append(m.logs[name], msg)
	wanted := slices.ContainsFunc(m.subs, func(f string) bool { return topic.Filter(f).Matches(topic.Name(name)) })
	if wanted && m.peer != nil && m.r.Float64() >= m.lose {
		m.tell(m.peer, &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: msg}})
		if m.r.IntN(10) == 0 {
			m.tell(m.peer, &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: msg}})
		}
	}
	return seq
}

func (m *model) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peer != nil {
		_ = m.peer.conn.Close()
		m.subs = nil
	}
}

func TestWhateverHappensEveryMessageOnceInOrder(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			inBubble(t, func(n *network) { play(n, rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8))) })
		})
	}
}

// play lets a client live through what r thinks of, with a server of moods.
func play(n *network, r, moods *rand.Rand) {
	t := n.t
	m := &model{t: t, n: n, r: moods, logs: make(map[string][]*parleyv1.Message), keys: make(map[string]uint64)}
	done := make(chan struct{})
	defer close(done)
	go m.serve(done)
	got := make(map[string][]uint64)
	var gaps catch
	c := n.open(client.OnGap(gaps.gap))
	hear := func(m client.Message) { got[m.Topic] = append(got[m.Topic], m.Seq) }
	names := []string{"a", "w/1", "w/2"}
	var mu sync.Mutex
	locked := func(m client.Message) { mu.Lock(); hear(m); mu.Unlock() }
	for _, filter := range []string{"a", "w/+"} {
		if _, err := c.Subscribe(t.Context(), filter, locked); err != nil {
			t.Fatal(err)
		}
	}
	// A topic that was never heard of cannot be missed: each begins in peace.
	for _, name := range names {
		m.mu.Lock()
		m.append(name, []byte("1"))
		m.mu.Unlock()
	}
	synctest.Wait()
	m.lose = 0.2
	var pending []*client.Pending
	for range 150 {
		switch d := r.IntN(20); {
		case d == 0:
			m.cut()
		case d < 4:
			pass(time.Duration(r.IntN(2000)) * time.Millisecond)
		case d < 10:
			pending = append(pending, queue(t, c, 0))
		default:
			m.mu.Lock()
			m.append(names[r.IntN(len(names))], []byte("1"))
			m.mu.Unlock()
		}
		if r.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	settle(m, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want := make([]uint64, 0, 150)
		for seq := range m.logs[name] {
			want = append(want, uint64(seq+1))
		}
		if !slices.Equal(got[name], want) {
			t.Errorf("on %s\n got %v\nwant %v", name, got[name], want)
		}
	}
	if len(gaps.gaps) > 0 {
		t.Errorf("told of gaps %v", gaps.gaps)
	}
	if mine := len(m.keys); mine != len(pending) {
		t.Errorf("%d messages of the client were stored, it published %d", mine, len(pending))
	}
	for _, p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// settle ends the losses and lets the client come to rest.
func settle(m *model, c *client.Client) {
	m.mu.Lock()
	m.lose = 0
	m.mu.Unlock()
	m.cut()
	pass(time.Minute)
	if err := c.Connected(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	pass(time.Second)
}
