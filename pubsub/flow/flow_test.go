package flow

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// world is an engine in which a test decides what happens when: messages are
// placed in their logs, and reach the hub later.
type world struct {
	mark   uint64
	topics []string
	logs   map[string][]*hub.Delivery
	sent   map[string]int // how many of a log have reached the hub
}

func newWorld(topics ...string) *world {
	return &world{topics: topics, logs: make(map[string][]*hub.Delivery), sent: make(map[string]int)}
}

func (w *world) place(name, except string) {
	w.mark++
	n := uint64(len(w.logs[name]))
	m := &message.Message{Topic: name, Epoch: "e", Seq: n + 1, Prev: n, Mark: w.mark, Except: except}
	w.logs[name] = append(w.logs[name], &hub.Delivery{Message: m, Kept: true, Shape: &hub.Shape{Pressure: hub.PressureSpill}})
}

// expire makes the newest message of a topic one that is never delivered.
func (w *world) expire(name string) {
	if n := len(w.logs[name]); n > w.sent[name] {
		w.logs[name][n-1].Message.Except, w.logs[name][n-1].Message.ExpiresAt = self, 1
	}
}

// arrive brings the next message of a topic to the hub.
func (w *world) arrive(name string, deliver func(d *hub.Delivery)) {
	at := w.sent[name]
	if at == len(w.logs[name]) {
		return
	}
	w.sent[name]++
	if d := w.logs[name][at]; d.Message.ExpiresAt == 0 {
		deliver(d)
	}
}

func (w *world) position(name string) message.Position {
	return message.Position{Epoch: "e", Seq: uint64(len(w.logs[name]))}
}

func (w *world) page(name string, after uint64, limit int) Page {
	log := w.logs[name]
	p := Page{After: after, Position: w.position(name)}
	for _, d := range log[after:] {
		if d.Message.ExpiresAt != 0 {
			continue
		}
		if p.More = len(p.List) == limit; p.More {
			break
		}
		p.List = append(p.List, d)
	}
	return p
}

// after returns the seq behind which everything is newer than mark.
func (w *world) after(name string, mark uint64) uint64 {
	n := slices.IndexFunc(w.logs[name], func(d *hub.Delivery) bool { return d.Message.Mark > mark })
	if n < 0 {
		n = len(w.logs[name])
	}
	return uint64(n)
}

func (w *world) news(mark uint64, from string, limit int) (list []broker.News) {
	for _, name := range w.topics {
		if after := w.after(name, mark); name > from && after < uint64(len(w.logs[name])) && len(list) < limit {
			list = append(list, broker.News{Topic: topic.Name(name), Position: w.position(name), After: after})
		}
	}
	return list
}

// client is a receiver with a connection that a test can cut, and the model:
// of each topic the next message it must get, and how far it has acknowledged.
type client struct {
	t     *rapid.T
	w     *world
	wild  bool
	acks  bool
	flow  *Flow
	room  int
	asked bool
	next  map[string]uint64
	acked map[string]uint64
	got   map[string]uint64 // the newest, since the connection began

	doing  *Job // given by the flow
	result func()
}

const self = "s-1"

// Take is the check: the next message of its topic, and no other.
func (c *client) Take(d *hub.Delivery) bool {
	m := d.Message
	if m.Seq == 0 {
		return true
	}
	if c.room == 0 {
		return false
	}
	c.room--
	for next := c.next[m.Topic]; next < m.Seq && c.w.logs[m.Topic][next-1].Message.Except == self; next++ {
		c.next[m.Topic] = next + 1
	}
	if m.Seq != c.next[m.Topic] {
		c.t.Fatalf("%s: %d came, %d is next", m.Topic, m.Seq, c.next[m.Topic])
	}
	if c.acks && c.open() >= window4 {
		c.t.Fatalf("%s: %d came with %d unacknowledged", m.Topic, m.Seq, c.open())
	}
	c.next[m.Topic], c.got[m.Topic] = m.Seq+1, m.Seq
	return true
}

const window4 = 4

// open is how many messages are unacknowledged; those of itself never came.
func (c *client) open() (n int) {
	for name, got := range c.got {
		n += c.unacked(name, got)
	}
	return n
}

func (c *client) unacked(name string, to uint64) (n int) {
	for seq := c.acked[name] + 1; seq <= to; seq++ {
		if c.w.logs[name][seq-1].Message.Except != self {
			n++
		}
	}
	return n
}

