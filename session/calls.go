package session

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/routing"
)

// call runs a request beside the commands that follow it and answers when it
// is done. How many run at once is bounded per connection and per node.
func (s *Session) call(id uint64, c *parleyv1.Call) {
	s.m.counts.calls.Add(1)
	if c.GetType() == "" {
		s.refuse(id, protocol.BadRequest.Errorf("call: the type is missing, such as chat.send"))
		return
	}
	if s.calls.Add(1) > int32(s.m.Limits.Calls) {
		s.calls.Add(-1)
		tooMany := protocol.RateLimited.Errorf("call: %d calls are under way on this connection: wait for one to be answered", s.m.Limits.Calls)
		s.refuse(id, tooMany.After(time.Second))
		return
	}
	if !s.m.Router.Acquire() {
		s.calls.Add(-1)
		s.refuse(id, protocol.Overloaded.Errorf("call: this node works on as many requests as it may: try again").After(time.Second))
		return
	}
	who := s.Identity()
	s.m.calls.Go(func() {
		defer s.calls.Add(-1)
		defer s.m.Router.Release()
		s.answer(id, who, c)
	})
}

func (s *Session) answer(id uint64, who auth.Identity, c *parleyv1.Call) {
	ctx, stop := s.deadline(c.GetTimeoutMs())
	defer stop()
	payload, err := s.m.Router.Dispatch(ctx, s.request(who, c.GetType(), c.GetPayload()))
	switch {
	case err != nil:
		s.refuse(id, ClientError(err))
	case id != 0:
		s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Result{Result: &parleyv1.Result{Payload: payload}}})
	}
}

// routed runs the handler of a published message before the commands that
// follow it, so that what one client publishes takes effect in its order.
func (s *Session) routed(id uint64, who auth.Identity, c *parleyv1.Publish) {
	if !s.m.Router.Acquire() {
		s.refuse(id, protocol.Overloaded.Errorf("publish: this node works on as many requests as it may: try again").After(time.Second))
		return
	}
	defer s.m.Router.Release()
	ctx, stop := s.deadline(0)
	defer stop()
	q := s.request(who, c.GetType(), c.GetPayload())
	q.Topic, q.Headers = c.GetTopic(), c.GetHeaders()
	if _, err := s.m.Router.Dispatch(ctx, q); err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	if id == 0 {
		return
	}
	answer := &parleyv1.Published{}
	if q.Published != nil {
		answer.Position = protocol.WirePosition(*q.Published)
	}
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Published{Published: answer}})
}

// deadline is the context of one request: its own, never the connection's.
func (s *Session) deadline(ms uint64) (context.Context, context.CancelFunc) {
	d := s.m.Limits.CallTimeout
	if ms > 0 {
		d = min(d, time.Duration(min(ms, maxExpiryMS))*time.Millisecond)
	}
	return context.WithTimeout(s.m.base, d)
}

func (s *Session) request(who auth.Identity, typ string, payload []byte) *routing.Request {
	return &routing.Request{ID: "r-" + rand.Text()[:16], Type: typ, Payload: payload, Who: who, Session: s.id}
}

// patience is a context that ends at a time, of which most never need to know:
// its timer is made for who waits for it. A token is nearly always judged on
// the spot, and then there is none to make and to stop for each connection.
type patience struct {
	base context.Context
	end  time.Time

	mu      sync.Mutex
	waited  context.Context // nil until somebody waits
	cancel  context.CancelFunc
	stopped bool
}

var _ context.Context = (*patience)(nil)

func newPatience(base context.Context, d time.Duration) *patience {
	return &patience{base: base, end: time.Now().Add(d)}
}

// stop ends it; the one who made it calls it.
func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.cancel != nil {
		p.cancel()
	}
}

// wait returns the context that has a timer.
func (p *patience) wait() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waited == nil {
		p.waited, p.cancel = context.WithDeadline(p.base, p.end)
		if p.stopped {
			p.cancel()
		}
	}
	return p.waited
}

// Deadline is described at context.Context, like all that follows.
func (p *patience) Deadline() (time.Time, bool) { return p.end, true }

// Done makes the timer.
func (p *patience) Done() <-chan struct{} { return p.wait().Done() }

// Err makes the timer, too: it must never say less than Done has.
func (p *patience) Err() error { return p.wait().Err() }

// Value is that of the context with the timer once there is one, by which
// contexts made from this one find it.
func (p *patience) Value(key any) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waited != nil {
		return p.waited.Value(key)
	}
	return p.base.Value(key)
}
