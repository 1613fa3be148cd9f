package mqtt

import (
	"strconv"
	"strings"
	"unicode/utf8"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/flight"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// maxUnanswered is how many messages of a client may wait for the log: above
// it nothing more of the client is read.
const maxUnanswered = 1024

// publish takes a PUBLISH.
func (cl *client) publish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	if p.Properties.Has(packet.SubscriptionIdentifier) {
		return packet.ProtocolError.Errorf("a client's PUBLISH with a subscription identifier [MQTT-3.3.4-6]")
	}
	name, bad := cl.topicOf(&p)
	if bad != nil {
		return bad
	}
	if p.QoS == 0 {
		if cl.acceptable(&p, name) == nil {
			cl.do(0, cl.publication(&p, name))
		}
		return nil
	}
	f := cl.flowing()
	cl.mu.Lock()
	arrival, verdict := f.state.Arrive(p.ID, p.QoS)
	switch verdict {
	case flight.Repeat:
		cl.say(&packet.Ack{Kind: packet.PUBREC, ID: p.ID})
	case flight.Ignore:
	case flight.Publish:
		return cl.accept(f, arrival, &p, name)
	}
	cl.mu.Unlock()
	return nil
}

// accept has a message of QoS 1 or 2 published. mu is held, and given back.
func (cl *client) accept(f *flow, arrival *flight.Arrival, p *packet.Publish, name string) error {
	if cl.version == packet.V5 && f.state.Pending() > int(cl.s.ReceiveMaximum) {
		cl.mu.Unlock()
		return packet.ReceiveMaximumExceeded.Errorf("more than %d messages are under way [MQTT-3.3.4-9]", cl.s.ReceiveMaximum)
	}
	for f.state.Unanswered() > maxUnanswered && cl.end.Load() == nil {
		f.room.Wait()
	}
	bad := cl.acceptable(p, name)
	if bad != nil {
		f.finish(cl, arrival, bad.Reason)
		cl.mu.Unlock()
		return nil //nolint:nilerr // the client is told, and stays
	}
	cl.next++
	id := cl.next
	f.pending[id] = arrival
	cl.mu.Unlock()
	command := cl.publication(p, name)
	if p.QoS == 2 {
		if !cl.seeded(f) {
			return errFinished // it was ended, because nothing can be kept
		}
		command.GetPublish().Key = strings.Join([]string{
			"mqtt", f.seed, strconv.Itoa(int(arrival.ID)), strconv.FormatUint(uint64(arrival.Generation), 36),
		}, "/")
	}
	cl.do(id, command)
	return nil
}

// publication is the command that publishes a packet.
func (cl *client) publication(p *packet.Publish, name string) *parleyv1.Command {
	out := command(p, name, cl.s.limits.HeaderCount)
	cl.mu.Lock()
	if cl.subs.deaf(name) {
		out.Echo = new(bool)
	}
	cl.mu.Unlock()
	return &parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: out}}
}

// topicOf is the topic of a packet, by its name or by an alias (§3.3.2.3.4).
func (cl *client) topicOf(p *packet.Publish) (string, *packet.Error) {
	alias := p.Properties.Number(packet.TopicAlias, 0)
	if alias == 0 {
		return string(p.Topic), nil
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	r := cl.extra()
	switch {
	case alias > uint32(cl.s.TopicAliases):
		return "", packet.TopicAliasInvalid.Errorf("topic alias %d, at most %d [MQTT-3.3.2-9]", alias, cl.s.TopicAliases)
	case len(p.Topic) > 0:
		for len(r.known) <= int(alias) {
			r.known = append(r.known, "")
		}
		r.known[alias] = string(p.Topic)
		return r.known[alias], nil
	case int(alias) < len(r.known) && r.known[alias] != "":
		return r.known[alias], nil
	}
	return "", packet.ProtocolError.Errorf("topic alias %d stands for nothing yet (§3.3.2.3.4)", alias)
}

// acceptable tells why a message cannot be published whoever sends it.
func (cl *client) acceptable(p *packet.Publish, name string) *packet.Error {
	if _, err := topic.ParseName(name); err != nil {
		return packet.TopicNameInvalid.Errorf("%v", err)
	}
	if p.Properties.Number(packet.PayloadFormatIndicator, 0) == 1 && !utf8.Valid(p.Payload) {
		return packet.PayloadFormatInvalid.Errorf("the payload is said to be text, and is not UTF-8")
	}
	return nil
}

// answered takes what the session says to a message; mu is held.
func (f *flow) answered(cl *client, r *parleyv1.Reply) {
	arrival := f.pending[r.GetId()]
	if arrival == nil {
		return
	}
	delete(f.pending, r.GetId())
	if e := r.GetError(); e != nil {
		f.finish(cl, arrival, published(e))
	} else {
		f.finish(cl, arrival, packet.Success)
	}
}

// finish answers a message, and those behind it that wait for it; mu is held.
// The answers have no reason strings: clients that are in use take one for a
// packet of the wrong length.
func (f *flow) finish(cl *client, arrival *flight.Arrival, reason packet.Reason) {
	for _, a := range f.state.Answer(arrival, byte(reason)) {
		ack := packet.Ack{Kind: packet.PUBACK, ID: a.ID, Reason: packet.Reason(a.Reason)}
		if a.QoS == 2 {
			ack.Kind = packet.PUBREC
		}
		cl.say(&ack)
	}
	f.room.Broadcast()
}

// release takes a PUBREL: the identifier may be used again as soon as that is
// on the disk.
func (cl *client) release(id uint16) {
	f := cl.flowing()
	cl.mu.Lock()
	ack := packet.Ack{Kind: packet.PUBCOMP, ID: id}
	if !f.state.Release(id) && cl.version == packet.V5 {
		ack.Reason = packet.PacketIdentifierNotFound
	}
	if !cl.lasting {
		cl.say(&ack)
		cl.mu.Unlock()
		return
	}
	number, text := f.state.Page(id)
	cl.mu.Unlock()
	cl.write(noteIDs+strconv.Itoa(int(number)), text, func() { cl.say(&ack) })
}
