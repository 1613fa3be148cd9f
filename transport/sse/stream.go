package sse

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// connectID numbers the command that the server makes of a request.
const connectID = 1

// item waits to be sent.
type item struct {
	frame   *[]byte          // shared with all receivers
	message *message.Message // nil for anything else,
	reply   *parleyv1.Reply  // which is this
}

// place returns how far a stream has got with the item in one topic, if it says
// so; without an epoch it is that of before.
func (it item) place() (topic string, p message.Position) {
	if m := it.message; m != nil {
		return m.Topic, m.Position()
	}
	switch said := it.reply.GetReply().(type) {
	case *parleyv1.Reply_Gap:
		at := said.Gap.GetPosition()
		return said.Gap.GetTopic(), message.Position{Epoch: at.GetEpoch(), Seq: at.GetSeq()}
	case *parleyv1.Reply_Skipped:
		return said.Skipped.GetTopic(), message.Position{Seq: said.Skipped.GetSeq()}
	}
	return "", message.Position{}
}

// stream is the session's end of one request: what it is told waits here until
// the request's goroutine takes it.
type stream struct {
	s       *Server
	session *session.Session
	behind  transport.Behind[item] // messages that wait aside
	end     atomic.Pointer[protocol.Reason]
	wake    chan struct{} // something has changed

	mu      sync.Mutex
	answer  *parleyv1.Reply // to connect
	queue   []item
	queued  int         // bytes that have not been written
	left    int         // subscriptions
	last    bool        // nothing is queued any more
	pinged  bool        // the session wants to hear something
	wanted  bool        // Refill is to be called
	batch   *time.Timer // ends the waiting for more
	until   time.Time   // when writing has to end; zero: as usual
	written func(deadline time.Time) error
}

var (
	_ session.Conn           = (*stream)(nil)
	_ transport.Outlet[item] = (*stream)(nil)
)

func (s *Server) newStream() *stream {
	return &stream{s: s, wake: make(chan struct{}, 1)}
}

// Reply is described at session.Conn.
func (st *stream) Reply(r *parleyv1.Reply) {
	var frame []byte
	switch said := r.GetReply().(type) {
	case *parleyv1.Reply_Pong:
		return
	case *parleyv1.Reply_Connected:
		st.open(r)
		return
	case *parleyv1.Reply_Error:
		if r.GetId() == connectID {
			st.open(r)
			return
		}
	case *parleyv1.Reply_Leaving:
		if wait := comeBack(said.Leaving); wait > 0 {
			frame = appendRetry(frame, wait)
		}
	}
	said := &parleyv1.Reply{Reply: r.GetReply()} // without the number of a command
	frame = appendEvent(frame, said)
	st.Send(item{frame: &frame, reply: said})
	if r.GetUnsubscribed() != nil {
		st.unsubscribed()
	}
}

// unsubscribed ends a stream that nothing can come of any more. A browser that
// comes back is refused, which ends it for good.
func (st *stream) unsubscribed() {
	st.mu.Lock()
	st.left--
	over := st.left == 0
	st.mu.Unlock()
	if !over {
		return
	}
	st.Send(itemOf(leaving(protocol.Forbidden)))
	st.Close(protocol.Forbidden)
}

func itemOf(r *parleyv1.Reply) item {
	frame := appendEvent(nil, r)
	return item{frame: &frame, reply: r}
}

func leaving(r protocol.Reason) *parleyv1.Reply {
	return &parleyv1.Reply{Reply: &parleyv1.Reply_Leaving{Leaving: &parleyv1.Leaving{Reason: r.Code}}}
}

// open notes the answer to connect.
func (st *stream) open(r *parleyv1.Reply) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.answer == nil {
		st.answer = r
	}
}

// farAway is when a browser comes back that should not: it cannot be told to
// stay away for ever.
const farAway = time.Hour

// comeBack is when a browser is to come back after the end; 0 for as usual.
func comeBack(l *parleyv1.Leaving) time.Duration {
	for _, r := range protocol.Reasons() {
		if r.Code == l.GetReason() && r.Retry == protocol.RetryNever {
			return farAway
		}
	}
	return time.Duration(l.GetRetryAfterMs()) * time.Millisecond
}

// Deliver is described at session.Conn.
func (st *stream) Deliver(d *hub.Delivery) bool {
	if d.Event.GetPing() != nil {
		st.ping()
		return true
	}
	it := item{d.Frame(form{}), d.Message, d.Event}
	switch {
	case d.Shape != nil:
		return st.behind.Deliver(st, st.s.limits.QueueBytes/2, d, it, len(*it.frame))
	case d.Droppable:
		if !st.push(it, st.s.limits.QueueBytes/2, nil) {
			st.s.stats.dropped.Add(1)
		}
	default:
		st.Send(it)
	}
	return true
}

