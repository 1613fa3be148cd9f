package websocket

import (
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport"
)

var _ transport.Outlet[*[]byte] = (*conn)(nil)

// aside is how much may wait in the connection's own queue before messages
// that need not all be sent wait in the backlog instead. It is what is sent
// before a receiver that was behind gets anything new.
func (s *Server) aside() int { return min(64<<10, s.limits.QueueBytes/4) }

// Offer is described at transport.Outlet.
func (c *conn) Offer(frame *[]byte, shape *hub.Shape) bool {
	if shape != nil && shape.BatchDelay > 0 {
		return c.line.OfferLater(frame, c.s.aside(), shape.BatchBytes, shape.BatchDelay)
	}
	return c.line.Offer(frame, c.s.aside())
}

// Refill is described at evloop.Handler.
func (c *conn) Refill() { c.behind.Refill(c) }

// Skipped is described at transport.Outlet.
func (c *conn) Skipped(policy hub.Pressure, n uint64) { c.s.stats.skipped[policy].Add(n) }

// Tell is described at transport.Outlet.
func (c *conn) Tell(topic string, what transport.Lost) *[]byte {
	r := &parleyv1.Reply{Reply: &parleyv1.Reply_Skipped{Skipped: &parleyv1.Skipped{Topic: topic, Count: what.Count, Seq: what.Seq}}}
	frame := frameOf(c.form.op, 128, func(dst []byte) []byte { return c.form.codec.AppendReply(dst, r) })
	return &frame
}

// Cut is described at transport.Outlet.
func (c *conn) Cut() {
	r := protocol.SlowConsumer
	if c.end.CompareAndSwap(nil, &r) {
		c.line.Cut(closeFrame(r.Close, r.Code))
	}
}
