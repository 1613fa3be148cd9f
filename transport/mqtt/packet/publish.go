package packet

import "encoding/binary"

// Publish is a PUBLISH (§3.3): a message on its way, in either direction.
type Publish struct {
	Dup, Retain bool
	QoS         byte
	ID          uint16 // with QoS 1 and 2
	Topic       []byte // may be empty where a topic alias says it
	Properties  Properties
	Payload     []byte
}

// Decode reads a packet. Everything in p refers to body.
func (p *Publish) Decode(v Version, h Header, body []byte) error {
	s := scanner{kind: PUBLISH, rest: body}
	*p = Publish{Dup: h.dup(), Retain: h.retain(), QoS: h.qos(), Topic: s.text()}
	if p.QoS > 0 {
		p.ID = s.id()
	}
	if v == V5 {
		p.Properties = s.properties(PUBLISH)
	}
	if s.err != nil {
		return s.err
	}
	p.Payload = s.rest
	switch {
	case wild(p.Topic):
		return TopicNameInvalid.Errorf("the topic of a PUBLISH holds a wildcard [MQTT-3.3.2-2]")
	case len(p.Topic) > 0:
	case v != V5:
		return TopicNameInvalid.Errorf("the topic of a PUBLISH is empty [MQTT-4.7.3-1]")
	case !p.Properties.Has(TopicAlias):
		return ProtocolError.Errorf("a PUBLISH has neither a topic nor a topic alias (§3.3.2.1)")
	}
	return nil
}

// Append appends the packet to dst: what [Publish.AppendHead], the packet
// identifier where the QoS has one, and [Publish.AppendTail] make.
func (p *Publish) Append(dst []byte, v Version) []byte {
	return append(p.AppendFront(dst, v), p.Payload...)
}

// AppendHead appends what comes before the packet identifier. It does not
// depend on it, so that all receivers of a message can share it.
func (p *Publish) AppendHead(dst []byte, v Version) []byte {
	dst = append(dst, byte(PUBLISH)<<4|bit(p.Dup, 3)|p.QoS<<1|bit(p.Retain, 0))
	return appendText(appendVarint(dst, uint32(p.remaining(v))), p.Topic)
}

// AppendTail appends what comes behind the packet identifier. It depends on
// neither that nor the flags.
func (p *Publish) AppendTail(dst []byte, v Version) []byte {
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return append(dst, p.Payload...)
}

// AppendFront appends everything but the payload, which may be large and
// somebody else's.
func (p *Publish) AppendFront(dst []byte, v Version) []byte {
	dst = p.AppendHead(dst, v)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.ID)
	}
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return dst
}

// Size is how many bytes Append appends.
func (p *Publish) Size(v Version) int {
	n := p.remaining(v)
	return 1 + varintSize(n) + n
}

func (p *Publish) remaining(v Version) int {
	n := textSize(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Properties.size()
	}
	return n
}

func bit(set bool, place int) byte {
	if set {
		return 1 << place
	}
	return 0
}
