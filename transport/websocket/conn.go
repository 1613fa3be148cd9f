package websocket

import (
	"errors"
	"sync/atomic"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// conn is one connection. It is kept small: most are idle, and there are many.
type conn struct {
	line    evloop.Conn // carries the bytes; its handler is conn
	s       *Server
	form    *form
	session *session.Session
	behind  transport.Behind[*[]byte]       // messages that wait aside
	partial *reader                         // while a frame or message is incomplete
	end     atomic.Pointer[protocol.Reason] // why we, or the peer, ended it
}

var (
	_ session.Conn   = (*conn)(nil)
	_ evloop.Handler = (*conn)(nil)
)

// Reply is described at session.Conn.
func (c *conn) Reply(r *parleyv1.Reply) {
	frame := c.s.frameOf(c.form.op, func(dst []byte) []byte { return c.form.codec.AppendReply(dst, r) })
	if c.form.worth(frame) {
		frame = c.form.deflate.pack(c.form.op, frame)
	}
	c.Send(&frame)
}

// Deliver is described at session.Conn. A receiver that is behind is first
// spared what it can do without.
func (c *conn) Deliver(d *hub.Delivery) bool {
	switch frame := c.form.frame(d); {
	case d.Shape != nil:
		return c.behind.Deliver(c, c.s.limits.QueueBytes/2, d, frame, len(*frame))
	case d.Droppable:
		c.spare(frame)
	default:
		c.Send(frame)
	}
	return true
}

// spare queues a frame that a receiver under pressure does without.
func (c *conn) spare(frame *[]byte) {
	if !c.line.Send(frame, c.s.limits.QueueBytes/2) {
		c.s.stats.dropped.Add(1)
	}
}

// Send is described at transport.Outlet.
func (c *conn) Send(frame *[]byte) {
	if !c.line.Send(frame, c.s.limits.QueueBytes) {
		c.Cut()
	}
}

// Ready is described at session.Conn.
func (c *conn) Ready(f func()) bool { return c.behind.Ready(f) }

// Close is described at session.Conn.
func (c *conn) Close(r protocol.Reason) {
	if c.end.CompareAndSwap(nil, &r) {
		c.behind.Settle(c, func(frame *[]byte, _ *hub.Shape) bool { return c.line.Send(frame, c.s.limits.QueueBytes) })
		c.line.End(closeFrame(r.Close, r.Code))
	}
}

// Abort is described at session.Conn.
func (c *conn) Abort() { c.line.Abort() }

// Data feeds what the client sends to the session.
func (c *conn) Data(data []byte) error {
	c.s.stats.bytesIn.Add(uint64(len(data)))
	r := reader{limit: c.s.limits.MessageBytes, deflate: c.form.deflate}
	if c.partial != nil {
		r = *c.partial
	}
	err := r.feed(data, c.handle)
	if c.partial = nil; r.incomplete() {
		kept := r // r itself stays on the stack
		c.partial = &kept
	}
	if bad, ok := errors.AsType[*framingError](err); ok {
		if bad.Close == protocol.TooLarge.Close {
			c.Reply(protocol.TooLarge.Errorf("%s", bad.text).Reply(0))
		}
		c.Close(bad.Reason)
	}
	return err
}

// Closed releases the session.
func (c *conn) Closed(err error) {
	reason := protocol.Lost
	if end := c.end.Load(); end != nil {
		reason = *end
	} else if errors.Is(err, evloop.ErrStalled) {
		reason = protocol.SlowConsumer
	}
	c.session.End(reason)
	c.partial = nil
}

// handle takes one message or control frame.
func (c *conn) handle(op byte, payload []byte) error {
	switch op {
	case opPing:
		pong := frameOf(opPong, len(payload), func(dst []byte) []byte { return append(dst, payload...) })
		c.spare(&pong)
		return nil
	case opPong:
		return nil
	case opClose:
		return c.peerClosed(payload)
	}
	if op != c.form.op {
		return broken(1003, "this connection speaks %s: %s frames only", c.form.codec.Name(), c.form.kind())
	}
	c.s.stats.framesIn.Add(1)
	batch, _ := c.s.batches.Get().(*[]protocol.Incoming)
	*batch = c.form.codec.Decode((*batch)[:0], payload)
	c.session.Handle(*batch)
	clear(*batch)
	c.s.batches.Put(batch)
	return nil
}

// peerClosed answers a close frame with one like it (RFC 6455 §5.5.1).
func (c *conn) peerClosed(payload []byte) error {
	code, err := checkClose(payload)
	if err != nil {
		return err
	}
	r := protocol.Closed
	r.Close = code
	c.Close(r)
	return evloop.ErrFinished
}
