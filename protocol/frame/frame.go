// Package frame is the native protocol over a plain stream of bytes, for
// devices: each command and reply in an envelope that says where it ends, what
// it is, and whether it arrived as it was sent.
//
//	offset  bytes  what
//	0       2      magic: 5A 5A
//	2       1      version: 01, the payload is Protobuf; 81, it is JSON
//	3       1      command id
//	4       4      length of the payload, most significant byte first
//	8       length the payload: one Command to the server, one Reply from it
//	8+length 4     CRC-32 of everything before it, most significant byte first
//
// The checksum is that of IEEE 802.3 (polynomial 04C11DB7, reflected, as zip,
// PNG and Ethernet use it). The command id of a command is the number of its
// field in the schema, that of a reply the same plus 80 (hexadecimal), so that
// a receiver knows what it has before it decodes the payload.
package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Sizes and values of the envelope.
const (
	Magic       = 0x5A5A
	HeaderSize  = 8
	TrailerSize = 4
	// FromServer is set in the command ids of replies.
	FromServer = 0x80
)

// Form is the version byte: the version of the envelope in its lower bits, and
// what the payload is in the highest.
type Form byte

// The forms there are.
const (
	Protobuf Form = 0x01
	JSON     Form = 0x81
)

// Known reports whether f is one of the forms.
func (f Form) Known() bool { return f == Protobuf || f == JSON }

func (f Form) codec() protocol.Codec {
	if f == JSON {
		return protocol.JSON{}
	}
	return protocol.Protobuf{}
}

func (f Form) clientCodec() protocol.ClientCodec {
	if f == JSON {
		return protocol.JSON{}
	}
	return protocol.Protobuf{}
}

// AppendReply appends a frame with r to dst, which the server sends.
func AppendReply(dst []byte, f Form, r *parleyv1.Reply) []byte {
	return f.enclose(dst, FromServer|number(r.ProtoReflect()), 64, func(b []byte) []byte { return f.codec().AppendReply(b, r) })
}

// AppendMessage appends a frame that delivers m.
func AppendMessage(dst []byte, f Form, m *message.Message) []byte {
	const deliver = FromServer | 11 // the number of Reply.message
	return f.enclose(dst, deliver, m.Size(), func(b []byte) []byte { return f.codec().AppendMessage(b, m) })
}

// AppendCommand appends a frame with c to dst, which the client sends.
func AppendCommand(dst []byte, f Form, c *parleyv1.Command) []byte {
	return f.enclose(dst, number(c.ProtoReflect()), 64, func(b []byte) []byte { return f.clientCodec().AppendCommand(b, c) })
}

// number returns the number of the one field that is set besides the id.
func number(m protoreflect.Message) byte {
	fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if fd == nil {
		return 0
	}
	return byte(fd.Number())
}

// enclose appends an envelope around what body appends, which is a batch of
// one in Protobuf: of that the member is taken.
func (f Form) enclose(dst []byte, id byte, size int, body func([]byte) []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, 2*HeaderSize+size+TrailerSize)
	}
	start := len(dst)
	dst = body(append(dst, make([]byte, HeaderSize)...))
	if f == Protobuf {
		_, _, tag := protowire.ConsumeTag(dst[start+HeaderSize:])
		_, length := protowire.ConsumeVarint(dst[start+HeaderSize+tag:])
		if start == 0 {
			dst = dst[tag+length:]
		} else {
			dst = append(dst[:start+HeaderSize], dst[start+HeaderSize+tag+length:]...)
		}
	}
	frame := dst[start:]
	binary.BigEndian.PutUint16(frame, Magic)
	frame[2], frame[3] = byte(f), id
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-HeaderSize))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(frame))
}

// Frame is a whole frame whose checksum is right.
type Frame struct {
	Form Form
	ID   byte // the command id
	raw  []byte
}

// Payload returns the payload, which belongs to the reader.
func (f Frame) Payload() []byte { return f.raw[HeaderSize : len(f.raw)-TrailerSize] }

// batch returns the payload as protocol's codecs read it: in Protobuf the
// member of a batch. The header gives the room for that.
func (f Frame) batch() []byte {
	if f.Form == JSON {
		return f.Payload()
	}
	var head [HeaderSize]byte
	h := protowire.AppendVarint(protowire.AppendTag(head[:0], 1, protowire.BytesType), uint64(len(f.Payload())))
	at := HeaderSize - len(h)
	copy(f.raw[at:], h)
	return f.raw[at : len(f.raw)-TrailerSize]
}

// Command reads a client's frame and appends it to dst, as protocol.Codec's
// Decode does. It is called once.
func (f Frame) Command(dst []protocol.Incoming) []protocol.Incoming {
	start := len(dst)
	dst = f.Form.codec().Decode(dst, f.batch())
	if len(dst) > start+1 {
		clear(dst[start+1:])
		dst = dst[:start+1]
		dst[start] = protocol.Incoming{Err: protocol.BadRequest.Errorf("a frame holds one command")}
	}
	in := &dst[start]
	if in.Err == nil && number(in.Command.ProtoReflect()) != f.ID {
		in.Err = protocol.BadRequest.Errorf("the frame says that it is command %d, and holds command %d", f.ID, number(in.Command.ProtoReflect()))
	}
	return dst
}

// Reply reads a server's frame. It is called once.
func (f Frame) Reply() (*parleyv1.Reply, error) {
	replies, err := f.Form.clientCodec().DecodeReplies(f.batch())
	if err != nil {
		return nil, err
	}
	if len(replies) != 1 {
		return nil, fmt.Errorf("a frame holds %d replies", len(replies))
	}
	return replies[0], nil
}

// Seal writes the checksum of a frame that was changed, and returns it.
func Seal(raw []byte) []byte {
	end := len(raw) - TrailerSize
	return binary.BigEndian.AppendUint32(raw[:end], crc32.ChecksumIEEE(raw[:end]))
}
