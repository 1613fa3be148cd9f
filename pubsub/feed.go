package pubsub

import (
	"context"
	"sync"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// Receiver is who a feed belongs to. Its value tells one receiver from
// another, so it must be comparable. Deliver and Ready must not block, and must
// not call the feed.
type Receiver interface {
	// Deliver takes d over. It reports false, and has taken nothing, when there
	// is no room and the shape of d is hub.PressureSpill; never otherwise.
	Deliver(d *hub.Delivery) bool
	// Ready reports whether there is room for what Deliver refused. If not, wake
	// is called, once, when there is; it does not block.
	Ready(wake func()) bool
	// Ended is called when a feed has ended by itself, with a reason fit for the
	// client. It may be called before Start returns.
	Ended(f *Feed, err error)
}

// Request asks for a feed.
type Request struct {
	Filter topic.Filter
	// QoS 1 and more ask the receiver to acknowledge what it has dealt with
	// (Ack): no more than Config.Window messages are handed over without, and
	// Saved tells where to go on another time.
	QoS uint32
	// Since is where the receiver says it is; nil: from now; Seq 0: from the
	// oldest kept. Patterns know only nil and Seq 0.
	Since *message.Position
	// Saved is what an earlier feed's Saved returned: what came between follows.
	// Nothing is handed over at or below the larger of it and Since. It has
	// no effect at QoS 0.
	Saved    *store.Subscription
	Presence bool // also who joins and leaves
	Who      auth.Identity
	Session  string // messages published with Except this are left out
	Receiver Receiver
}

// Start is how a feed begins.
type Start struct {
	Position  message.Position // the newest message of the topic
	Recovered bool             // everything since the asked position follows
	// QoS is what the feed was given: topics that keep nothing have only 0.
	QoS uint32
}

// Feed is one subscription of one receiver: what the topic keeps since a
// position and then what is published, without gap or duplicate. A receiver
// that does not keep up, or does not acknowledge, is fed from the log when it
// does again, where the topic has one.
//
// Methods may be called concurrently and, but for Open, do not block.
type Feed struct {
	s        *Service
	receiver Receiver
	filter   topic.Filter
	user     string // who is present while the feed is open; "" for nobody

	presence bool
	qos      uint8

	mu     sync.Mutex
	joined bool // guarded by mu, like flow
	flow   flow
}

var _ hub.Subscriber = (*Feed)(nil)

// Open registers a feed and tells how it begins, so that the receiver can be
// told before anything is handed over. Then Start must be called, and Close to
// end it.
func (s *Service) Open(ctx context.Context, r Request) (*Feed, Start, error) {
	wild := r.Filter.Wildcard()
	if r.Since != nil && r.Since.Seq > 0 && wild {
		return nil, Start{}, protocol.BadRequest.Errorf("since is the position in one topic: %s is a pattern, leave since out", r.Filter)
	}
	f := &Feed{s: s, receiver: r.Receiver, filter: r.Filter, user: r.Who.User, presence: r.Presence}
	f.flow.own, f.flow.wild = r.Session, wild
	f.flow.aside().userName = r.Who.Name
	if r.QoS > 0 && (wild || s.Settings(topic.Name(r.Filter)).keeps()) {
		f.flow.acks = &window{limit: s.window}
		f.qos = uint8(min(r.QoS, 2))
	}
	if s.hub.Subscribe(r.Filter, f) {
		if err := s.broker.Watch(r.Filter); err != nil {
			s.hub.Unsubscribe(r.Filter, f)
			return nil, Start{}, brokerError(err)
		}
	}
	start, err := f.open(ctx, r)
	if err != nil {
		f.Close()
		return nil, Start{}, brokerError(err)
	}
	start.QoS = uint32(f.qos)
	return f, start, nil
}

// Start makes the receiver present on the topic and begins to hand over: first
// what is kept, then what is published. What the receiver has no room for at
// once follows later.
func (f *Feed) Start() {
	f.mu.Lock()
	name := f.flow.begin()
	f.mu.Unlock()
	f.enter(name)
	f.mu.Lock()
	e := f.flow.effects()
	f.mu.Unlock()
	if e.work {
		e.work = f.turn(f.s.base)
	}
	f.follow(e)
}

// Deliver is called by the hub.
func (f *Feed) Deliver(d *hub.Delivery) {
	f.mu.Lock()
	f.flow.arrive(d, f)
	e := f.flow.effects()
	f.mu.Unlock()
	if e != (effects{}) {
		f.follow(e)
	}
}

// take hands d to the receiver; mu is held.
func (f *Feed) take(d *hub.Delivery) bool { return f.receiver.Deliver(d) }

// Ack notes that the receiver has dealt with everything up to seq of one topic.
// It returns the position to go on from some day (store.Ack), and false when
// that has not moved: the feed asks for no acknowledgements, does not know the
// topic, or has never handed that message over.
func (f *Feed) Ack(topic string, seq uint64) (message.Position, bool) {
	f.mu.Lock()
	at, moved := f.flow.ack(topic, seq)
	e := f.flow.effects()
	f.mu.Unlock()
	f.follow(e)
	return at, moved
}

// Saved returns what a later feed needs to go on, as Request.Saved: the filter,
// what was asked for, and at QoS 1 and more how far the receiver has
// acknowledged. The caller owns it.
func (f *Feed) Saved() store.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := store.Subscription{Filter: string(f.filter), QoS: uint32(f.qos), Presence: f.presence}
	w := &f.flow
	switch {
	case w.acks == nil:
		return out
	case !w.wild:
		out.Acked = map[string]message.Position{string(f.filter): w.one.settled()}
	case w.rare != nil && w.rare.many != nil:
		out.Mark, out.Acked = w.rare.many.base, w.rare.many.saved()
	}
	return out
}

