package pubsub

import (
	"cmp"
	"context"
	"sync"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub/flow"
	"github.com/parleyhq/parley/pubsub/group"
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
	// Filter may be $share/group/filter: then each message goes to one member of
	// the group, and to another when that one leaves or fails. A group that was
	// there before goes on where it was; Since and Saved mean nothing.
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

	window int // 0: that of the service
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
	seat     *seat // in a group; nil for a feed of its own

	mu     sync.Mutex
	joined bool // guarded by mu, like all below
	seated bool
	name   *string // the user's, until Start
	flow   flow.Flow
}

var _ hub.Subscriber = (*Feed)(nil)

// Open registers a feed and tells how it begins, so that the receiver can be
// told before anything is handed over. Then Start must be called, and Close to
// end it.
func (s *Service) Open(ctx context.Context, r Request) (*Feed, Start, error) {
	if name, inner, err := topic.ParseShare(string(r.Filter)); err != nil {
		return nil, Start{}, protocol.BadRequest.Errorf("subscribe: %w", err)
	} else if name != "" {
		return s.openMember(ctx, r, name, inner)
	}
	wild := r.Filter.Wildcard()
	if r.Since != nil && r.Since.Seq > 0 && wild {
		return nil, Start{}, protocol.BadRequest.Errorf("since is the position in one topic: %s is a pattern, leave since out", r.Filter)
	}
	f := &Feed{s: s, receiver: r.Receiver, filter: r.Filter, user: r.Who.User, presence: r.Presence}
	limit := 0
	if r.QoS > 0 && (wild || s.Settings(topic.Name(r.Filter)).keeps()) {
		limit, f.qos = cmp.Or(r.window, s.window), uint8(min(r.QoS, 2))
	}
	f.flow.Open(r.Session, wild, limit)
	if r.Who.Name != "" {
		f.name = &r.Who.Name
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
// what is kept, then what is published. What the receiver has no room for, or
// has to be read first, follows later.
func (f *Feed) Start() {
	if f.seat != nil {
		f.sit()
		return
	}
	name := ""
	f.mu.Lock()
	f.flow.Begin()
	if f.name != nil {
		name, f.name = *f.name, nil
	}
	f.mu.Unlock()
	f.enter(name)
	f.mu.Lock()
	e := f.flow.Effects()
	if e.Work {
		more := f.flow.Greet((*hand)(f))
		e = f.flow.Effects()
		e.Work = more // nothing is read here: who starts a feed may be in a hurry
	}
	f.mu.Unlock()
	f.follow(e)
}

// Deliver is called by the hub.
func (f *Feed) Deliver(d *hub.Delivery) {
	f.mu.Lock()
	f.flow.Arrive(d, (*hand)(f))
	if f.flow.Calm() {
		f.mu.Unlock()
		return
	}
	e := f.flow.Effects()
	f.mu.Unlock()
	f.follow(e)
}

// hand is a feed as its flow knows it: the receiver.
type hand Feed

// Take hands d over; the feed's lock is held.
func (h *hand) Take(d *hub.Delivery) bool { return h.receiver.Deliver(d) }

// Ack notes that the receiver has dealt with everything up to seq of one topic.
// It returns the position to go on from some day (store.Ack), and false when
// that has not moved: the feed asks for no acknowledgements, does not know the
// topic, or has never handed that message over.
//
// A member of a group acknowledges what it was given up to seq; there is
// nothing to store of that.
func (f *Feed) Ack(topic string, seq uint64) (message.Position, bool) {
	if f.seat != nil {
		f.seat.in.change(func(g *group.Group) { g.Ack(&f.seat.Member, topic, seq) })
		return message.Position{}, false
	}
	f.mu.Lock()
	at, moved := f.flow.Ack(topic, seq)
	e := f.flow.Effects()
	f.mu.Unlock()
	f.follow(e)
	return at, moved
}

// Fail says of a member of a group that it could not deal with one message:
// another gets it, and after five it goes to a topic under DeadPrefix. It means
// nothing to other feeds.
func (f *Feed) Fail(topic string, seq uint64) {
	if f.seat != nil {
		f.seat.in.change(func(g *group.Group) { g.Fail(&f.seat.Member, topic, seq) })
	}
}

// ackAt is Ack for a position: one of another epoch means nothing.
func (f *Feed) ackAt(topic string, at message.Position) {
	f.mu.Lock()
	f.flow.AckAt(topic, at)
	e := f.flow.Effects()
	f.mu.Unlock()
	f.follow(e)
}

// sit makes the receiver a member of its group.
func (f *Feed) sit() {
	f.mu.Lock()
	first := !f.seated && !f.flow.Closed()
	f.seated = true
	f.mu.Unlock()
	if !first {
		return
	}
	f.seat.in.join(f)
	f.mu.Lock()
	gone := f.flow.Closed()
	f.mu.Unlock()
	if gone { // Close found nobody there yet
		f.seat.in.stand(f)
	}
}

// Saved returns what a later feed needs to go on, as Request.Saved: the filter,
// what was asked for, and at QoS 1 and more how far the receiver has
// acknowledged. The caller owns it.
func (f *Feed) Saved() store.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := store.Subscription{Filter: string(f.filter), QoS: uint32(f.qos), Presence: f.presence}
	out.Mark, out.Acked = f.flow.Saved(string(f.filter))
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
	return f.flow.Sent()
}

// Close ends the feed. A message under way may still be handed over. It may be
// called more than once.
func (f *Feed) Close() {
	f.mu.Lock()
	if f.flow.Closed() {
		f.mu.Unlock()
		return
	}
	f.flow.Close()
	joined := f.joined
	f.mu.Unlock()
	if f.seat != nil {
		f.seat.in.quit(f)
		return
	}
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
	if f.flow.Pattern() || f.user == "" && !f.presence || f.s.Settings(topic.Name(name)).NoPresence {
		return
	}
	f.mu.Lock()
	gone := f.flow.Closed()
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
	gone = f.flow.Closed()
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
