package protocol_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// draw fills m with random content, exactly one member of a oneof.
func draw(t *rapid.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range m.Descriptor().Oneofs().Len() {
		if one := m.Descriptor().Oneofs().Get(i); !one.IsSynthetic() {
			pick := rapid.IntRange(0, one.Fields().Len()-1).Draw(t, "one of")
			draw(t, m.Mutable(one.Fields().Get(pick)).Message())
		}
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if one := fd.ContainingOneof(); one != nil && !one.IsSynthetic() {
			continue
		}
		if rapid.Bool().Draw(t, "absent") {
			continue
		}
		switch {
		case fd.IsMap():
			for k, v := range rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "map") {
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
			}
		case fd.IsList():
			item := m.Mutable(fd).List().NewElement()
			draw(t, item.Message())
			m.Mutable(fd).List().Append(item)
		case fd.Kind() == protoreflect.MessageKind:
			draw(t, m.Mutable(fd).Message())
		default:
			m.Set(fd, drawScalar(t, fd))
		}
	}
}

func drawScalar(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.BytesKind:
		if fd.Name() == "payload" {
			text := rapid.SampledFrom([]string{`null`, `1.5e3`, `"a\"b"`, `[1,{"x":[]}]`, `{"k":"值","n":null}`}).Draw(t, "json")
			return protoreflect.ValueOfBytes([]byte(text))
		}
		return protoreflect.ValueOfBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	default:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "string"))
	}
}

// canonical turns our JSON into proto3 JSON as protojson reads it: payloads
// become base64.
func canonical(t *rapid.T, frame []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(frame))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v: %s", err, frame)
	}
	var raw func(v json.RawMessage, key string) any
	raw = func(v json.RawMessage, key string) any {
		switch {
		case key == "payload":
			return base64.StdEncoding.EncodeToString(v)
		case v[0] == '{':
			var m map[string]json.RawMessage
			if err := json.Unmarshal(v, &m); err != nil {
				t.Fatal(err)
			}
			out := map[string]any{}
			for k, v := range m {
				inner := k
				if key == "headers" {
					inner = ""
				}
				out[k] = raw(v, inner)
			}
			return out
		case v[0] == '[':
			var list []json.RawMessage
			if err := json.Unmarshal(v, &list); err != nil {
				t.Fatal(err)
			}
			out := []any{}
			for _, v := range list {
				out = append(out, raw(v, ""))
			}
			return out
		}
		return v
	}
	out, err := json.Marshal(raw(frame, ""))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// protojson is the oracle: what we write, it must read as the same message.
func TestJSONIsTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reply := &parleyv1.Reply{}
		draw(t, reply.ProtoReflect())
		frame := protocol.JSON{}.AppendReply(nil, reply)
		back := &parleyv1.Reply{}
		if err := protojson.Unmarshal(canonical(t, frame), back); err != nil || !proto.Equal(reply, back) {
			t.Fatalf("%v\n wrote %s\n for %v\n read %v", err, frame, reply, back)
		}
		ours, err := protocol.JSON{}.DecodeReplies(frame)
		if err != nil || len(ours) != 1 || !proto.Equal(ours[0], reply) {
			t.Fatalf("%v\n wrote %s\n read %v", err, frame, ours)
		}
	})
}

func TestCommandsSurviveBothForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cmd := &parleyv1.Command{}
		draw(t, cmd.ProtoReflect())
		for _, c := range []interface {
			protocol.Codec
			AppendCommand(dst []byte, c *parleyv1.Command) []byte
		}{protocol.JSON{}, protocol.Protobuf{}} {
			frame := c.AppendCommand(nil, cmd)
			in := c.Decode(nil, frame)
			if len(in) != 1 || in[0].Err != nil || !proto.Equal(in[0].Command, cmd) || in[0].ID != cmd.GetId() {
				t.Fatalf("%s: wrote %q for %v, read %+v", c.Name(), frame, cmd, in)
			}
		}
	})
}

func TestAppendMessageIsAReply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &message.Message{
			ID: rapid.String().Draw(t, "id"), Topic: rapid.String().Draw(t, "topic"), Type: rapid.String().Draw(t, "type"),
			From: rapid.String().Draw(t, "from"), Epoch: rapid.String().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq"),
			Prev: rapid.Uint64().Draw(t, "prev"), Time: rapid.Int64().Draw(t, "time"), Binary: rapid.Bool().Draw(t, "binary"),
			Headers: rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "headers"), Payload: []byte(`{"a":[1,2]}`),
			Share: rapid.String().Draw(t, "share"), Attempt: rapid.Uint32().Draw(t, "attempt"), Retained: rapid.Bool().Draw(t, "retained"),
		}
		want := &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: protocol.Wire(m)}}
		for _, c := range []interface {
			protocol.Codec
			DecodeReplies(frame []byte) ([]*parleyv1.Reply, error)
		}{protocol.JSON{}, protocol.Protobuf{}} {
			got, err := c.DecodeReplies(c.AppendMessage(nil, m))
			if err != nil || len(got) != 1 || !proto.Equal(got[0], want) {
				t.Fatalf("%s: %v\n got %v\nwant %v", c.Name(), err, got, want)
			}
		}
	})
}

