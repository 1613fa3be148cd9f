package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

// What arrives before a feed is live is bounded in number and bytes. Above
// that the history is simply read once more, up to where it has got to; a
// pattern has no history to read, and more patience.
const (
	maxPending      = 256
	maxPendingBytes = 256 << 10
	morePatience    = 16
)

// historyPage is how many messages are read at once.
const historyPage = 200

// lateness is how long after its publication a message may still be on its way
// to this node's hub.
const lateness = 10 * time.Second

// Receiver is who a feed belongs to. Its value tells one receiver from
// another, so it must be comparable.
type Receiver interface {
	// Deliver must not block.
	Deliver(d *hub.Delivery)
	// Ready waits until the receiver can take another message of history.
	Ready(ctx context.Context) error
}

// Start is how a feed begins.
type Start struct {
	Position  message.Position // the newest message of the topic
	Recovered bool             // everything since the asked position follows
}

// Request asks for a feed.
type Request struct {
	Filter   topic.Filter
	Since    *message.Position // nil: from now; Seq 0: from the oldest kept
	Presence bool              // also who joins and leaves
	Who      auth.Identity
	Session  string // messages published with Except this are left out
	Receiver Receiver
}

// Feed is one subscription of one receiver: what the topic keeps since a
// position and then what is published, without gap or duplicate.
//
// It registers with the hub first and lets live messages wait while it reads
// history; then it switches once.
type Feed struct {
	s        *Service
	receiver Receiver
	filter   topic.Filter
	user     string // who is present while the feed is open; "" for nobody
	session  string
	wild     bool // filter is a pattern
	presence bool

	live  atomic.Bool
	late  atomic.Bool   // last is not empty
	sent  atomic.Uint64 // highest seq handed over; exact topics only
	epoch string        // of sent; once live, it belongs to whoever delivers

	mu      sync.Mutex
	closed  bool
	joined  bool
	opening *opening          // nil once live
	last    map[string]uint64 // of a pattern: retained messages that may still come as live ones
}

// opening is what a feed holds until it is live. Most feeds are, so it is not
// a part of them.
type opening struct {
	since *message.Position
	name  string // of the user

	resuming bool               // history is wanted; else retained messages are
	page     broker.Page        // what Run begins with
	retained []*message.Message // or these

	// Guarded by the feed's lock.
	pending []*hub.Delivery
	bytes   int  // of pending
	missed  bool // pending was full: read history again
}

var _ hub.Subscriber = (*Feed)(nil)

// Open registers a feed and tells how it begins, so that the receiver can be
// told before anything is handed over. Then Run must be called, and Close to
// end it.
func (s *Service) Open(ctx context.Context, r Request) (*Feed, Start, error) {
	if r.Since != nil && r.Since.Seq > 0 && r.Filter.Wildcard() {
		return nil, Start{}, protocol.BadRequest.Errorf("since is the position in one topic: %s is a pattern, leave since out", r.Filter)
	}
	f := &Feed{
		s: s, receiver: r.Receiver, filter: r.Filter, user: r.Who.User, session: r.Session,
		wild: r.Filter.Wildcard(), presence: r.Presence,
	}
	f.opening = &opening{since: r.Since, name: r.Who.Name, resuming: r.Since != nil && !f.wild}
	if s.hub.Subscribe(r.Filter, f) {
		if err := s.broker.Watch(r.Filter); err != nil {
			s.hub.Unsubscribe(r.Filter, f)
			return nil, Start{}, brokerError(err)
		}
	}
	start, err := f.begin(ctx)
	if err != nil {
		f.Close()
		return nil, Start{}, brokerError(err)
	}
	return f, start, nil
}

