package websocket

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// behind is what only a receiver has that is behind.
type behind struct {
	mu      sync.Mutex
	waiting *backlog
	over    bool // it has caught up: this is no longer the connection's
}

// aside is how much may wait in the connection's own queue before messages
// that need not all be sent wait in the backlog instead. It is what is sent
// before a receiver that was behind gets anything new.
func (s *Server) aside() int { return min(64<<10, s.limits.QueueBytes/4) }

// shaped queues a message whose topic has settings about that.
func (c *conn) shaped(d *hub.Delivery, frame *[]byte) {
	if d.Shape.Pressure == hub.PressureDisconnect {
		if !c.offer(frame, d.Shape) {
			c.send(frame)
		}
		return
	}
	for {
		b := c.behind.Load()
		if b == nil {
			if c.offer(frame, d.Shape) {
				return
			}
			b = &behind{waiting: newBacklog(c.s.limits.QueueBytes / 2)}
			if !c.behind.CompareAndSwap(nil, b) {
				continue
			}
		}
		if c.wait(b, d, frame) {
			return
		}
	}
}

// offer queues a frame if the receiver keeps up.
func (c *conn) offer(frame *[]byte, shape *hub.Shape) bool {
	if shape != nil && shape.BatchDelay > 0 {
		return c.line.OfferLater(frame, c.s.aside(), shape.BatchBytes, shape.BatchDelay)
	}
	return c.line.Offer(frame, c.s.aside())
}

// wait has a message wait in b; it reports false when b is over.
func (c *conn) wait(b *behind, d *hub.Delivery, frame *[]byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	if !b.waiting.add(d, frame, time.Now()) {
		c.cut()
	}
	c.drain(b, c.offer) // it has been read meanwhile, or Refill is asked for anew
	return true
}

// Refill is described at evloop.Handler.
func (c *conn) Refill() { c.settle(c.offer) }

// settle offers what waits.
func (c *conn) settle(offer func(*[]byte, *hub.Shape) bool) {
	b := c.behind.Load()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.drain(b, offer)
}

// drain is settle with b's lock held.
func (c *conn) drain(b *behind, offer func(*[]byte, *hub.Shape) bool) {
	if b.over {
		return
	}
	b.waiting.drain(offer, c.tell)
	for policy, n := range b.waiting.dropped {
		if n > 0 {
			c.s.stats.skipped[policy].Add(n)
		}
	}
	b.waiting.dropped = [hub.Pressures]uint64{}
	if b.waiting.empty() {
		b.over = true
		c.behind.Store(nil)
	}
}

// tell is the frame that says what was not sent.
func (c *conn) tell(topic string, what lost) *[]byte {
	r := &parleyv1.Reply{Reply: &parleyv1.Reply_Skipped{Skipped: &parleyv1.Skipped{Topic: topic, Count: what.count, Seq: what.seq}}}
	frame := frameOf(c.form.op, 128, func(dst []byte) []byte { return c.form.codec.AppendReply(dst, r) })
	return &frame
}

// cut ends the connection of a receiver that has taken too little.
func (c *conn) cut() {
	r := protocol.SlowConsumer
	if c.end.CompareAndSwap(nil, &r) {
		c.line.Cut(closeFrame(r.Close, r.Code))
	}
}