// keeps reports whether messages of the topic are kept and may be asked for
// again.
func (s Settings) keeps() bool { return s.History > 0 && !s.AtMostOnce }

// Owner is the receiver, so that one who wants a message twice gets it once.
func (f *Feed) Owner() any { return f.receiver }

// Filter returns what the feed is for.
func (f *Feed) Filter() topic.Filter { return f.filter }

// Sent returns the sequence number up to which everything was handed over, of
// a feed for one topic.
func (f *Feed) Sent() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flow.one.sent
}

// Close ends the feed. A message under way may still be handed over. It may be
// called more than once.
func (f *Feed) Close() {
	f.mu.Lock()
	if f.flow.phase == closed {
		f.mu.Unlock()
		return
	}
	f.flow.close()
	joined := f.joined
	f.mu.Unlock()
	if f.s.hub.Unsubscribe(f.filter, f) {
		if err := f.s.broker.Unwatch(f.filter); err != nil {
			f.s.log.Warn("the broker could not be told to stop carrying a topic", "topic", f.filter, "error", err)
		}
	}
	if joined {
		f.leave()
	}
}

// enter makes the receiver present on the topic. The lock is not held
// meanwhile: others are told, and the receiver itself.
func (f *Feed) enter(userName string) {
	name := string(f.filter)
	if f.flow.wild || f.user == "" && !f.presence || f.s.Settings(topic.Name(name)).NoPresence {
		return
	}
	f.mu.Lock()
	gone := f.flow.phase == closed
	f.mu.Unlock()
	if gone {
		return
	}
	if f.presence {
		f.s.watchers.add(name, f)
	}
	if f.user != "" {
		f.s.presence.Join(name, f.user, userName)
	}
	f.mu.Lock()
	f.joined = true
	gone = f.flow.phase == closed
	f.mu.Unlock()
	if gone { // Close found nobody there yet
		f.leave()
	}
}

// leave undoes enter.
func (f *Feed) leave() {
	name := string(f.filter)
	if f.presence {
		f.s.watchers.remove(name, f)
	}
	if f.user != "" {
		f.s.presence.Leave(name, f.user)
	}
}
