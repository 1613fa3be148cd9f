package session

import (
	"context"
	"crypto/rand"
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
	if refusal := s.acquire("call"); refusal != nil {
		s.calls.Add(-1)
		s.refuse(id, refusal)
		return
	}
	who := s.Identity()
	s.m.calls.Go(func() {
		defer s.finished()
		defer s.calls.Add(-1)
		defer s.m.Router.Release()
		s.answer(id, who, c)
	})
}

// acquire takes what running a handler takes, or tells why it cannot run.
func (s *Session) acquire(what string) *protocol.Error {
	if refusal := s.begins(); refusal != nil {
		return refusal
	}
	if s.m.Router.Acquire() {
		return nil
	}
	s.finished()
	return protocol.Overloaded.Errorf("%s: this node works on as many requests as it may: try again", what).After(time.Second)
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
	if refusal := s.acquire("publish"); refusal != nil {
		s.refuse(id, refusal)
		return
	}
	defer s.finished()
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
