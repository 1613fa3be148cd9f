package mqtt

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport/mqtt/flight"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// unbounded is the room of what must not be refused, because a part of it has
// left or its identifier is taken.
const unbounded = 1 << 40

// flow is what a client has once it takes part in messages of QoS 1 and 2. It
// is guarded by the client's lock.
type flow struct {
	state   flight.State
	opening bool   // the state of the last connection is not there yet: nothing is sent
	seed    string // of the keys of what the client publishes
	sown    bool   // the seed is on the disk
	pending map[uint64]*flight.Arrival
	room    sync.Cond // fewer messages wait for the log
	waiting []*hub.Delivery
	bytes   int  // of waiting
	wanted  bool // somebody was refused for the client's receive maximum
	owed    []flight.Ack
	unsaved []evloop.Parts // leave when a snapshot is on the disk
	saving  bool
}

func parts(frame *[]byte) evloop.Parts { return evloop.Parts{frame} }

// flowing returns the flow, and makes it when there is none.
func (cl *client) flowing() *flow {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.flows()
}

// flows is flowing with mu held.
func (cl *client) flows() *flow {
	if cl.flow == nil {
		cl.flow = &flow{state: flight.New(), pending: make(map[uint64]*flight.Arrival)}
		cl.flow.room.L = &cl.mu
		cl.flow.state.SetMaximum(cl.maximum)
	}
	return cl.flow
}

// plan is how a message goes to this client.
type plan struct {
	flags

	ids []uint32
}

// plan returns how a message goes to this client; ok is false when it does not.
// mu is held.
func (cl *client) plan(d *hub.Delivery) (pl plan, ok bool) {
	m := cl.subs.match(d.Message)
	if !m.any {
		return pl, false
	}
	pl.qos, pl.retain, pl.ids = m.qos, m.retain, m.ids
	if pl.qos > 0 {
		qos, _, _ := origin(d.Message)
		pl.qos = min(pl.qos, qos) // [MQTT-3.8.4-8]
	}
	return pl, true
}

// spare sends what a receiver under pressure does without, at QoS 0.
func (cl *client) spare(d *hub.Delivery) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	pl, ok := cl.plan(d)
	if pl.qos = 0; ok && !cl.push(cl.packet(d, pl, 0), cl.s.limits.QueueBytes/2) {
		cl.s.stats.dropped.Add(1)
	}
}

// send sends a message, or has it wait while the client has as many as it can
// take. It reports false when too much waits.
func (cl *client) send(d *hub.Delivery) bool {
	cl.mu.Lock()
	ok := cl.queue(d)
	cl.mu.Unlock()
	cl.save()
	return ok
}

// queue is send with mu held.
func (cl *client) queue(d *hub.Delivery) bool {
	pl, ok := cl.plan(d)
	switch {
	case !ok, cl.end.Load() != nil: // nothing leaves any more: what is to be acknowledged comes again
		return true
	case cl.flow != nil && cl.flow.opening:
	case pl.qos == 0:
		return cl.push(cl.packet(d, pl, 0), cl.s.limits.QueueBytes)
	case !cl.flows().state.Full() && len(cl.flow.waiting) == 0:
		cl.transmit(d, pl)
		return true
	}
	size := d.Message.Size()
	if f := cl.flow; f.bytes == 0 || f.bytes+size <= cl.s.limits.QueueBytes {
		f.waiting = append(f.waiting, d)
		f.bytes += size
		return true
	}
	return false
}

// offer sends a message if the client keeps up. When it reports false, Refill
// follows.
func (cl *client) offer(d *hub.Delivery) bool {
	cl.mu.Lock()
	ok := cl.keeps(d)
	if ok {
		ok = cl.queue(d)
	}
	cl.mu.Unlock()
	cl.save()
	return ok
}

// keeps reports whether a message can be sent at once; mu is held.
func (cl *client) keeps(d *hub.Delivery) bool {
	pl, ok := cl.plan(d)
	if !ok {
		return true
	}
	if f := cl.flow; f != nil && (f.opening || pl.qos > 0 && (f.state.Full() || len(f.waiting) > 0)) {
		f.wanted = true
		return false
	}
	return cl.stream.Keeps(d.Message.Size(), min(64<<10, cl.s.limits.QueueBytes/4))
}

// transmit sends a message of QoS 1 or 2 that may leave now; mu is held.
func (cl *client) transmit(d *hub.Delivery, pl plan) {
	f, m := cl.flow, d.Message
	ref := flight.Ref{Topic: m.Topic, Epoch: m.Epoch, Seq: m.Seq, Share: m.Share}
	if m.Retained {
		ref.Seq = 0 // it belongs to the subscription, and is acknowledged to nobody
	}
	s := f.state.Send(ref, pl.qos)
	for _, id := range s.Stale {
		f.release(cl, id)
	}
	if s.Skip {
		f.owe(s.Ack)
		return
	}
	pl.qos, pl.dup = s.QoS, s.Dup
	p := cl.packet(d, pl, s.ID)
	switch {
	case cl.largest > 0 && p.Size() > int(cl.largest):
		f.owe(f.state.Discard(s.ID)) // [MQTT-3.1.2-25]
	case cl.lasting && (pl.qos == 2 || f.saving || len(f.unsaved) > 0):
		f.unsaved = append(f.unsaved, p)
	default:
		cl.push(p, unbounded)
	}
}

