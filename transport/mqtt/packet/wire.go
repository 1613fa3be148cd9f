package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// kinds is a set of packet kinds, a bit for each.
type kinds uint16

func (s kinds) has(k Kind) bool { return s>>k&1 != 0 }

// varint reads a Variable Byte Integer (§1.5.5). n is the bytes it takes: 0
// when it is incomplete, less than 0 when it is malformed.
func varint(b []byte) (v uint32, n int) {
	for i := range 4 {
		if i == len(b) {
			return 0, 0
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if i > 0 && b[i] == 0 {
				return 0, -1 // it must use the fewest bytes [MQTT-1.5.5-1]
			}
			return v, i + 1
		}
	}
	return 0, -1
}

func appendVarint(dst []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

func varintSize(v int) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// appendText appends a string or binary data; what is longer than the format
// can say is cut, for a length that lies would break everything behind it.
func appendText[T string | []byte](dst []byte, text T) []byte {
	n := min(len(text), maxText)
	return append(binary.BigEndian.AppendUint16(dst, uint16(n)), text[:n]...)
}

func textSize(text []byte) int { return 2 + min(len(text), maxText) }

// scanner reads the fields of one packet one after the other. After the first
// error every field is empty, so that it is asked for once, at the end.
type scanner struct {
	kind Kind
	rest []byte
	err  error
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.rest = nil
}

// take returns the next n bytes.
func (s *scanner) take(n int) []byte {
	if n > len(s.rest) {
		s.fail(MalformedPacket.Errorf("a %s ends in the middle of a field", s.kind))
		return nil
	}
	b := s.rest[:n:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) byte() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) uint16() uint16 {
	if b := s.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (s *scanner) uint32() uint32 {
	if b := s.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (s *scanner) varint() uint32 {
	v, n := varint(s.rest)
	if n <= 0 {
		s.fail(MalformedPacket.Errorf("a %s holds a number that is not a Variable Byte Integer [MQTT-1.5.5-1]", s.kind))
		return 0
	}
	s.rest = s.rest[n:]
	return v
}

// binary returns binary data (§1.5.6).
func (s *scanner) binary() []byte { return s.take(int(s.uint16())) }

// text returns a UTF-8 encoded string (§1.5.4).
func (s *scanner) text() []byte {
	b := s.binary()
	if s.err == nil && !validText(b) {
		s.fail(MalformedPacket.Errorf("a %s holds a string that is not UTF-8 text without NUL [MQTT-1.5.4-1, -2]", s.kind))
	}
	return b
}

// validText is what a string may hold. The code points that a receiver "may"
// refuse besides are accepted: other people's text is not ours to judge.
func validText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// wild reports whether a topic holds a wildcard.
func wild(b []byte) bool { return bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0 }

// id returns a packet identifier.
func (s *scanner) id() uint16 {
	id := s.uint16()
	if s.err == nil && id == 0 {
		s.fail(ProtocolError.Errorf("the packet identifier of a %s is 0 [MQTT-2.2.1-3]", s.kind))
	}
	return id
}

// name returns a topic name that is not empty.
func (s *scanner) name() []byte {
	b := s.text()
	if s.err == nil {
		switch {
		case wild(b):
			s.fail(TopicNameInvalid.Errorf("the topic of a %s holds a wildcard [MQTT-3.3.2-2]", s.kind))
		case len(b) == 0:
			s.fail(TopicNameInvalid.Errorf("the topic of a %s is empty [MQTT-4.7.3-1]", s.kind))
		}
	}
	return b
}

// reason returns a reason code of this kind of packet.
func (s *scanner) reason() Reason {
	r := Reason(s.byte())
	if s.err == nil {
		if err := r.check(s.kind); err != nil {
			s.fail(err)
		}
	}
	return r
}

// end returns the first error; bytes that are left are one.
func (s *scanner) end() error {
	if s.err == nil && len(s.rest) > 0 {
		s.fail(MalformedPacket.Errorf("a %s has %d bytes more than it may", s.kind, len(s.rest)))
	}
	return s.err
}
