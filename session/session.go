package session

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/wheel"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

// Session is one connection's client. Handle is called by one goroutine at a
// time; everything else may be called concurrently.
//
// It is kept small: a node holds very many, and most do nothing most of the
// time.
type Session struct {
	m                  *Manager
	conn               Conn
	transport, address string

	// Set once by connect, read freely afterwards.
	id, user, device string
	since            moment
	connected        atomic.Bool
	calls            atomic.Int32

	timer  wheel.Timer
	frames moment   // when those so far would have come at the allowed rate
	next   *Session // of the same user; guarded by the manager's lock

	mu       sync.Mutex
	welcomed bool // the answer to connect is queued; direct messages may follow
	ended    bool
	identity *auth.Identity // never changed, only replaced; nil while unknown
	live     liveness
	subs     subscriptions
	errors   *rate.Limiter    // nil until the first
	leaving  *protocol.Reason // why the server ends it
}

var _ pubsub.Receiver = (*Session)(nil)

// ID returns the session's id; empty before connect.
func (s *Session) ID() string { return s.id }

// Identity returns who the client is at the moment.
func (s *Session) Identity() auth.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == nil {
		return auth.Identity{}
	}
	return *s.identity
}

// Deliver hands d to the client, as Conn.Deliver says.
func (s *Session) Deliver(d *hub.Delivery) bool { return s.conn.Deliver(d) }

// Ready is described at pubsub.Receiver.
func (s *Session) Ready(wake func()) bool {
	return s.conn.Ready(func() {
		s.hear(s.m.now(), false) // what it took proves it alive
		wake()
	})
}

// Ended is described at pubsub.Receiver.
func (s *Session) Ended(feed *pubsub.Feed, err error) {
	refusal := ClientError(err)
	if refusal.Code == protocol.SlowConsumer.Code { // it comes back, and goes on where it was
		s.leave(protocol.SlowConsumer, 0)
		return
	}
	filter := string(feed.Filter())
	s.mu.Lock()
	sub := s.subs.get(filter)
	mine := sub != nil && sub.feed == feed
	if mine {
		s.subs.remove(filter)
	}
	s.mu.Unlock()
	if mine {
		s.refuse(0, refusal)
		s.unsubscribed(0, filter)
	}
}

// Handle takes the commands of one frame, in the order the client sent them.
func (s *Session) Handle(frame []protocol.Incoming) {
	now := s.m.now()
	s.hear(now, len(frame) != 1 || frame[0].Command.GetPong() == nil)
	if !s.allowed(now, frame) {
		return
	}
	for i := range frame {
		in := &frame[i]
		switch {
		case s.gone():
			return
		case in.Err != nil:
			s.refuse(in.ID, in.Err)
		case !s.connected.Load() && in.Command.GetConnect() == nil:
			s.refuse(in.ID, protocol.Unauthorized.Errorf("the first command must be connect"))
			s.leave(protocol.BadProtocol, 0)
		default:
			s.do(in.ID, in.Command)
		}
	}
}

func (s *Session) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended || s.leaving != nil
}

// hear notes that the client is alive, and whether it wants something.
func (s *Session) hear(now moment, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.heard = now
	if active {
		s.live.active = now
	}
}

// allowed holds the client to its frame rate. Every command of a frame above
// it is refused, so that nobody waits for an answer. It counts as the generic
// cell rate algorithm does, with one number: two seconds' worth may come at once.
func (s *Session) allowed(now moment, frame []protocol.Incoming) bool {
	if due := max(s.frames, now); due.Sub(now) < 2*time.Second {
		s.frames = due.Add(time.Second / time.Duration(s.m.Limits.FramesPerSecond))
		return true
	}
	tooMany := protocol.RateLimited.Errorf("more than %d frames a second: slow down", s.m.Limits.FramesPerSecond).After(time.Second)
	for i := range frame {
		s.refuse(frame[i].ID, tooMany)
	}
	return false
}

// refuse answers with an error and, when the client has made too many, ends
// the connection.
func (s *Session) refuse(id uint64, err *protocol.Error) {
	s.m.counts.errors.Add(1)
	s.conn.Reply(err.Reply(id))
	s.mu.Lock()
	if s.errors == nil {
		s.errors = rate.NewLimiter(1, s.m.Limits.Errors)
	}
	spent := !s.errors.Allow()
	s.mu.Unlock()
	if spent {
		s.leave(protocol.ErrorBudget, 0)
	}
}

// leave tells the client that the connection ends and why, and ends it.
func (s *Session) leave(r protocol.Reason, retryAfter time.Duration) {
	s.mu.Lock()
	if s.ended || s.leaving != nil {
		s.mu.Unlock()
		return
	}
	s.leaving = &r
	s.mu.Unlock()
	s.conn.Reply(&parleyv1.Reply{Reply: &parleyv1.Reply_Leaving{
		Leaving: &parleyv1.Leaving{Reason: r.Code, RetryAfterMs: uint64(retryAfter.Milliseconds())},
	}})
	s.conn.Close(r)
}

// takenOver ends the connection because a newer one goes on with its session.
func (s *Session) takenOver() { s.leave(protocol.TakenOver, 0) }

// End releases everything the session holds. The transport calls it once,
// when the connection is over, with the reason if it was the client's doing.
func (s *Session) End(why protocol.Reason) {
	s.m.wheel.Stop(&s.timer)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	subs := slices.Collect(s.subs.all())
	if s.leaving != nil {
		why = *s.leaving
	}
	var keep *record
	if s.connected.Load() && why.Retry != protocol.RetryNever {
		keep = s.remains()
	}
	s.mu.Unlock()
	for _, sub := range subs {
		sub.feed.Close()
	}
	s.m.left(s, keep)
	s.mu.Lock()
	s.subs = subscriptions{} // not before: until the manager has the record, a newer connection asks for it here
	s.mu.Unlock()
	tally(&s.m.counts.ended, why.Code)
	if s.connected.Load() {
		s.m.events.emit(Event{User: s.user, Session: s.id, Node: s.m.Node, Reason: why.Code, At: time.Now()})
	}
}

// onTimer runs on the wheel.
func (s *Session) onTimer(at time.Time) {
	now := s.m.momentOf(at)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	ping, end, next := s.live.step(now)
	s.mu.Unlock()
	if end.Code != "" {
		s.leave(end, 0)
		return
	}
	if ping {
		s.conn.Deliver(s.m.ping)
	}
	s.m.wheel.Set(&s.timer, next.Sub(now), s.onTimer)
}

func (s *Session) describe() Described {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Described{
		Session: s.id, User: s.user, Transport: s.transport, Address: s.address,
		Device: s.device, Since: s.m.timeOf(s.since), Subscriptions: s.subs.len(),
	}
}

// reauthorize ends the subscriptions the client may no longer have.
func (s *Session) reauthorize(ctx context.Context) int {
	who := s.Identity()
	s.mu.Lock()
	filters := make([]string, 0, s.subs.len())
	for sub := range s.subs.all() {
		filters = append(filters, string(sub.feed.Filter()))
	}
	s.mu.Unlock()
	n := 0
	for _, f := range filters {
		if s.m.PubSub.Authorize(ctx, who, auth.ActionSubscribe, topic.Filter(f)) == nil {
			continue
		}
		if s.drop(f) {
			n++
			s.unsubscribed(0, f)
		}
	}
	return n
}

// drop ends one subscription.
func (s *Session) drop(filter string) bool {
	s.mu.Lock()
	sub := s.subs.remove(filter)
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	sub.feed.Close()
	return true
}
