package protocol

import (
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// JSON is the text wire form: a frame is one object, or an array of objects.
//
// What is sent or read once a message is written out by hand in json_fast.go;
// everything else follows the schema by reflection, so that there is one
// definition.
type JSON struct{}

var (
	_ Codec       = JSON{}
	_ ClientCodec = JSON{}
)

// Name returns the subprotocol.
func (JSON) Name() string { return NameJSON }

// Binary reports false.
func (JSON) Binary() bool { return false }

// Decode is described at Codec.
func (JSON) Decode(dst []Incoming, frame []byte) []Incoming {
	s := scanner{b: frame}
	start := len(dst)
	switch s.peek() {
	case '[':
		s.array(func() { dst = append(dst, s.command()) })
	case '{':
		dst = append(dst, s.command())
	default:
		s.failf("expected an object such as {\"id\":1,\"connect\":{}} or an array of them")
	}
	s.end()
	if s.err == nil {
		if len(dst) == start {
			dst = append(dst, Incoming{Err: BadRequest.Errorf("the frame holds no command")})
		}
		return dst
	}
	// The scanner stops at the first mistake: what it read last is the command
	// with the mistake, unless that lies outside of any command.
	if n := len(dst); n > start && dst[n-1].Err == nil && dst[n-1].Command == nil {
		dst = dst[:n-1]
	}
	return append(dst, Incoming{Err: BadRequest.Errorf("the frame is not what protocol version 1 says: %w", s.err)})
}

// command reads one command. Command is nil when the scanner failed in it.
func (s *scanner) command() Incoming {
	c := &parleyv1.Command{}
	known, unknown, count := commandFields(), "", 0
	s.object(func(key string) {
		if key == "id" {
			c.Id = s.uint(64)
			return
		}
		fd := known.ByName(protoreflect.Name(key))
		if fd == nil {
			if unknown == "" {
				unknown = key
			}
			s.skip()
			return
		}
		if count++; !s.fastCommand(key, c) {
			s.field(c.ProtoReflect(), fd)
		}
	})
	in := Incoming{ID: c.Id, Command: c}
	switch {
	case s.err != nil:
		in.Command = nil
	case count > 1:
		in.Err = BadRequest.Errorf("one object holds one command, this one holds %d: send an array of objects", count)
	case count == 0 && unknown != "":
		in.Err = Unimplemented.Errorf("this server does not know the command %q", printable(unknown))
	case count == 0:
		in.Err = BadRequest.Errorf("the command is missing: beside id there must be a key such as connect, subscribe or publish")
	}
	return in
}

// printable bounds what of a client's text goes back into an error.
func printable(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

func commandFields() protoreflect.FieldDescriptors {
	return (*parleyv1.Command)(nil).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
}

// AppendReply is described at Codec.
func (JSON) AppendReply(dst []byte, r *parleyv1.Reply) []byte {
	if out, ok := appendFast(dst, r); ok {
		return out
	}
	return appendJSON(dst, r.ProtoReflect(), true)
}

// AppendCommand is described at ClientCodec.
func (JSON) AppendCommand(dst []byte, c *parleyv1.Command) []byte {
	return appendJSON(dst, c.ProtoReflect(), false)
}

// AppendMessage is described at Codec.
func (JSON) AppendMessage(dst []byte, m *message.Message) []byte {
	dst = append(dst, `{"message":{"topic":`...)
	dst = appendString(dst, m.Topic)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, m.Seq, 10)
	dst = append(dst, `,"prev":`...)
	dst = strconv.AppendUint(dst, m.Prev, 10)
	dst = appendText(dst, `,"id":`, m.ID)
	dst = appendText(dst, `,"type":`, m.Type)
	dst = appendText(dst, `,"from":`, m.From)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, m.Time, 10)
	if len(m.Payload) > 0 {
		if m.Binary {
			dst = append(dst, `,"data":`...)
			dst = appendBase64(dst, m.Payload)
		} else {
			dst = append(dst, `,"payload":`...)
			dst = append(dst, m.Payload...)
		}
	}
	if len(m.Headers) > 0 {
		dst = append(dst, `,"headers":`...)
		dst = appendStrings(dst, m.Headers)
	}
	dst = appendText(dst, `,"epoch":`, m.Epoch)
	dst = appendText(dst, `,"share":`, m.Share)
	if m.Attempt > 0 {
		dst = append(dst, `,"attempt":`...)
		dst = strconv.AppendUint(dst, uint64(m.Attempt), 10)
	}
	if m.Retained {
		dst = append(dst, `,"retained":true`...)
	}
	return append(dst, '}', '}')
}

// DecodeReplies is described at ClientCodec.
func (JSON) DecodeReplies(frame []byte) ([]*parleyv1.Reply, error) {
	s := scanner{b: frame}
	var out []*parleyv1.Reply
	one := func() {
		r := &parleyv1.Reply{}
		s.message(r.ProtoReflect())
		out = append(out, r)
	}
	if s.peek() == '[' {
		s.array(one)
	} else {
		one()
	}
	s.end()
	if s.err != nil {
		return nil, BadRequest.Errorf("the frame is not what protocol version 1 says: %w", s.err)
	}
	return out, nil
}