func (st *stream) ping() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pinged = true
	st.rouse()
}

// nudge makes the request's goroutine look.
func (st *stream) nudge() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.rouse()
}

// Send is described at transport.Outlet.
func (st *stream) Send(it item) {
	if !st.push(it, st.s.limits.QueueBytes, nil) {
		st.Cut()
	}
}

// Offer is described at transport.Outlet.
func (st *stream) Offer(it item, shape *hub.Shape) bool { return st.push(it, st.s.aside(), shape) }

// Tell is described at transport.Outlet.
func (st *stream) Tell(topic string, what transport.Lost) item {
	return itemOf(&parleyv1.Reply{Reply: &parleyv1.Reply_Skipped{Skipped: &parleyv1.Skipped{Topic: topic, Count: what.Count, Seq: what.Seq}}})
}

// Skipped is described at transport.Outlet.
func (st *stream) Skipped(policy hub.Pressure, n uint64) { st.s.stats.skipped[policy].Add(n) }

// push queues it. It reports false, and queues nothing, when more than room
// bytes would wait; an empty queue takes anything. With a shape there is a
// next time: Refill is called.
func (st *stream) push(it item, room int, shape *hub.Shape) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch size := len(*it.frame); {
	case st.last:
		return true
	case st.queued > 0 && st.queued+size > room:
		st.wanted = st.wanted || shape != nil
		return false
	default:
		st.queue = append(st.queue, it)
		st.queued += size
	}
	if shape != nil && shape.BatchDelay > 0 && st.queued < shape.BatchBytes {
		if st.batch == nil {
			st.batch = time.AfterFunc(shape.BatchDelay, st.nudge)
		}
		return true
	}
	st.rouse()
	return true
}

// rouse makes the request's goroutine look; mu is held.
func (st *stream) rouse() {
	if st.batch != nil {
		st.batch.Stop()
		st.batch = nil
	}
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// Ready is described at session.Conn.
func (st *stream) Ready(f func()) bool { return st.behind.Ready(f) }

// Close is described at session.Conn.
func (st *stream) Close(r protocol.Reason) {
	if !st.end.CompareAndSwap(nil, &r) {
		return
	}
	st.behind.Settle(st, func(it item, _ *hub.Shape) bool { return st.push(it, st.s.limits.QueueBytes, nil) })
	st.mu.Lock()
	defer st.mu.Unlock()
	st.close()
}

// close lets nothing more be queued; mu is held.
func (st *stream) close() {
	st.last = true
	st.rouse()
}

// Cut is described at transport.Outlet: what waits is given up, and the reason
// gets little time to leave.
func (st *stream) Cut() {
	r := protocol.SlowConsumer
	if !st.end.CompareAndSwap(nil, &r) {
		return
	}
	st.stop([]item{itemOf(leaving(r))}, hurriedWrite)
}

// Abort is described at session.Conn.
func (st *stream) Abort() {
	r := protocol.Lost
	st.end.CompareAndSwap(nil, &r)
	st.stop(nil, 0)
}

// stop gives up what waits but for rest, and what is being written after a
// while.
func (st *stream) stop(rest []item, within time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queue = rest
	st.until = time.Now().Add(within)
	if st.written != nil {
		_ = st.written(st.until) // it fails when nobody listens any more
	}
	st.close()
}

// take returns what waits, for the goroutine of the request.
func (st *stream) take(into []item) (items []item, pinged, last bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	items, st.queue = st.queue, into[:0]
	pinged, st.pinged = st.pinged, false
	return items, pinged, st.last
}

// wrote notes that n bytes of what was taken have left.
func (st *stream) wrote(n int) {
	st.mu.Lock()
	st.queued -= n
	refill := st.wanted && st.queued <= st.s.aside()/2
	if refill {
		st.wanted = false
	}
	st.mu.Unlock()
	if refill {
		st.behind.Refill(st)
	}
}

// alive answers the session's ping, for the client cannot: what it was sent has
// been taken, and when that ends, writing does. It asks in return, which counts
// as more than an answer does: a client that may only listen is not idle. Only
// the request's goroutine calls it.
func (st *stream) alive() {
	st.session.Handle([]protocol.Incoming{{Command: &parleyv1.Command{Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}}})
}

// allow lets the next write take as long as it may.
func (st *stream) allow() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	until := st.until
	if until.IsZero() {
		until = time.Now().Add(writeTimeout)
	}
	return st.written(until)
}

// attach lets others end a write that takes too long, detach does not any
// more: the connection is the server's again.
func (st *stream) attach(deadline func(time.Time) error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.written = deadline
}
