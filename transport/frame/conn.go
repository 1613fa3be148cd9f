package frame

import (
	"errors"
	"sync/atomic"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// conn is one connection. It is kept small: most are idle, and there are many.
type conn struct {
	line    evloop.Conn // carries the bytes; its handler is conn
	s       *Server
	session *session.Session
	behind  transport.Behind[*[]byte] // messages that wait aside
	partial *frame.Reader             // while a frame is incomplete
	end     atomic.Pointer[protocol.Reason]
	spoken  atomic.Uint32 // the form of the first frame; 0 before
}

var (
	_ session.Conn              = (*conn)(nil)
	_ evloop.Handler            = (*conn)(nil)
	_ transport.Outlet[*[]byte] = (*conn)(nil)
)

// form is what the client is answered in: as it spoke first.
func (c *conn) form() form {
	if c.spoken.Load() == uint32(frame.JSON) {
		return form(frame.JSON)
	}
	return form(frame.Protobuf)
}

// form writes deliveries; its value is that of frame.Form.
type form frame.Form

var _ hub.Encoder = form(0)

// Slot is described at hub.Encoder.
func (f form) Slot() int {
	if f == form(frame.JSON) {
		return transport.SlotFrame
	}
	return transport.SlotFrame + 1
}

// Encode is described at hub.Encoder.
func (f form) Encode(d *hub.Delivery) []byte {
	if d.Event != nil {
		return frame.AppendReply(nil, frame.Form(f), d.Event)
	}
	return frame.AppendMessage(nil, frame.Form(f), d.Message)
}

func (f form) reply(r *parleyv1.Reply) *[]byte {
	b := frame.AppendReply(nil, frame.Form(f), r)
	return &b
}

// Reply is described at session.Conn.
func (c *conn) Reply(r *parleyv1.Reply) { c.Send(c.form().reply(r)) }

// Deliver is described at session.Conn.
func (c *conn) Deliver(d *hub.Delivery) bool {
	switch b := d.Frame(c.form()); {
	case d.Shape != nil:
		return c.behind.Deliver(c, c.s.limits.QueueBytes/2, d, b, len(*b))
	case d.Droppable:
		if !c.line.Send(b, c.s.limits.QueueBytes/2) {
			c.s.stats.dropped.Add(1)
		}
	default:
		c.Send(b)
	}
	return true
}

// Ready is described at session.Conn.
func (c *conn) Ready(f func()) bool { return c.behind.Ready(f) }

// Send is described at transport.Outlet.
func (c *conn) Send(b *[]byte) {
	if !c.line.Send(b, c.s.limits.QueueBytes) {
		c.Cut()
	}
}

// Offer is described at transport.Outlet.
func (c *conn) Offer(b *[]byte, shape *hub.Shape) bool {
	aside := min(64<<10, c.s.limits.QueueBytes/4)
	if shape != nil && shape.BatchDelay > 0 {
		return c.line.OfferLater(b, aside, shape.BatchBytes, shape.BatchDelay)
	}
	return c.line.Offer(b, aside)
}

// Tell is described at transport.Outlet.
func (c *conn) Tell(topic string, what transport.Lost) *[]byte {
	return c.form().reply(&parleyv1.Reply{Reply: &parleyv1.Reply_Skipped{
		Skipped: &parleyv1.Skipped{Topic: topic, Count: what.Count, Seq: what.Seq},
	}})
}

// Skipped is described at transport.Outlet.
func (c *conn) Skipped(policy hub.Pressure, n uint64) { c.s.stats.skipped[policy].Add(n) }

// Refill is described at evloop.Handler.
func (c *conn) Refill() { c.behind.Refill(c) }

// Close is described at session.Conn. What the session has said last is the
// last that the client gets.
func (c *conn) Close(r protocol.Reason) {
	if c.end.CompareAndSwap(nil, &r) {
		c.behind.Settle(c, func(b *[]byte, _ *hub.Shape) bool { return c.line.Send(b, c.s.limits.QueueBytes) })
		c.line.End(nil)
	}
}

// Cut is described at transport.Outlet.
func (c *conn) Cut() {
	r := protocol.SlowConsumer
	if c.end.CompareAndSwap(nil, &r) {
		c.line.Cut(*c.form().reply(&parleyv1.Reply{Reply: &parleyv1.Reply_Leaving{Leaving: &parleyv1.Leaving{Reason: r.Code}}}))
	}
}

// Abort is described at session.Conn.
func (c *conn) Abort() { c.line.Abort() }

// Data feeds what the client sends to the session.
func (c *conn) Data(data []byte) error {
	c.s.stats.bytesIn.Add(uint64(len(data)))
	r := frame.Reader{Limit: c.s.limits.MessageBytes}
	if c.partial != nil {
		r = *c.partial
	}
	err := r.Feed(data, c.handle)
	if c.partial = nil; r.Incomplete() {
		kept := r // r itself stays on the stack
		c.partial = &kept
	}
	if bad, ok := errors.AsType[*frame.Error](err); ok {
		c.s.stats.broken.Add(1)
		c.spoken.CompareAndSwap(0, uint32(bad.Form))
		c.Reply(bad.Errorf("%s", bad.Text).Reply(0))
		c.Close(bad.Reason)
	}
	return err
}

// handle takes one frame.
func (c *conn) handle(f frame.Frame) error {
	c.spoken.CompareAndSwap(0, uint32(f.Form))
	if spoken := c.form(); form(f.Form) != spoken {
		const text = "this connection began in another form: keep the version byte of its first frame"
		return &frame.Error{Reason: protocol.BadProtocol, Text: text, Form: frame.Form(spoken)}
	}
	c.s.stats.framesIn.Add(1)
	batch, _ := c.s.batches.Get().(*[]protocol.Incoming)
	*batch = f.Command((*batch)[:0])
	c.session.Handle(*batch)
	clear(*batch)
	c.s.batches.Put(batch)
	return nil
}

// Closed releases the session.
func (c *conn) Closed(err error) {
	reason := protocol.Lost
	switch end := c.end.Load(); {
	case end != nil:
		reason = *end
	case errors.Is(err, evloop.ErrStalled):
		reason = protocol.SlowConsumer
	case err == nil && c.partial == nil:
		reason = protocol.Closed
	}
	c.session.End(reason)
	c.partial = nil
}
