package session

import (
	"cmp"
	"context"
	"maps"
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
	"github.com/parleyhq/parley/session/heartbeat"
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
	since            heartbeat.Moment
	connected        atomic.Bool
	calls            atomic.Int32            // under way
	running          atomic.Int32            // they, and handlers of what was published
	last             atomic.Pointer[lasting] // nil for most

	timer wheel.Timer
	due   heartbeat.Moment // when the commands so far would have come at the allowed rate
	next  *Session         // of the same user; guarded by the manager's lock

	mu       sync.Mutex
	welcomed bool // the answer to connect is queued; direct messages may follow
	ended    bool
	taken    bool           // a newer connection goes on with the session
	byDevice bool           // Info.ByDevice; never changed
	fleeting bool           // it ends with its connection; never changed once it has connected
	identity *auth.Identity // never changed, only replaced; nil while unknown
	live     heartbeat.Liveness
	subs     subscriptions
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
		sub.close(s.m.PubSub)
		s.resave()
		s.refuse(0, refusal)
		s.unsubscribed(0, filter)
	}
}

// Handle takes the commands of one frame, in the order the client sent them.
func (s *Session) Handle(frame []protocol.Incoming) {
	now := s.m.now()
	s.hear(now, len(frame) != 1 || frame[0].Command.GetPong() == nil)
	for i := range frame {
		in := &frame[i]
		switch {
		case s.gone():
			return
		case !s.allowed(now):
			rate := s.m.Limits.CommandsPerSecond
			s.refuse(in.ID, protocol.RateLimited.Errorf("more than %d commands a second: slow down", rate).After(time.Second))
		case in.Err != nil:
			s.refuse(in.ID, in.Err)
		case !s.connected.Load() && in.Command.GetConnect() == nil:
			s.refuse(in.ID, protocol.Unauthorized.Errorf("the first command must be connect"))
			s.leave(protocol.BadProtocol, 0)
		default:
			s.await(in.Command)
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
func (s *Session) hear(now heartbeat.Moment, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Heard = now
	if active {
		s.live.Active = now
	}
}

// allowed holds the client to its rate of commands, whether they come one by
// one or many in a frame. It counts as the generic cell rate algorithm does,
// with one number: two seconds' worth may come at once.
func (s *Session) allowed(now heartbeat.Moment) bool {
	due := max(s.due, now)
	if due.Sub(now) >= 2*time.Second {
		return false
	}
	s.due = due.Add(time.Second / time.Duration(s.m.Limits.CommandsPerSecond))
	return true
}

// refuse answers with an error and, when the client has made too many, ends
// the connection.
func (s *Session) refuse(id uint64, err *protocol.Error) {
	s.m.counts.errors.Add(1)
	s.conn.Reply(err.Reply(id))
	l := s.lasts()
	s.mu.Lock()
	if l.errors == nil {
		l.errors = rate.NewLimiter(1, s.m.Limits.Errors)
	}
	spent := !l.errors.Allow()
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

// parting, in Session.running, is set when the connection ends as soon as
// nothing is to be answered any more.
const parting = 1 << 30

// part asks the client to come back elsewhere, once it has the answers it waits
// for.
func (s *Session) part() {
	if s.running.Or(parting) == 0 {
		s.leave(protocol.Draining, s.m.spread())
	}
}

// begins notes that something will be answered later, or refuses it because
// the connection is about to end. Without a refusal finished must follow.
func (s *Session) begins() *protocol.Error {
	if s.running.Add(1)&parting == 0 {
		return nil
	}
	s.finished()
	return protocol.Draining.Errorf("this node is shutting down: connect again")
}

func (s *Session) finished() {
	if s.running.Add(-1) == parting {
		s.leave(protocol.Draining, s.m.spread())
	}
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
	s.mu.Unlock()
	if s.connected.Load() && why.Retry != protocol.RetryNever && !s.fleeting {
		s.remain(subs)
	}
	for _, sub := range subs {
		sub.close(s.m.PubSub)
	}
	s.m.left(s)
	s.mu.Lock()
	s.subs = subscriptions{} // not before: until the manager has what remains, a newer connection asks for it here
	s.mu.Unlock()
	s.m.counts.ended.Add(why.Code)
	if s.connected.Load() {
		s.m.events.Emit(Event{User: s.user, Session: s.id, Node: s.m.Node, Reason: why.Code, At: time.Now()})
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
	ping, end, next := s.live.Step(now)
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

// become gives the client the name and roles that its user has now. What came
// with its own sign-in, when it expires and its claims, stays, unless the user
// has newer claims of the same name.
func (s *Session) become(now auth.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := *s.identity
	who.Name, who.Roles = cmp.Or(now.Name, who.Name), now.Roles
	if len(now.Claims) > 0 {
		who.Claims = maps.Clone(who.Claims)
		if who.Claims == nil {
			who.Claims = make(map[string]any, len(now.Claims))
		}
		maps.Copy(who.Claims, now.Claims)
	}
	s.identity = &who
}

// drop ends one subscription, also for the session when it comes back.
func (s *Session) drop(filter string) bool {
	s.mu.Lock()
	sub := s.subs.remove(filter)
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	sub.close(s.m.PubSub)
	if sub.qos > 0 {
		s.resave()
	}
	return true
}
