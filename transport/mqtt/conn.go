package mqtt

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// conn is one connection. It is kept small: most are idle, and there are many.
type conn struct {
	s       *Server
	stream  transport.Stream
	session *session.Session
	behind  transport.Behind[*hub.Delivery] // messages that wait aside
	partial *packet.Reader                  // while a packet is incomplete
	client  atomic.Pointer[client]          // nil before CONNECT was accepted
	greet   atomic.Pointer[greeting]        // a CONNECT that is being answered
	end     atomic.Pointer[protocol.Reason] // why we, or the client, ended it
	quit    atomic.Bool                     // the client has said DISCONNECT
}

var (
	_ session.Conn                    = (*conn)(nil)
	_ evloop.Handler                  = (*conn)(nil)
	_ transport.Outlet[*hub.Delivery] = (*conn)(nil)
)

// Data takes what the client sends.
func (c *conn) Data(data []byte) error {
	c.s.stats.bytesIn.Add(uint64(len(data)))
	r := packet.Reader{Limit: c.s.PacketLimit()}
	if c.partial != nil {
		r = *c.partial
	}
	err := r.Feed(data, c.handle)
	if c.partial = nil; r.Incomplete() {
		kept := r // r itself stays on the stack
		c.partial = &kept
	}
	if bad, ok := errors.AsType[*packet.Error](err); ok {
		c.fail(bad)
	}
	return err
}

// PacketLimit is the most bytes of a packet: the largest message and what may
// stand around it.
func (s *Server) PacketLimit() int { return s.limits.MessageBytes + 4<<10 }

// handle takes one packet.
func (c *conn) handle(h packet.Header, body []byte) error {
	c.s.stats.packetsIn.Add(1)
	cl := c.client.Load()
	if h.Kind() == packet.CONNECT {
		if cl != nil {
			return packet.ProtocolError.Errorf("a second CONNECT [MQTT-3.1.0-2]")
		}
		return c.connect(h, body)
	}
	if cl == nil {
		return packet.ProtocolError.Errorf("the first packet is a %s instead of a CONNECT [MQTT-3.1.0-1]", h.Kind())
	}
	cl.heard.Store(time.Now().UnixNano())
	cl.settle()
	switch h.Kind() {
	case packet.PUBLISH:
		return cl.publish(h, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return cl.acknowledge(h, body)
	case packet.SUBSCRIBE:
		return cl.subscribe(h, body)
	case packet.UNSUBSCRIBE:
		return cl.unsubscribe(h, body)
	case packet.PINGREQ:
		return cl.ping(h, body)
	case packet.DISCONNECT:
		return cl.disconnect(h, body)
	case packet.AUTH:
		return cl.authenticate(h, body)
	default:
		return packet.ProtocolError.Errorf("a client does not send %s", h.Kind())
	}
}

// fail ends the connection for a mistake of the client, and says which.
func (c *conn) fail(bad *packet.Error) {
	c.s.Log.Debug("a client is disconnected for what it sent", "reason", bad.Reason, "error", bad.Message)
	r := protocol.BadProtocol
	if bad.Reason == packet.PacketTooLarge {
		r = protocol.TooLarge
	}
	if c.end.CompareAndSwap(nil, &r) {
		c.stream.End(c.farewell(bad.Reason, bad.Message))
	}
}

// farewell is the last packet to a client: MQTT 3.1.1 has none.
func (c *conn) farewell(reason packet.Reason, why string) []byte {
	cl := c.client.Load()
	if cl == nil || cl.version != packet.V5 || c.quit.Load() {
		return nil
	}
	d := packet.Disconnect{Reason: reason, Properties: cl.explain(nil, why)}
	if reason == packet.UseAnotherServer {
		d.Properties = d.Properties.AppendText(packet.ServerReference, c.s.Redirect)
	}
	return d.Append(nil, packet.V5)
}

// Reply is described at session.Conn.
func (c *conn) Reply(r *parleyv1.Reply) {
	if cl := c.client.Load(); cl != nil {
		cl.replied(r)
	} else if g := c.greet.Load(); g != nil {
		c.greeted(g, r)
	}
}

// Deliver is described at session.Conn. Events are not for MQTT clients.
func (c *conn) Deliver(d *hub.Delivery) bool {
	cl := c.client.Load()
	switch {
	case d.Message == nil || cl == nil:
	case d.Shape != nil:
		return c.behind.Deliver(c, c.s.limits.QueueBytes/2, d, d, d.Message.Size())
	case d.Droppable:
		cl.spare(d)
	default:
		c.Send(d)
	}
	return true
}

// Ready is described at session.Conn.
func (c *conn) Ready(f func()) bool { return c.behind.Ready(f) }

// Send is described at transport.Outlet.
func (c *conn) Send(d *hub.Delivery) {
	if d != nil && !c.client.Load().send(d) {
		c.Cut()
	}
}

// Offer is described at transport.Outlet.
func (c *conn) Offer(d *hub.Delivery, _ *hub.Shape) bool { return d == nil || c.client.Load().offer(d) }

// Refill is described at evloop.Handler.
func (c *conn) Refill() { c.behind.Refill(c) }

// Tell is described at transport.Outlet. MQTT has no words for it.
func (c *conn) Tell(string, transport.Lost) *hub.Delivery { return nil }

// Skipped is described at transport.Outlet.
func (c *conn) Skipped(policy hub.Pressure, n uint64) { c.s.stats.skipped[policy].Add(n) }

// Cut is described at transport.Outlet. What waits may end in the middle of a
// packet, so nothing can be said behind it.
func (c *conn) Cut() {
	r := protocol.SlowConsumer
	if c.end.CompareAndSwap(nil, &r) {
		c.stream.Cut(nil)
	}
}

// Close is described at session.Conn.
func (c *conn) Close(r protocol.Reason) {
	cl, g := c.client.Load(), c.greet.Load()
	if cl == nil && g != nil { // it has to leave before it was answered, such as while draining
		c.refuse(g.client.version, c.s.refusal(r.Code, g.password).Errorf("%s", r.Code))
		g.end()
	}
	if c.end.Load() == nil {
		c.behind.Settle(c, func(d *hub.Delivery, _ *hub.Shape) bool { return d == nil || c.client.Load().send(d) })
	}
	if c.end.CompareAndSwap(nil, &r) {
		c.stream.End(c.farewell(c.s.ending(r), ""))
	}
	c.wake(cl)
}

// wake lets nobody wait who takes the client's packets.
func (c *conn) wake(cl *client) {
	if cl != nil {
		cl.mu.Lock()
		defer cl.mu.Unlock()
		if cl.flow != nil {
			cl.flow.room.Broadcast()
		}
	}
}

// Abort is described at session.Conn.
func (c *conn) Abort() {
	lost := protocol.Lost
	c.end.CompareAndSwap(nil, &lost)
	if g := c.greet.Load(); g != nil {
		g.end()
	}
	c.stream.Abort()
	c.wake(c.client.Load())
}

// Closed releases the session.
func (c *conn) Closed(err error) {
	reason := protocol.Lost
	if end := c.end.Load(); end != nil {
		reason = *end
	} else if errors.Is(err, evloop.ErrStalled) {
		reason = protocol.SlowConsumer
	}
	if cl := c.client.Load(); cl != nil {
		reason = cl.leave(reason)
	}
	c.session.End(reason)
	c.partial = nil
	c.s.stats.open.Add(-1)
	c.s.conns.Done()
}
