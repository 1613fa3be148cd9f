package websocket

import (
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/transport"
)

// form is a wire form in WebSocket frames. Forms that differ only in the
// window share a slot, and so the bytes of a delivery: a window decides which
// messages are compressed, never how.
type form struct {
	codec protocol.Codec
	slot  int
	op    byte

	// Of a connection that has agreed on compression:
	plain   *form // the same without
	deflate *deflater
	window  int // bytes; a larger message could refer to what the client has forgotten
}

// forms are all wire forms of a server.
type forms struct {
	plain  [2]form
	packed [2][maxBits - minBits + 1]form // empty without compression
}

func newForms() forms {
	return forms{plain: [2]form{
		{codec: protocol.JSON{}, slot: transport.SlotWebSocket, op: opText},
		{codec: protocol.Protobuf{}, slot: transport.SlotWebSocket + 1, op: opBinary},
	}}
}

// compress fills in the forms that compress.
func (f *forms) compress(d *deflater) {
	for i := range f.packed {
		plain := &f.plain[i]
		for j := range f.packed[i] {
			f.packed[i][j] = form{plain.codec, plain.slot + len(f.plain), plain.op, plain, d, 1 << (minBits + j)}
		}
	}
}

// of returns the form of a connection; bits is 0 without compression.
func (f *forms) of(codec protocol.Codec, bits int) *form {
	i := 0
	if codec.Binary() {
		i = 1
	}
	if bits == 0 {
		return &f.plain[i]
	}
	return &f.packed[i][bits-minBits]
}

func (f *form) kind() string {
	if f.op == opBinary {
		return "binary"
	}
	return "text"
}

// Slot is described at hub.Encoder.
func (f *form) Slot() int { return f.slot }

// Encode is described at hub.Encoder.
func (f *form) Encode(d *hub.Delivery) []byte {
	switch {
	case f.plain != nil:
		return f.deflate.pack(f.op, *d.Frame(f.plain))
	case d.Event != nil:
		return frameOf(f.op, 128, func(dst []byte) []byte { return f.codec.AppendReply(dst, d.Event) })
	}
	return frameOf(f.op, d.Message.Size()+64, func(dst []byte) []byte { return f.codec.AppendMessage(dst, d.Message) })
}

// frame returns what is sent of a delivery. It is shared: nobody may change it.
func (f *form) frame(d *hub.Delivery) *[]byte {
	if f.plain == nil {
		return d.Frame(f)
	}
	plain := d.Frame(f.plain)
	if !f.worth(*plain) {
		return plain
	}
	return d.Frame(f)
}

// worth reports whether a frame is to be compressed.
func (f *form) worth(frame []byte) bool {
	return f.deflate != nil && len(frame) >= f.deflate.from && len(frame) <= f.window
}