func TestFramesJoin(t *testing.T) {
	a := &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}
	b := &parleyv1.Command{Id: 2, Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: "t", Seq: 3}}}
	frame := protocol.Protobuf{}.AppendCommand(protocol.Protobuf{}.AppendCommand(nil, a), b)
	if in := (protocol.Protobuf{}).Decode(nil, frame); len(in) != 2 || in[1].ID != 2 {
		t.Errorf("joined Protobuf frames: %+v", in)
	}
	if in := (protocol.JSON{}).Decode(nil, []byte(`[{"id":1,"ping":{}},{"id":2,"ack":{"topic":"t","seq":3}}]`)); len(in) != 2 || in[1].ID != 2 || in[1].Command.GetAck().GetSeq() != 3 {
		t.Errorf("array of objects: %+v", in)
	}
}

func TestDecodeRefusals(t *testing.T) {
	for _, tc := range []struct {
		frame, code, text string
		id                uint64
	}{
		{``, "bad_request", "expected an object", 0},
		{`hello`, "bad_request", "expected an object", 0},
		{`{"id":1,`, "bad_request", "expected a string at byte 8", 0},
		{`{"id":1}`, "bad_request", "the command is missing", 1},
		{`{"id":2,"fly":{}}`, "unimplemented", `"fly"`, 2},
		{`{"id":3,"ping":{},"pong":{}}`, "bad_request", "holds 2", 3},
		{`{"id":-1,"ping":{}}`, "bad_request", "whole number", 0},
		{`{"id":1.5,"ping":{}}`, "bad_request", "whole number", 0},
		{`{"id":4,"subscribe":7}`, "bad_request", "expected an object", 0},
		{`{"id":4,"publish":[]}`, "bad_request", "expected an object", 0},
		{`{"id":5,"publish":{"topic":7}}`, "bad_request", "expected a string", 0},
		{`{"id":5,"publish":{"payload":{a:1}}}`, "bad_request", "expected a string", 0},
		{`{"ping":{}} x`, "bad_request", "unexpected text", 0},
		{`[]`, "bad_request", "no command", 0},
		{"{\"id\":1,\"publish\":{\"topic\":\"a\x01\"}}", "bad_request", "control character", 0},
		{"{\"id\":1,\"publish\":{\"topic\":\"\xff\"}}", "bad_request", "UTF-8", 0},
		{`{"call":{"payload":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, "bad_request", "nested deeper", 0},
	} {
		in := protocol.JSON{}.Decode(nil, []byte(tc.frame))
		last := in[len(in)-1]
		if last.Err == nil || last.Err.Code != tc.code || !strings.Contains(last.Err.Message, tc.text) || last.ID != tc.id {
			t.Errorf("%.40q: %+v, want %s with %q", tc.frame, last, tc.code, tc.text)
		}
	}
}

func TestDecodeKeepsWhatCameBeforeTheMistake(t *testing.T) {
	in := protocol.JSON{}.Decode(nil, []byte(`[{"id":1,"ping":{}},{"id":2,"publish":{"topic":}}]`))
	if len(in) != 2 || in[0].Err != nil || in[0].ID != 1 || in[1].Err == nil {
		t.Errorf("got %+v", in)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	in := protocol.JSON{}.Decode(nil, []byte(`{"id":1,"trace":"x","publish":{"topic":"a","later":{"x":[1]},"payload":1,"qos":null}}`))
	if len(in) != 1 || in[0].Err != nil || string(in[0].Command.GetPublish().GetPayload()) != "1" {
		t.Errorf("got %+v", in)
	}
}

// What the scanner accepts as a payload must be what encoding/json accepts.
func FuzzJSONDecode(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-3,"x\u00e9",null,true]}`, `"\ud800"`, `01`, `[,]`, `{"a":}`, `-`, `1e`, ` 1 `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		frame := append(append([]byte(`{"call":{"payload":`), payload...), `}}`...)
		in := protocol.JSON{}.Decode(nil, frame)
		if ok := len(in) == 1 && in[0].Err == nil; ok && in[0].Command.GetCall() != nil && !json.Valid(frame) {
			t.Fatalf("accepted %q", frame)
		} else if !ok && json.Valid(payload) && bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) < 100 && validUTF8(payload) {
			t.Fatalf("refused %q: %v", frame, in)
		}
	})
}

func validUTF8(b []byte) bool { return strings.ToValidUTF8(string(b), "") == string(b) }

func FuzzProtobufDecode(f *testing.F) {
	f.Add(protocol.Protobuf{}.AppendCommand(nil, &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, in := range (protocol.Protobuf{}).Decode(nil, frame) {
			if in.Err == nil && in.Command.GetCommand() == nil {
				t.Fatalf("neither command nor error: %q", frame)
			}
		}
	})
}

func BenchmarkDecodePublish(b *testing.B) {
	frame := []byte(`{"id":4,"publish":{"topic":"room/1","type":"chat.message","key":"c-81","payload":{"text":"hello, world","n":[1,2,3]}}}`)
	var in []protocol.Incoming
	b.ReportAllocs()
	for b.Loop() {
		in = protocol.JSON{}.Decode(in[:0], frame)
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := &message.Message{ID: "01JABCDEF", Topic: "room/1", Type: "chat.message", From: "u1", Epoch: "k3", Seq: 45, Prev: 44, Time: 1790000000000, Payload: []byte(`{"text":"hello, world","n":[1,2,3]}`)}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = protocol.JSON{}.AppendMessage(dst[:0], m)
	}
}