// connect begins a feed, where saved says or from now. between is what happens
// before it has read how it begins.
func (c *client) connect(saved *store.Subscription, between func()) {
	limit := 0
	if c.acks {
		limit = window4
	}
	c.flow = &Flow{}
	f := c.flow
	f.Open(self, c.wild, limit)
	c.asked, c.doing, c.result = false, nil, nil
	c.next, c.got = make(map[string]uint64), make(map[string]uint64)
	for _, name := range c.w.topics {
		c.next[name] = uint64(c.w.sent[name]) + 1 // of a pattern without acknowledgements
	}
	between()
	switch {
	case !c.wild:
		name, at := c.w.topics[0], c.w.position(c.w.topics[0])
		var first *Page
		if saved != nil {
			at = saved.Acked[name]
			p := c.w.page(name, at.Seq, 3)
			first = &p
		}
		c.next[name] = at.Seq + 1
		f.From(at, first, nil)
	case !c.acks:
		f.FromMark(Beginning{})
	case saved == nil:
		c.begin(c.w.mark, nil)
		f.FromMark(Beginning{Mark: c.w.mark, Marked: true})
		f.rare.many.compactAt = 2
	default:
		c.begin(saved.Mark, saved.Acked)
		f.FromMark(Beginning{Mark: saved.Mark, Marked: true, Resumed: true, At: saved.Acked})
		f.rare.many.compactAt = 2
	}
	for name, next := range c.next {
		if saved == nil {
			c.acked[name] = next - 1
		} else if c.acks {
			c.check(name, next)
		}
	}
	between()
	f.Begin()
	c.follow()
}

func (c *client) begin(mark uint64, at map[string]message.Position) {
	for _, name := range c.w.topics {
		c.next[name] = c.w.after(name, mark) + 1
		if p, ok := at[name]; ok {
			c.next[name] = p.Seq + 1
		}
	}
}

// check holds what was saved against what the client has acknowledged: nothing
// else is skipped, and nothing is repeated but what it has not acknowledged.
func (c *client) check(name string, next uint64) {
	if next > 0 && c.unacked(name, next-1) > 0 {
		c.t.Fatalf("%s: goes on at %d, but only %d is acknowledged", name, next, c.acked[name])
	}
	if next <= c.acked[name] {
		c.t.Fatalf("%s: goes on at %d, though %d is acknowledged", name, next, c.acked[name])
	}
}

func (c *client) arrive(d *hub.Delivery) {
	c.flow.Arrive(d, c)
	c.follow()
}

func (c *client) follow() {
	f := c.flow
	e := f.Effects()
	c.asked = c.asked || e.Ask
	if e.Work {
		c.proceed()
	}
	if e.End != Goes {
		c.t.Fatalf("the feed has ended: %d", e.End)
	}
}

// proceed asks the flow what to do next.
func (c *client) proceed() {
	c.doing = nil
	if j, ok := c.flow.Next(c); ok {
		c.doing = &j
	}
	c.follow()
}

// read reads what the flow asked for; finish hands it over.
func (c *client) read(limit int) {
	j := *c.doing
	name := j.Topic
	f := c.flow
	switch j.Kind {
	case ReadNews:
		list := c.w.news(j.Mark, j.Topic, limit)
		c.result = func() { f.News(list, len(list) < limit) }
		return
	case Compact:
		mark := max(j.Mark, c.w.mark-min(c.w.mark, rapid.Uint64Range(0, 3).Draw(c.t, "how far the mark is behind")))
		c.result = func() {
			f.Compacted(mark, c.w.news(j.Mark, "", 100))
			y := f.rare.many
			for y.compactAt = 1; y.compactAt <= len(y.lines) && stays(y, y.compactAt); {
				y.compactAt++
			}
		}
		return
	case ReadSince:
		j.After = c.w.after(name, j.Mark)
	}
	if name == "" {
		name = c.w.topics[0]
	}
	p := c.w.page(name, j.After, limit)
	c.result = func() { f.Page(p, c) }
}

// stays reports whether at least n topics could not be forgotten now.
func stays(y *many, n int) bool {
	for _, l := range y.lines {
		if !l.done() {
			n--
		}
	}
	return n <= 0
}

func (c *client) finish() {
	c.result()
	c.result = nil
	c.follow()
	c.proceed()
}

func (c *client) ready() {
	if c.asked && c.room > 0 {
		c.asked = false
		c.flow.Ready()
		c.follow()
	}
}