// release says PUBREL, as soon as it is on the disk that it may be said; mu is
// held.
func (f *flow) release(cl *client, id uint16) {
	frame := (&packet.Ack{Kind: packet.PUBREL, ID: id}).Append(nil, cl.version)
	if cl.lasting {
		f.unsaved = append(f.unsaved, parts(&frame))
	} else {
		cl.push(parts(&frame), unbounded)
	}
}

func (f *flow) owe(a flight.Ack) {
	if a.Seq > 0 {
		f.owed = append(f.owed, a)
	}
}

// push queues a packet; mu is held, so that packets leave in the order in which
// identifiers and aliases were given.
func (cl *client) push(p evloop.Parts, room int) bool {
	if cl.largest > 0 && p.Size() > int(cl.largest) {
		return true // [MQTT-3.1.2-25]
	}
	return cl.stream.SendParts(p, room)
}

// packet makes the packet of a message for this client; mu is held. What all
// receivers share is encoded once for all of them. Identifiers of subscriptions,
// an expiry and an alias are one receiver's own, and then so is all that stands
// before the payload.
func (cl *client) packet(d *hub.Delivery, pl plan, id uint16) evloop.Parts {
	seconds, expires := uint32(0), false
	if cl.version == packet.V5 {
		seconds, expires = expiry(d.Message, time.Now())
	}
	if cl.version != packet.V5 || len(pl.ids) == 0 && !expires && cl.aliases == 0 {
		return cl.s.frames.shared(d, cl.version, pl.flags, id)
	}
	p := publication(d.Message, packet.V5, pl.qos)
	p.Dup, p.Retain, p.ID = pl.dup, pl.retain, id
	if expires {
		p.Properties = p.Properties.AppendNumber(packet.MessageExpiryInterval, seconds)
	}
	for _, id := range pl.ids {
		p.Properties = p.Properties.AppendNumber(packet.SubscriptionIdentifier, id)
	}
	cl.alias(&p)
	front := p.AppendFront(nil, packet.V5)
	if len(p.Payload) == 0 {
		return parts(&front)
	}
	return evloop.Parts{&front, &d.Message.Payload}
}

// alias lets the client know a topic by a number, as far as it allows any.
func (cl *client) alias(p *packet.Publish) {
	if cl.aliases == 0 {
		return
	}
	r := cl.extra()
	n, known := r.told[string(p.Topic)]
	switch {
	case known:
		p.Topic = nil
	case len(r.told) >= int(min(cl.aliases, cl.s.TopicAliases)):
		return
	default:
		if r.told == nil {
			r.told = make(map[string]uint16)
		}
		n = uint16(len(r.told) + 1)
		r.told[string(p.Topic)] = n
	}
	p.Properties = p.Properties.AppendNumber(packet.TopicAlias, uint32(n))
}

// acknowledge takes PUBACK, PUBREC, PUBREL or PUBCOMP.
func (cl *client) acknowledge(h packet.Header, body []byte) error {
	var p packet.Ack
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	if p.Kind == packet.PUBREL {
		cl.release(p.ID)
		return nil
	}
	f := cl.flowing()
	cl.mu.Lock()
	switch {
	case p.Kind == packet.PUBACK:
		f.owe(f.state.Acknowledged(p.ID))
	case p.Kind == packet.PUBCOMP:
		f.owe(f.state.Completed(p.ID))
	case p.Reason.Failed():
		f.owe(f.state.Refused(p.ID))
	case f.state.Received(p.ID):
		f.release(cl, p.ID)
	default: // it is to forget what we do not know
		rel := packet.Ack{Kind: packet.PUBREL, ID: p.ID}
		if cl.version == packet.V5 {
			rel.Reason = packet.PacketIdentifierNotFound
		}
		cl.say(&rel)
	}
	refill := cl.proceed()
	cl.mu.Unlock()
	cl.save()
	cl.settle()
	if refill {
		cl.behind.Refill(cl.conn)
	}
	return nil
}

// proceed sends what has waited for the client to acknowledge something, and
// reports whether somebody else waits for that; mu is held.
func (cl *client) proceed() (refill bool) {
	f := cl.flow
	for len(f.waiting) > 0 && !f.opening && !f.state.Full() {
		d := f.waiting[0]
		f.waiting[0] = nil
		f.waiting = f.waiting[1:]
		f.bytes -= d.Message.Size()
		if pl, ok := cl.plan(d); !ok {
			continue
		} else if pl.qos > 0 {
			cl.transmit(d, pl)
		} else {
			cl.push(cl.packet(d, pl, 0), unbounded)
		}
	}
	if len(f.waiting) == 0 {
		f.waiting = nil
		refill, f.wanted = f.wanted, false
	}
	return refill
}

// settle tells the session what the client has acknowledged. Only who takes the
// client's packets may call it.
func (cl *client) settle() {
	cl.mu.Lock()
	var owed []flight.Ack
	if cl.flow != nil {
		owed, cl.flow.owed = cl.flow.owed, nil
	}
	cl.mu.Unlock()
	for _, a := range owed {
		cl.do(0, &parleyv1.Command{Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: a.Topic, Seq: a.Seq, Share: a.Share}}})
	}
}
