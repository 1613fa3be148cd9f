package pubsub

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

// maxPending bounds what arrives while a feed reads history. Above it the
// history is simply read once more, up to where it has got to.
const maxPending = 256

// historyPage is how many messages are read at once.
const historyPage = 200

// Receiver is who a feed belongs to. Its value tells one receiver from
// another, so it must be comparable.
type Receiver interface {
	// Deliver must not block.
	Deliver(d *hub.Delivery)
	// Ready waits until the receiver can take another page of history.
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
	s   *Service
	req Request

	page     broker.Page // what Run begins with
	resuming bool        // history is wanted; else retained messages are
	retained map[string]uint64

	live    atomic.Bool
	sent    atomic.Uint64 // highest seq handed over; exact topics only
	mu      sync.Mutex
	pending []*hub.Delivery
	missed  bool // pending was full: read history again
	closed  bool
	joined  bool
}

var _ hub.Subscriber = (*Feed)(nil)

// Open registers a feed and tells how it begins, so that the receiver can be
// told before anything is handed over. Then Run must be called, and Close to
// end it.
func (s *Service) Open(ctx context.Context, r Request) (*Feed, Start, error) {
	if r.Since != nil && r.Since.Seq > 0 && r.Filter.Wildcard() {
		return nil, Start{}, protocol.BadRequest.Errorf("since is the position in one topic: %s is a pattern, leave since out", r.Filter)
	}
	f := &Feed{s: s, req: r, resuming: r.Since != nil && !r.Filter.Wildcard()}
	if s.hub.Subscribe(r.Filter, f) {
		if err := s.broker.Watch(r.Filter); err != nil {
			s.hub.Unsubscribe(r.Filter, f)
			return nil, Start{}, brokerError(err)
		}
	}
	if r.Filter.Wildcard() {
		return f, Start{Recovered: r.Since == nil}, nil
	}
	start, err := f.begin(ctx)
	if err != nil {
		f.Close()
		return nil, Start{}, err
	}
	return f, start, nil
}

// begin reads the position and, when it was asked for, the first page of
// history.
func (f *Feed) begin(ctx context.Context) (Start, error) {
	q := broker.Query{}
	if f.resuming {
		q = broker.Query{Epoch: f.req.Since.Epoch, After: f.req.Since.Seq, Limit: historyPage}
	}
	page, err := f.s.broker.History(ctx, topic.Name(f.req.Filter), q)
	if err != nil {
		return Start{}, brokerError(err)
	}
	if page.Gap {
		// The receiver cannot trust what it has: it reloads, and goes on from
		// the newest.
		f.resuming = false
	}
	if f.resuming {
		f.page = page
	} else {
		f.sent.Store(page.Position.Seq)
	}
	return Start{Position: page.Position, Recovered: !page.Gap}, nil
}

// Run hands over what is kept, goes live, and makes the receiver present on
// the topic. It returns when the feed is live.
func (f *Feed) Run(ctx context.Context) error {
	var err error
	if f.resuming {
		err = f.catchUp(ctx)
	} else {
		err = f.lastValues(ctx)
	}
	if err == nil {
		err = f.goLive(ctx)
	}
	if err != nil {
		f.Close()
		return err
	}
	f.enter()
	return nil
}