func (c *client) ack(name string, seq uint64) {
	at, moved := c.flow.Ack(name, seq)
	if moved && seq <= c.acked[name] || !moved && c.unacked(name, seq) > 0 {
		c.t.Fatalf("%s: an acknowledgement of %d after %d: %v", name, seq, c.acked[name], moved)
	}
	if moved {
		c.acked[name] = seq
		c.check(name, at.Seq+1)
	}
	c.follow()
}

// settle does everything that is left to do.
func (c *client) settle() {
	for range 10_000 {
		c.room = 1000
		c.ready()
		for name, got := range c.got {
			if c.acks && got > c.acked[name] {
				c.ack(name, got)
			}
		}
		switch {
		case c.result != nil:
			c.finish()
		case c.doing != nil:
			c.read(3)
		default:
			return
		}
	}
	c.t.Fatal("it never comes to rest")
}

// TestFlow drives a flow with random schedules: messages are placed, arrive
// late, are read at any moment; the receiver has room or not, acknowledges
// sooner or later, loses its connection and comes back. It must get every
// message of a topic from its beginning, in order and once.
func TestFlow(t *testing.T) {
	for _, wild := range []bool{false, true} {
		for _, acks := range []bool{false, true} {
			t.Run(fmt.Sprintf("pattern=%v,acknowledged=%v", wild, acks), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { runFlow(t, wild, acks) })
			})
		}
	}
}

func runFlow(t *rapid.T, wild, acks bool) {
	w := newWorld("a")
	if wild {
		w = newWorld("a", "b", "c", "d")
	}
	c := &client{t: t, w: w, wild: wild, acks: acks, acked: make(map[string]uint64)}
	place := func(t *rapid.T) {
		w.place(rapid.SampledFrom(w.topics).Draw(t, "topic"), rapid.SampledFrom([]string{"", "", "", self}).Draw(t, "except"))
	}
	arrive := func(t *rapid.T) {
		w.arrive(rapid.SampledFrom(w.topics).Draw(t, "topic"), c.arrive)
	}
	between := func() {
		for range rapid.IntRange(0, 3).Draw(t, "meanwhile") {
			place(t)
			arrive(t)
		}
	}
	for range rapid.IntRange(0, 5).Draw(t, "before") {
		place(t)
	}
	c.connect(nil, between)
	t.Repeat(map[string]func(*rapid.T){
		"place":  place,
		"arrive": arrive,
		"expire": func(t *rapid.T) { w.expire(rapid.SampledFrom(w.topics).Draw(t, "topic")) },
		"flood": func(t *rapid.T) {
			if c.doing == nil || rapid.IntRange(0, 20).Draw(t, "how rare") > 0 {
				return
			}
			name := rapid.SampledFrom(w.topics).Draw(t, "topic")
			for range maxPending + 10 {
				w.place(name, "")
				w.arrive(name, c.arrive)
			}
		},
		"ephemeral": func(*rapid.T) {
			c.arrive(&hub.Delivery{Message: &message.Message{Topic: "a", Epoch: "e"}})
		},
		"room": func(t *rapid.T) {
			c.room = rapid.IntRange(0, 5).Draw(t, "room")
			c.ready()
		},
		"read": func(t *rapid.T) {
			if c.doing != nil && c.result == nil {
				c.read(rapid.IntRange(1, 4).Draw(t, "limit"))
			}
		},
		"finish": func(*rapid.T) {
			if c.result != nil {
				c.finish()
			}
		},
		"acknowledge": func(t *rapid.T) {
			name := rapid.SampledFrom(w.topics).Draw(t, "topic")
			if got := c.got[name]; acks && got > 0 {
				c.ack(name, rapid.Uint64Range(1, got).Draw(t, "seq"))
			}
		},
		"reconnect": func(t *rapid.T) {
			if acks {
				var saved store.Subscription
				saved.Mark, saved.Acked = c.flow.Saved("a")
				for range rapid.IntRange(0, 5).Draw(t, "while away") {
					place(t)
					w.arrive(rapid.SampledFrom(w.topics).Draw(t, "topic"), func(*hub.Delivery) {})
				}
				c.connect(&saved, between)
			}
		},
	})
	for _, name := range w.topics {
		for w.sent[name] < len(w.logs[name]) {
			w.arrive(name, c.arrive)
		}
	}
	c.settle()
	for _, name := range w.topics {
		missing := w.logs[name][min(c.next[name]-1, uint64(len(w.logs[name]))):]
		if slices.ContainsFunc(missing, func(d *hub.Delivery) bool { return d.Message.Except != self }) {
			t.Fatalf("%s: %d of %d came", name, c.next[name]-1, len(w.logs[name]))
		}
	}
}