// begin reads the position and, when it was asked for, the first page of
// history; else the last values. All of it is read after the feed is
// registered and before the receiver is told of its beginning, so whatever is
// published after that is either read here or comes live.
func (f *Feed) begin(ctx context.Context) (Start, error) {
	o, b := f.opening, f.s.broker
	if f.wild {
		kept, err := b.Retained(ctx, f.filter)
		o.retained = kept
		return Start{Recovered: o.since == nil}, err
	}
	q := broker.Query{}
	if o.resuming {
		q = broker.Query{Epoch: o.since.Epoch, After: o.since.Seq, Limit: historyPage}
	}
	page, err := b.History(ctx, topic.Name(f.filter), q)
	if err != nil {
		return Start{}, err
	}
	f.epoch = page.Position.Epoch
	start := Start{Position: page.Position, Recovered: !page.Gap}
	if o.resuming && !page.Gap {
		o.page = page
		f.sent.Store(o.since.Seq)
		return start, nil
	}
	// With a gap the receiver cannot trust what it has: it reloads, and goes
	// on from the newest.
	o.resuming = false
	f.sent.Store(page.Position.Seq)
	o.retained, err = b.Retained(ctx, f.filter)
	return start, err
}

// Run hands over what is kept, goes live, and makes the receiver present on
// the topic. It returns when the feed is live.
func (f *Feed) Run(ctx context.Context) error {
	var err error
	o := f.opening
	if o.resuming {
		err = f.catchUp(ctx, o)
	} else {
		err = f.lastValues(ctx, o)
	}
	if err == nil {
		err = f.goLive(ctx, o)
	}
	if err != nil {
		f.Close()
		return err
	}
	f.enter(o.name)
	return nil
}

