package packet

import "encoding/binary"

// Ack is one of the four answers in the delivery of a message: PUBACK, PUBREC,
// PUBREL or PUBCOMP (§3.4 to §3.7).
type Ack struct {
	Kind       Kind
	ID         uint16
	Reason     Reason
	Properties Properties
}

// Decode reads a packet.
func (a *Ack) Decode(v Version, h Header, body []byte) error {
	s := scanner{kind: h.Kind(), rest: body}
	*a = Ack{Kind: s.kind, ID: s.id()}
	if v == V5 && len(s.rest) > 0 {
		a.Reason = s.reason()
		if len(s.rest) > 0 {
			a.Properties = s.properties(s.kind)
		}
	}
	return s.end()
}

// Append appends the packet to dst, in the shortest form that says it.
func (a *Ack) Append(dst []byte, v Version) []byte {
	n := 2 + endingSize(v, a.Reason, a.Properties)
	return appendEnding(binary.BigEndian.AppendUint16(open(dst, a.Kind, n), a.ID), v, a.Reason, a.Properties)
}

// endingSize and appendEnding are about the reason and the properties that
// MQTT 5 has at the end of some packets, and which may be left out.
func endingSize(v Version, r Reason, p Properties) int {
	switch {
	case v != V5 || r == Success && len(p) == 0:
		return 0
	case len(p) == 0:
		return 1
	}
	return 1 + p.size()
}

func appendEnding(dst []byte, v Version, r Reason, p Properties) []byte {
	switch endingSize(v, r, p) {
	case 0:
		return dst
	case 1:
		return append(dst, byte(r))
	}
	return p.append(append(dst, byte(r)))
}

// Disconnect is the last packet of a connection (§3.14). A server sends one
// only in MQTT 5.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// Decode reads a packet.
func (d *Disconnect) Decode(v Version, _ Header, body []byte) error {
	s := scanner{kind: DISCONNECT, rest: body}
	*d = Disconnect{}
	if v == V5 && len(s.rest) > 0 {
		d.Reason = s.reason()
		if len(s.rest) > 0 {
			d.Properties = s.properties(DISCONNECT)
		}
	}
	return s.end()
}

// Append appends the packet to dst, in the shortest form that says it.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	return appendEnding(open(dst, DISCONNECT, endingSize(v, d.Reason, d.Properties)), v, d.Reason, d.Properties)
}

// Auth is a step of an extended authentication (§3.15), which MQTT 3.1.1 does
// not have.
type Auth struct {
	Reason     Reason
	Properties Properties
}

// Decode reads a packet.
func (a *Auth) Decode(v Version, _ Header, body []byte) error {
	if v != V5 {
		return MalformedPacket.Errorf("packet type 15 is reserved (MQTT 3.1.1 §2.2.1)")
	}
	s := scanner{kind: AUTH, rest: body}
	*a = Auth{}
	if len(s.rest) > 0 {
		a.Reason = s.reason()
		a.Properties = s.properties(AUTH)
	}
	return s.end()
}

// Append appends the packet to dst.
func (a *Auth) Append(dst []byte, _ Version) []byte {
	if a.Reason == Success && len(a.Properties) == 0 {
		return open(dst, AUTH, 0)
	}
	dst = open(dst, AUTH, 1+a.Properties.size())
	return a.Properties.append(append(dst, byte(a.Reason)))
}