// enter makes the receiver present on the topic.
func (f *Feed) enter() {
	name := string(f.req.Filter)
	if f.req.Filter.Wildcard() || f.s.Settings(topic.Name(name)).NoPresence {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.req.Presence {
		f.s.watchers.add(name, f)
	}
	if f.req.Who.User != "" {
		f.joined = true
		f.s.presence.Join(name, f.req.Who.User, f.req.Who.Name)
	}
}

// catchUp hands over the page and what follows it, until nothing does.
func (f *Feed) catchUp(ctx context.Context) error {
	for {
		for _, m := range f.page.Messages {
			f.hand(&hub.Delivery{Message: m})
			f.sent.Store(m.Seq)
		}
		if !f.page.More {
			f.sent.Store(max(f.sent.Load(), f.page.Position.Seq))
			f.page = broker.Page{}
			return nil
		}
		if err := f.req.Receiver.Ready(ctx); err != nil {
			return protocol.SlowConsumer.Hide(err, "history could not be taken in time")
		}
		if err := f.readOn(ctx); err != nil {
			return err
		}
	}
}

// readOn reads the page after what was handed over.
func (f *Feed) readOn(ctx context.Context) error {
	page, err := f.s.broker.History(ctx, topic.Name(f.req.Filter), broker.Query{After: f.sent.Load(), Limit: historyPage})
	if err != nil {
		return brokerError(err)
	}
	if page.Gap { // it was trimmed faster than it could be read
		f.hand(&hub.Delivery{Event: &parleyv1.Reply{Reply: &parleyv1.Reply_Gap{
			Gap: &parleyv1.Gap{Topic: string(f.req.Filter), Position: protocol.WirePosition(page.Position)},
		}}})
	}
	f.page = page
	return nil
}

// lastValues hands over the retained messages.
func (f *Feed) lastValues(ctx context.Context) error {
	kept, err := f.s.broker.Retained(ctx, f.req.Filter)
	if err != nil {
		return brokerError(err)
	}
	if len(kept) > 0 {
		f.retained = make(map[string]uint64, len(kept))
	}
	for _, m := range kept {
		f.hand(&hub.Delivery{Message: m})
		f.retained[m.Topic] = m.Seq
	}
	return nil
}

// goLive hands over what came meanwhile and switches.
func (f *Feed) goLive(ctx context.Context) error {
	for {
		f.mu.Lock()
		if !f.missed {
			for _, d := range f.pending {
				if m := d.Message; m == nil || m.Seq == 0 || m.Seq > max(f.sent.Load(), f.retained[m.Topic]) {
					f.pass(d)
				}
			}
			f.pending, f.retained = nil, nil
			f.live.Store(true)
			f.mu.Unlock()
			return nil
		}
		f.pending, f.missed = nil, false
		f.mu.Unlock()
		if f.req.Filter.Wildcard() {
			return protocol.Overloaded.Errorf("more was published on %s than could be followed: subscribe again", f.req.Filter)
		}
		if err := f.readOn(ctx); err != nil {
			return err
		}
		if err := f.catchUp(ctx); err != nil {
			return err
		}
	}
}

// pass hands a live delivery over and notes how far the feed has got.
func (f *Feed) pass(d *hub.Delivery) {
	if d.Message != nil && d.Message.Seq > 0 && !f.req.Filter.Wildcard() {
		f.sent.Store(d.Message.Seq)
	}
	f.hand(d)
}

// hand gives d to the receiver unless it is its own.
func (f *Feed) hand(d *hub.Delivery) {
	if d.Message != nil && d.Message.Except != "" && d.Message.Except == f.req.Session {
		return
	}
	f.req.Receiver.Deliver(d)
}

// Deliver is called by the hub.
func (f *Feed) Deliver(d *hub.Delivery) {
	if !f.live.Load() && f.wait(d) {
		return
	}
	f.pass(d)
}

// wait keeps d until the switch; it reports false when that has happened.
func (f *Feed) wait(d *hub.Delivery) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return true
	case f.live.Load():
		return false
	case len(f.pending) >= maxPending:
		f.missed = true
	default:
		f.pending = append(f.pending, d)
	}
	return true
}

// Owner is the receiver, so that one who wants a message twice gets it once.
func (f *Feed) Owner() any { return f.req.Receiver }

// Filter returns what the feed is for.
func (f *Feed) Filter() topic.Filter { return f.req.Filter }

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
	f.pending = nil
	joined := f.joined
	f.mu.Unlock()
	if f.s.hub.Unsubscribe(f.req.Filter, f) {
		if err := f.s.broker.Unwatch(f.req.Filter); err != nil {
			f.s.log.Warn("the broker could not be told to stop carrying a topic", "topic", f.req.Filter, "error", err)
		}
	}
	name := string(f.req.Filter)
	if f.req.Presence {
		f.s.watchers.remove(name, f)
	}
	if joined {
		f.s.presence.Leave(name, f.req.Who.User)
	}
}
