// Package protocol turns the native protocol's frames into commands and
// replies and back. The schema is parley/v1/parley.proto; this package holds
// its two wire forms and the table of errors and ends.
package protocol

import (
	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Names of the two wire forms, as WebSocket subprotocols.
const (
	NameJSON     = "parley.v1.json"
	NameProtobuf = "parley.v1.protobuf"
)

// Incoming is one command of a frame, or what was wrong with it. ID is the
// client's number when it could be read.
type Incoming struct {
	ID      uint64
	Command *parleyv1.Command
	Err     *Error
}

// Codec is the server's side of one wire form. Its methods keep no state and
// may be called concurrently.
type Codec interface {
	// Name is the WebSocket subprotocol.
	Name() string
	// Binary reports whether frames are bytes rather than text.
	Binary() bool
	// Decode appends the commands of one frame to dst. They do not refer to
	// the frame's memory. A frame that cannot be read yields one Incoming
	// with Err set, after those that could be.
	Decode(dst []Incoming, frame []byte) []Incoming
	// AppendReply appends one frame with r to dst.
	AppendReply(dst []byte, r *parleyv1.Reply) []byte
	// AppendMessage appends one frame that delivers m to dst: the same bytes
	// as AppendReply with the same content.
	AppendMessage(dst []byte, m *message.Message) []byte
}

// ClientCodec is the client's side of one wire form.
type ClientCodec interface {
	Name() string
	Binary() bool
	AppendCommand(dst []byte, c *parleyv1.Command) []byte
	// DecodeReplies returns the replies of one frame.
	DecodeReplies(frame []byte) ([]*parleyv1.Reply, error)
}

// ByName returns the codec of a subprotocol; "" asks for the default, JSON.
func ByName(name string) (Codec, bool) {
	switch name {
	case "", NameJSON:
		return JSON{}, true
	case NameProtobuf:
		return Protobuf{}, true
	}
	return nil, false
}

// Wire returns m as receivers see it.
func Wire(m *message.Message) *parleyv1.Message {
	w := &parleyv1.Message{
		Topic: m.Topic, Seq: m.Seq, Prev: m.Prev, Epoch: m.Epoch, Id: m.ID,
		Type: m.Type, From: m.From, Time: m.Time, Headers: m.Headers,
		Share: m.Share, Attempt: m.Attempt, Retained: m.Retained,
	}
	if m.Binary {
		w.Data = m.Payload
	} else {
		w.Payload = m.Payload
	}
	return w
}

// WirePosition returns p as clients see it.
func WirePosition(p message.Position) *parleyv1.Position {
	return &parleyv1.Position{Epoch: p.Epoch, Seq: p.Seq}
}
