package protocol

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Protobuf is the binary wire form: a frame is one Commands or one Replies.
type Protobuf struct{}

var (
	_ Codec       = Protobuf{}
	_ ClientCodec = Protobuf{}
)

// Name returns the subprotocol.
func (Protobuf) Name() string { return NameProtobuf }

// Binary reports true.
func (Protobuf) Binary() bool { return true }

// Decode is described at Codec.
func (Protobuf) Decode(dst []Incoming, frame []byte) []Incoming {
	var batch parleyv1.Commands
	if err := proto.Unmarshal(frame, &batch); err != nil {
		return append(dst, Incoming{Err: BadRequest.Hide(err, "the frame is not a parley.v1.Commands message")})
	}
	for _, c := range batch.GetCommands() {
		in := Incoming{ID: c.GetId(), Command: c}
		if c.GetCommand() == nil {
			in.Err = Unimplemented.Errorf("the command is missing, or this server does not know it")
		} else if name, raw := payloadOf(c); raw != nil && !validJSON(raw) {
			in.Err = BadRequest.Errorf("%s.payload is not JSON text: send bytes in data", name)
		}
		dst = append(dst, in)
	}
	if len(batch.GetCommands()) == 0 {
		dst = append(dst, Incoming{Err: BadRequest.Errorf("the frame holds no command")})
	}
	return dst
}

// payloadOf returns the JSON text in c, which everyone else relies on to be
// JSON text.
func payloadOf(c *parleyv1.Command) (string, []byte) {
	switch {
	case c.GetPublish() != nil:
		return "publish", c.GetPublish().GetPayload()
	case c.GetCall() != nil:
		return "call", c.GetCall().GetPayload()
	}
	return "", nil
}

// AppendReply is described at Codec.
func (Protobuf) AppendReply(dst []byte, r *parleyv1.Reply) []byte { return appendMember(dst, r) }

// AppendMessage is described at Codec.
func (Protobuf) AppendMessage(dst []byte, m *message.Message) []byte {
	return appendMember(dst, &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: Wire(m)}})
}

// AppendCommand is described at ClientCodec.
func (Protobuf) AppendCommand(dst []byte, c *parleyv1.Command) []byte { return appendMember(dst, c) }

// DecodeReplies is described at ClientCodec.
func (Protobuf) DecodeReplies(frame []byte) ([]*parleyv1.Reply, error) {
	var batch parleyv1.Replies
	if err := proto.Unmarshal(frame, &batch); err != nil {
		return nil, BadRequest.Hide(err, "the frame is not a parley.v1.Replies message")
	}
	return batch.GetReplies(), nil
}

// appendMember writes m as the only member of field 1, which is how both
// Commands and Replies hold theirs. Marshalling can fail only for text that
// is not UTF-8, which the server never makes and decoding refuses.
func appendMember(dst []byte, m proto.Message) []byte {
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(proto.Size(m)))
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, m)
	if err != nil {
		return dst
	}
	return out
}
