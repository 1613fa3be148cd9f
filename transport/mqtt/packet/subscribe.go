package packet

import (
	"bytes"
	"encoding/binary"
)

// Subscribe asks for the messages of some topics (§3.8).
type Subscribe struct {
	ID            uint16
	Properties    Properties
	Subscriptions []Subscription
}

// Subscription is one filter of a Subscribe, with its options. Of those, MQTT
// 3.1.1 has the QoS only. The filter is text; whether it has the grammar of
// one is answered for each filter by itself, in the SUBACK.
type Subscription struct {
	Filter            []byte
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0 send retained, 1 only when new, 2 do not
}

// Shared reports whether a filter asks for a shared subscription (§4.8.2).
func (s *Subscription) Shared() bool { return bytes.HasPrefix(s.Filter, []byte("$share/")) }

// Decode reads a packet. The filters refer to body.
func (p *Subscribe) Decode(v Version, _ Header, body []byte) error {
	s := scanner{kind: SUBSCRIBE, rest: body}
	*p = Subscribe{ID: s.id(), Subscriptions: p.Subscriptions[:0]}
	if v == V5 {
		p.Properties = s.properties(SUBSCRIBE)
	}
	if s.err == nil && len(s.rest) == 0 {
		return ProtocolError.Errorf("a SUBSCRIBE without a topic filter [MQTT-3.8.3-2]")
	}
	for len(s.rest) > 0 {
		sub := Subscription{Filter: s.text()}
		if options := s.byte(); s.err == nil {
			if err := sub.take(v, options); err != nil {
				s.fail(err)
			}
		}
		p.Subscriptions = append(p.Subscriptions, sub)
	}
	return s.end()
}

// take reads the subscription options (§3.8.3.1).
func (s *Subscription) take(v Version, options byte) error {
	s.QoS = options & 3
	if v != V5 {
		if options > 2 {
			return MalformedPacket.Errorf("a requested QoS of %#02x (MQTT 3.1.1 [MQTT-3.8.3-4])", options)
		}
		return nil
	}
	s.NoLocal, s.RetainAsPublished, s.RetainHandling = options&4 != 0, options&8 != 0, options>>4&3
	switch {
	case options&0xC0 != 0:
		return MalformedPacket.Errorf("a reserved subscription option is set [MQTT-3.8.3-5]")
	case s.QoS == 3:
		return ProtocolError.Errorf("a subscription with QoS 3 (§3.8.3.1)")
	case s.RetainHandling == 3:
		return ProtocolError.Errorf("a subscription with retain handling 3 (§3.8.3.1)")
	case s.NoLocal && s.Shared():
		return ProtocolError.Errorf("a shared subscription without what is local [MQTT-3.8.3-4]")
	}
	return nil
}

// Append appends the packet to dst.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += p.Properties.size()
	}
	for i := range p.Subscriptions {
		n += textSize(p.Subscriptions[i].Filter) + 1
	}
	dst = binary.BigEndian.AppendUint16(open(dst, SUBSCRIBE, n), p.ID)
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		options := s.QoS
		if v == V5 {
			options |= bit(s.NoLocal, 2) | bit(s.RetainAsPublished, 3) | s.RetainHandling<<4
		}
		dst = append(appendText(dst, s.Filter), options)
	}
	return dst
}

// Unsubscribe takes subscriptions back (§3.10).
type Unsubscribe struct {
	ID         uint16
	Properties Properties
	Filters    [][]byte
}

// Decode reads a packet. The filters refer to body.
func (p *Unsubscribe) Decode(v Version, _ Header, body []byte) error {
	s := scanner{kind: UNSUBSCRIBE, rest: body}
	*p = Unsubscribe{ID: s.id(), Filters: p.Filters[:0]}
	if v == V5 {
		p.Properties = s.properties(UNSUBSCRIBE)
	}
	if s.err == nil && len(s.rest) == 0 {
		return ProtocolError.Errorf("an UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]")
	}
	for len(s.rest) > 0 {
		p.Filters = append(p.Filters, s.text())
	}
	return s.end()
}

// Append appends the packet to dst.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += p.Properties.size()
	}
	for _, f := range p.Filters {
		n += textSize(f)
	}
	dst = binary.BigEndian.AppendUint16(open(dst, UNSUBSCRIBE, n), p.ID)
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	for _, f := range p.Filters {
		dst = appendText(dst, f)
	}
	return dst
}

// Granted is the server's answer to a SUBSCRIBE or an UNSUBSCRIBE (§3.9,
// §3.11): a reason for each filter, in their order. An UNSUBACK of MQTT 3.1.1
// has none.
type Granted struct {
	Kind       Kind // SUBACK or UNSUBACK
	ID         uint16
	Properties Properties
	Reasons    []Reason
}

// Decode reads a packet.
func (p *Granted) Decode(v Version, h Header, body []byte) error {
	s := scanner{kind: h.Kind(), rest: body}
	*p = Granted{Kind: s.kind, ID: s.id(), Reasons: p.Reasons[:0]}
	if v == V5 {
		p.Properties = s.properties(s.kind)
	}
	if p.bare(v) {
		return s.end()
	}
	if s.err == nil && len(s.rest) == 0 {
		return MalformedPacket.Errorf("a %s answers nothing (§3.9.3, §3.11.3)", s.kind)
	}
	for len(s.rest) > 0 {
		r := s.reason()
		if v != V5 && r > GrantedQoS2 && r != UnspecifiedError {
			return ProtocolError.Errorf("return code %#02x has no meaning in a SUBACK (MQTT 3.1.1 [MQTT-3.9.3-2])", byte(r))
		}
		p.Reasons = append(p.Reasons, r)
	}
	return s.end()
}

// bare reports whether the packet has no payload.
func (p *Granted) bare(v Version) bool { return v != V5 && p.Kind == UNSUBACK }

// Append appends the packet to dst.
func (p *Granted) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += p.Properties.size()
	}
	if !p.bare(v) {
		n += len(p.Reasons)
	}
	dst = binary.BigEndian.AppendUint16(open(dst, p.Kind, n), p.ID)
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	if p.bare(v) {
		return dst
	}
	for _, r := range p.Reasons {
		if v != V5 && r.Failed() {
			r = UnspecifiedError
		}
		dst = append(dst, byte(r))
	}
	return dst
}