// enter makes the receiver present on the topic.
func (f *Feed) enter(userName string) {
	name := string(f.filter)
	if f.wild || f.s.Settings(topic.Name(name)).NoPresence {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.presence {
		f.s.watchers.add(name, f)
	}
	if f.user != "" {
		f.joined = true
		f.s.presence.Join(name, f.user, userName)
	}
}

// catchUp hands over the page and what follows it, until nothing does.
func (f *Feed) catchUp(ctx context.Context, o *opening) error {
	for {
		for _, m := range o.page.Messages {
			if err := f.handKept(ctx, m); err != nil {
				return err
			}
			f.sent.Store(m.Seq)
		}
		if !o.page.More {
			f.sent.Store(max(f.sent.Load(), o.page.Position.Seq))
			o.page = broker.Page{}
			return nil
		}
		if err := f.readOn(ctx, o); err != nil {
			return err
		}
	}
}

// handKept hands over a message that was kept, when the receiver has room for it.
func (f *Feed) handKept(ctx context.Context, m *message.Message) error {
	if err := f.receiver.Ready(ctx); err != nil {
		return protocol.SlowConsumer.Hide(err, "what is kept could not be taken in time")
	}
	f.hand(&hub.Delivery{Message: m})
	return nil
}

// readOn reads the page after what was handed over.
func (f *Feed) readOn(ctx context.Context, o *opening) error {
	q := broker.Query{Epoch: f.epoch, After: f.sent.Load(), Limit: historyPage}
	page, err := f.s.broker.History(ctx, topic.Name(f.filter), q)
	if err != nil {
		return brokerError(err)
	}
	if page.Gap { // it was trimmed faster than it could be read
		f.hand(&hub.Delivery{Event: &parleyv1.Reply{Reply: &parleyv1.Reply_Gap{
			Gap: &parleyv1.Gap{Topic: string(f.filter), Position: protocol.WirePosition(page.Position)},
		}}})
	}
	if page.Position.Epoch != f.epoch {
		f.epoch = page.Position.Epoch
		f.sent.Store(0)
	}
	o.page = page
	return nil
}

// lastValues hands over the retained messages.
func (f *Feed) lastValues(ctx context.Context, o *opening) error {
	recent := time.Now().Add(-lateness).UnixMilli()
	var last map[string]uint64
	for _, m := range o.retained {
		if !f.wild {
			if m.Epoch != f.epoch || m.Seq > f.sent.Load() {
				continue // it is newer than where the feed begins: it comes live
			}
		} else if m.Time >= recent {
			if last == nil {
				last = make(map[string]uint64)
			}
			last[m.Topic] = m.Seq
		}
		if err := f.handKept(ctx, m); err != nil {
			return err
		}
	}
	o.retained = nil
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = last
	f.late.Store(len(last) > 0)
	return nil
}

// goLive hands over what came meanwhile and switches.
func (f *Feed) goLive(ctx context.Context, o *opening) error {
	for {
		f.mu.Lock()
		if !o.missed {
			for _, d := range o.pending {
				if f.isNew(d.Message) {
					f.hand(d)
				}
			}
			f.opening = nil
			f.live.Store(true)
			f.mu.Unlock()
			return nil
		}
		o.pending, o.bytes, o.missed = nil, 0, false
		f.mu.Unlock()
		if f.wild {
			return protocol.Overloaded.Errorf("more was published on %s than could be followed: subscribe again", f.filter)
		}
		if err := f.readOn(ctx, o); err != nil {
			return err
		}
		if err := f.catchUp(ctx, o); err != nil {
			return err
		}
	}
}

// isNew reports whether a live message was not handed over before, and notes
// how far the feed has got. A message can be read from the history and only
// then arrive as a live one, even after the switch. For a pattern, mu is held
// while late is set.
func (f *Feed) isNew(m *message.Message) bool {
	if m == nil || m.Seq == 0 {
		return true
	}
	if f.wild {
		seq, known := f.last[m.Topic]
		if known && m.Seq >= seq {
			delete(f.last, m.Topic)
			f.late.Store(len(f.last) > 0)
		}
		return !known || m.Seq > seq
	}
	if m.Epoch != f.epoch {
		f.epoch = m.Epoch
	} else if m.Seq <= f.sent.Load() {
		return false
	}
	f.sent.Store(m.Seq)
	return true
}

// hand gives d to the receiver unless it is its own.
func (f *Feed) hand(d *hub.Delivery) {
	if d.Message != nil && d.Message.Except != "" && d.Message.Except == f.session {
		return
	}
	f.receiver.Deliver(d)
}

// Deliver is called by the hub.
func (f *Feed) Deliver(d *hub.Delivery) {
	if !f.live.Load() && f.wait(d) || !f.fresh(d.Message) {
		return
	}
	f.hand(d)
}

// fresh is isNew for a feed that is live. Messages of one topic arrive one
// after the other, those of a pattern do not.
func (f *Feed) fresh(m *message.Message) bool {
	if f.wild {
		if !f.late.Load() {
			return true
		}
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	return f.isNew(m)
}

// wait keeps d until the switch; it reports false when that has happened.
func (f *Feed) wait(d *hub.Delivery) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.opening
	switch {
	case f.closed:
		return true
	case f.live.Load():
		return false
	case f.full(o):
		o.missed = true
	default:
		o.pending = append(o.pending, d)
		if d.Message != nil {
			o.bytes += d.Message.Size()
		}
	}
	return true
}

func (f *Feed) full(o *opening) bool {
	times := 1
	if f.wild {
		times = morePatience
	}
	return len(o.pending) >= times*maxPending || o.bytes >= times*maxPendingBytes
}

// Owner is the receiver, so that one who wants a message twice gets it once.
func (f *Feed) Owner() any { return f.receiver }

// Filter returns what the feed is for.
func (f *Feed) Filter() topic.Filter { return f.filter }

// Sent returns the sequence number up to which everything was handed over.
func (f *Feed) Sent() uint64 { return f.sent.Load() }

// Close ends the feed. A message under way may still be handed over.
func (f *Feed) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	if f.opening != nil {
		f.opening.pending = nil
	}
	joined := f.joined
	f.mu.Unlock()
	if f.s.hub.Unsubscribe(f.filter, f) {
		if err := f.s.broker.Unwatch(f.filter); err != nil {
			f.s.log.Warn("the broker could not be told to stop carrying a topic", "topic", f.filter, "error", err)
		}
	}
	name := string(f.filter)
	if f.presence {
		f.s.watchers.remove(name, f)
	}
	if joined {
		f.s.presence.Leave(name, f.user)
	}
}
