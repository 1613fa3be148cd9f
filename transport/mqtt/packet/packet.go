// Package packet reads and writes the control packets of MQTT 3.1.1 and MQTT
// 5.0, as the OASIS standards of 29 October 2014 and 7 March 2019 have them.
//
// A [Reader] cuts the bytes of a connection into packets, wherever they were
// split or joined. What a packet holds is read by the Decode method of its
// type; the result refers to the bytes it was read from, so that nothing is
// copied, and is valid as long as they are. Append writes a packet behind what
// a buffer holds already.
//
// What one packet alone can tell to be wrong is found here, and is an [*Error]
// with the reason code that the standard gives it. What depends on the packets
// before it (an unknown topic alias, a second CONNECT) or on which side reads
// (a client that sends SUBACK) is for the connection to judge.
//
// Numbers in brackets such as [MQTT-3.3.1-4] are those of the statements in
// the MQTT 5 standard, where not said otherwise.
package packet

import "fmt"

// Version is the protocol level that a CONNECT asks for.
type Version byte

// The versions that are spoken.
const (
	V311 Version = 4
	V5   Version = 5
)

// Kind is the type of a control packet (§2.1.2).
type Kind byte

// The kinds of packets.
const (
	CONNECT Kind = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// will stands where a kind does for the properties of a will.
const will Kind = 0

// String returns the name that the standard uses.
func (k Kind) String() string {
	names := [...]string{
		"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
		"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", byte(k))
}

// flags are the lower four bits that the first byte of a packet must have;
// those of a PUBLISH mean something (§2.1.3).
func (k Kind) flags() byte {
	switch k {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	default:
		return 0
	}
}

// MaxRemaining is the most bytes that can follow the fixed header (§1.5.5).
const MaxRemaining = 1<<28 - 1

// maxText is the most bytes of a string and of binary data (§1.5.4, §1.5.6).
const maxText = 1<<16 - 1

// Header is the first byte of a packet: its kind and its flags.
type Header byte

// Kind returns the kind of the packet.
func (h Header) Kind() Kind { return Kind(h >> 4) }

func (h Header) dup() bool    { return h&8 != 0 }
func (h Header) qos() byte    { return byte(h) >> 1 & 3 }
func (h Header) retain() bool { return h&1 != 0 }

// check judges what the first byte alone can tell.
func (h Header) check() error {
	switch k := h.Kind(); {
	case k == 0:
		return MalformedPacket.Errorf("packet type 0 is reserved (§2.1.2)")
	case k == PUBLISH && h.qos() == 3:
		return MalformedPacket.Errorf("a PUBLISH with QoS 3 [MQTT-3.3.1-4]")
	case k == PUBLISH && h.dup() && h.qos() == 0:
		return MalformedPacket.Errorf("a PUBLISH with QoS 0 that is marked as sent again [MQTT-3.3.1-2]")
	case k != PUBLISH && byte(h)&0xf != k.flags():
		return MalformedPacket.Errorf("the flags of a %s are %#x instead of %#x [MQTT-2.1.3-1]", k, byte(h)&0xf, k.flags())
	}
	return nil
}

// open appends the fixed header of a packet without flags of its own.
func open(dst []byte, k Kind, remaining int) []byte {
	return appendVarint(append(dst, byte(k)<<4|k.flags()), uint32(remaining))
}

// Signal is a packet that says nothing but its kind: PINGREQ or PINGRESP.
type Signal struct{ Kind Kind }

// Decode checks a packet that has no body.
func (s *Signal) Decode(_ Version, h Header, body []byte) error {
	s.Kind = h.Kind()
	if len(body) > 0 {
		return MalformedPacket.Errorf("a %s has %d bytes more than it may", s.Kind, len(body))
	}
	return nil
}

// Append appends the packet to dst.
func (s *Signal) Append(dst []byte, _ Version) []byte { return open(dst, s.Kind, 0) }
