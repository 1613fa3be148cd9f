// Package group shares messages between the members of a group of consumers:
// each message goes to one of them. It is pure: no goroutine, no clock, no I/O.
// Who drives it sees to it that calls do not overlap.
package group

import (
	"cmp"
	"maps"
	"slices"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// Receiver is who a member is. Deliver reports false, and has taken nothing,
// when there is no room.
type Receiver interface {
	Deliver(d *hub.Delivery) bool
}

// Member is one of a group. The fields are set before Join.
type Member struct {
	Receiver Receiver
	// Session is not given what was published with Except this.
	Session string
	// Window is how much the member may have without having acknowledged it. 0:
	// it acknowledges nothing, and what it was given is dealt with.
	Window int

	open  []*parcel // given and not acknowledged, in the order of giving
	stuck bool
}

// parcel is a message on its way to a member.
type parcel struct {
	d       *hub.Delivery
	attempt uint32 // how many had it before
}

func (p *parcel) message() *message.Message { return p.d.Message }

// Group gives each message to one member, takes turns among those who have
// room, and gives it to another when a member leaves or fails. A message that
// too many could not deal with becomes a dead letter.
//
// Messages of one topic come in order (Take). Those of which everything up to
// some point was dealt with are told by Done.
type Group struct {
	name    string
	most    uint32
	shape   *hub.Shape
	members []*Member
	turn    int
	again   []*parcel // for another member, oldest first
	topics  map[string]*progress
	stuck   []*Member // have no room, and are to be asked to say when they have
	dead    []Dead
	done    map[string]message.Position
}

// progress is how far the group has got in one topic.
type progress struct {
	epoch    string
	done     uint64  // everything up to it was dealt with
	taken    []entry // above it, in order
	beyond   map[uint64]struct{}
	attempts map[uint64]uint32
	changed  bool
}

type entry struct {
	seq  uint64
	done bool
}

// Dead is a message that nobody could deal with. Buried must follow, or
// Revived.
type Dead struct {
	Message  *message.Message
	Attempts uint32
	parcel   *parcel
}

// New returns a group without members. A message is given to most of them;
// copies for members are queued as shape says.
func New(name string, most uint32, shape *hub.Shape) *Group {
	return &Group{name: name, most: most, shape: shape, topics: make(map[string]*progress), done: make(map[string]message.Position)}
}

// Restore makes the group go on from what an earlier one has stored.
func (g *Group) Restore(s store.Group) {
	p := &progress{epoch: s.Done.Epoch, done: s.Done.Seq, attempts: maps.Clone(s.Attempts), beyond: make(map[uint64]struct{})}
	for _, seq := range s.Beyond {
		p.beyond[seq] = struct{}{}
	}
	g.topics[s.Topic] = p
}

// Join adds a member.
func (g *Group) Join(m *Member) {
	g.members = append(g.members, m)
	g.serve()
}

// Leave removes a member. What it has not acknowledged goes to others.
func (g *Group) Leave(m *Member) {
	i := slices.Index(g.members, m)
	if i < 0 {
		return
	}
	g.members = slices.Delete(g.members, i, i+1)
	open := m.open
	m.open = nil
	for _, p := range open {
		g.retry(p)
	}
	g.serve()
}

// Len returns how many members there are.
func (g *Group) Len() int { return len(g.members) }

// Room reports whether a member could take another message.
func (g *Group) Room() bool {
	return len(g.again) == 0 && slices.ContainsFunc(g.members, (*Member).free)
}

func (m *Member) free() bool { return !m.stuck && (m.Window == 0 || len(m.open) < m.Window) }

// Ready notes that a member has room again.
func (g *Group) Ready(m *Member) {
	m.stuck = false
	g.serve()
}

// Take gives the next message of a topic to a member. It reports false when no
// member has room; Room tells when to try again. What is not kept anywhere is
// given up then.
func (g *Group) Take(d *hub.Delivery) bool {
	m := d.Message
	if !d.Kept {
		if m != nil {
			g.give(&parcel{d: d})
		}
		return true
	}
	t := g.topic(m)
	if _, ok := t.beyond[m.Seq]; ok || m.Seq <= t.done {
		g.enter(t, m)
		g.finish(m)
		return true
	}
	if len(g.again) > 0 {
		return false
	}
	return g.give(&parcel{d: d, attempt: t.attempts[m.Seq]})
}

// topic returns the progress in m's topic.
func (g *Group) topic(m *message.Message) *progress {
	t := g.topics[m.Topic]
	if t == nil || t.epoch != m.Epoch {
		t = &progress{epoch: m.Epoch, done: m.Prev}
		g.topics[m.Topic] = t
	}
	return t
}

func (g *Group) enter(t *progress, m *message.Message) {
	if n := len(t.taken); m.Seq > t.done && (n == 0 || t.taken[n-1].seq < m.Seq) {
		t.taken = append(t.taken, entry{seq: m.Seq})
	}
}

// give hands p to the member whose turn it is, of those who have room. A
// message whose only possible receiver is its publisher is dealt with.
func (g *Group) give(p *parcel) bool {
	m := p.message()
	others := false
	for range g.members {
		g.turn = (g.turn + 1) % len(g.members)
		to := g.members[g.turn]
		if m.Except != "" && m.Except == to.Session {
			continue
		}
		others = true
		if to.free() && g.hand(to, p) {
			return true
		}
	}
	if others || len(g.members) == 0 || !p.d.Kept {
		return false
	}
	g.enter(g.topic(m), m)
	g.finish(m)
	return true
}

func (g *Group) hand(to *Member, p *parcel) bool {
	m := *p.message()
	m.Share, m.Attempt = g.name, p.attempt
	if !to.Receiver.Deliver(&hub.Delivery{Message: &m, Kept: p.d.Kept, Droppable: p.d.Droppable, Shape: g.shape}) {
		to.stuck = true
		g.stuck = append(g.stuck, to)
		return false
	}
	if !p.d.Kept {
		return true
	}
	g.enter(g.topic(p.message()), p.message())
	if to.Window > 0 {
		to.open = append(to.open, p)
	} else {
		g.finish(p.message())
	}
	return true
}

// serve gives out what waits for another member.
func (g *Group) serve() {
	for len(g.again) > 0 && g.give(g.again[0]) {
		g.again = g.again[1:]
	}
	if len(g.again) == 0 {
		g.again = nil
	}
}

// Ack notes that a member has dealt with everything up to seq that it was given
// of a topic. It reports whether that was anything.
func (g *Group) Ack(m *Member, topic string, seq uint64) bool {
	n := len(m.open)
	m.open = slices.DeleteFunc(m.open, func(p *parcel) bool {
		if p.message().Topic != topic || p.message().Seq > seq {
			return false
		}
		g.finish(p.message())
		return true
	})
	moved := len(m.open) < n
	g.serve()
	return moved
}

// Fail notes that a member could not deal with one message; another gets it. It
// reports whether the member had it.
func (g *Group) Fail(m *Member, topic string, seq uint64) bool {
	i := slices.IndexFunc(m.open, func(p *parcel) bool { return p.message().Topic == topic && p.message().Seq == seq })
	if i < 0 {
		return false
	}
	p := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	g.retry(p)
	g.serve()
	return true
}

// retry has a message given to another member, or to nobody any more.
func (g *Group) retry(p *parcel) {
	m := p.message()
	t := g.topics[m.Topic]
	if t == nil || t.epoch != m.Epoch {
		return // the history it belongs to is gone
	}
	p.attempt++
	if t.attempts == nil {
		t.attempts = make(map[uint64]uint32)
	}
	t.attempts[m.Seq] = p.attempt
	t.changed = true
	if p.attempt >= g.most {
		g.dead = append(g.dead, Dead{Message: m, Attempts: p.attempt, parcel: p})
		return
	}
	g.queue(p)
}

// queue puts p in its place among those that wait for another member.
func (g *Group) queue(p *parcel) {
	older := func(a, b *parcel) int {
		return cmp.Or(cmp.Compare(a.message().Mark, b.message().Mark), cmp.Compare(a.message().Seq, b.message().Seq))
	}
	i, _ := slices.BinarySearchFunc(g.again, p, older)
	g.again = slices.Insert(g.again, i, p)
}

// Buried notes that a dead letter is where it belongs.
func (g *Group) Buried(d Dead) { g.finish(d.Message) }

// Revived notes that a dead letter could not be written: another member gets
// the message.
func (g *Group) Revived(d Dead) {
	g.queue(d.parcel)
	g.serve()
}

// finish notes that a message was dealt with.
func (g *Group) finish(m *message.Message) {
	t := g.topics[m.Topic]
	if t == nil || t.epoch != m.Epoch {
		return
	}
	i, ok := slices.BinarySearchFunc(t.taken, m.Seq, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	if !ok {
		return
	}
	t.taken[i].done, t.changed = true, true
	delete(t.attempts, m.Seq)
	n := 0
	for n < len(t.taken) && t.taken[n].done {
		t.done = t.taken[n].seq
		delete(t.beyond, t.done)
		n++
	}
	if n == 0 {
		return
	}
	t.taken = t.taken[n:]
	if len(t.taken) == 0 {
		t.taken = nil
	}
	g.done[m.Topic] = message.Position{Epoch: t.epoch, Seq: t.done}
}

// Done returns, by topic, up to where everything was dealt with, for those
// that have got on since the last call.
func (g *Group) Done() map[string]message.Position {
	if len(g.done) == 0 {
		return nil
	}
	out := g.done
	g.done = make(map[string]message.Position)
	return out
}

// Stuck returns the members that have turned out to have no room since the
// last call. Ready is to be called when they have.
func (g *Group) Stuck() []*Member {
	out := g.stuck
	g.stuck = nil
	return out
}

// Dead returns the dead letters since the last call.
func (g *Group) Dead() []Dead {
	out := g.dead
	g.dead = nil
	return out
}

// Changed returns what is to be stored of the topics that have changed since
// the last call, under the name key.
func (g *Group) Changed(key string) (out []*store.Group) {
	for topic, t := range g.topics {
		if t.changed {
			t.changed = false
			out = append(out, t.stored(key, topic))
		}
	}
	return out
}

func (t *progress) stored(key, topic string) *store.Group {
	out := &store.Group{Name: key, Topic: topic, Done: message.Position{Epoch: t.epoch, Seq: t.done}, Attempts: maps.Clone(t.attempts)}
	for _, e := range t.taken {
		if e.done {
			out.Beyond = append(out.Beyond, e.seq)
		}
	}
	for seq := range t.beyond {
		out.Beyond = append(out.Beyond, seq)
	}
	slices.Sort(out.Beyond)
	out.Beyond = slices.Compact(out.Beyond)
	return out
}

// Forget drops what is known of topics in which nothing is under way, and
// that keep says nothing of.
func (g *Group) Forget(keep func(topic string) bool) {
	maps.DeleteFunc(g.topics, func(topic string, t *progress) bool {
		return !t.changed && len(t.taken) == 0 && len(t.beyond) == 0 && !keep(topic)
	})
}
