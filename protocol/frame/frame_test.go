package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const limit = 1 << 10

func forms() []Form { return []Form{Protobuf, JSON} }

func publish(payload string) *parleyv1.Command {
	return &parleyv1.Command{Id: 7, Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: "meter/4", Type: "reading", Payload: []byte(payload)}}}
}

// read feeds data in pieces that end at the given places.
func read(data []byte, cuts ...int) (got []*parleyv1.Command, err error) {
	r := Reader{Limit: limit}
	from := 0
	for _, to := range append(cuts, len(data)) {
		piece := bytes.Clone(data[from:to])
		from = to
		if err := r.Feed(piece, func(f Frame) error {
			in := f.Command(nil)
			if len(in) != 1 {
				return fmt.Errorf("%d commands", len(in))
			}
			if in[0].Err != nil {
				return in[0].Err
			}
			got = append(got, in[0].Command)
			return nil
		}); err != nil {
			return got, err
		}
	}
	if r.Incomplete() {
		return got, errors.New("incomplete")
	}
	return got, nil
}

// However frames are cut and joined, they are read.
func TestEverySplit(t *testing.T) {
	for _, f := range forms() {
		want := []*parleyv1.Command{
			publish(`{"kwh":1.5}`),
			{Command: &parleyv1.Command_Pong{Pong: &parleyv1.Pong{}}},
			{Id: 8, Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "a/+"}}},
		}
		var data []byte
		for _, c := range want {
			data = AppendCommand(data, f, c)
		}
		check := func(cuts ...int) {
			t.Helper()
			got, err := read(data, cuts...)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%#x cut at %v: %v, %v", f, cuts, got, err)
			}
			for i := range want {
				if !proto.Equal(got[i], want[i]) {
					t.Fatalf("%#x cut at %v: %v is not %v", f, cuts, got[i], want[i])
				}
			}
		}
		every := make([]int, len(data))
		for i := range data {
			check(i)
			every[i] = i
			for j := i; j < len(data); j++ {
				check(i, j)
			}
		}
		check(every...)
	}
}

// Replies are read as they were written, and so are messages, which are written
// in a shorter way.
func TestReplies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(forms()).Draw(t, "form")
		m := &message.Message{
			Topic: "meter/4", Type: "reading", From: "ann", ID: "01K", Seq: rapid.Uint64().Draw(t, "seq"), Prev: 3, Epoch: "e", Time: 5,
			Payload: []byte(`"` + strings.Repeat("x", rapid.IntRange(0, 300).Draw(t, "size")) + `"`),
		}
		r := &parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: protocol.Wire(m)}}
		data := AppendMessage(nil, f, m)
		if long := AppendReply(nil, f, r); !bytes.Equal(data[:4], long[:4]) {
			t.Fatalf("% x, and % x of the same", data[:4], long[:4])
		}
		data = AppendReply(data, f, &parleyv1.Reply{Id: 9, Reply: &parleyv1.Reply_Pong{Pong: &parleyv1.Pong{}}})
		var got []*parleyv1.Reply
		reader := Reader{Limit: limit}
		if err := reader.Feed(data, func(fr Frame) error {
			one, err := fr.Reply()
			got = append(got, one)
			if fr.ID&FromServer == 0 || fr.Form != f {
				t.Fatalf("%+v", fr)
			}
			return err
		}); err != nil || len(got) != 2 || !proto.Equal(got[0], r) || got[1].GetId() != 9 {
			t.Fatalf("%v, %v", got, err)
		}
	})
}

func TestMalformed(t *testing.T) {
	good := AppendCommand(nil, JSON, publish("1"))
	change := func(at int, b byte) []byte {
		out := bytes.Clone(good)
		out[at] = b
		return out
	}
	for _, tt := range []struct {
		name string
		data []byte
		code string
		want string
	}{
		{"no magic", []byte("GET / HTTP/1.1\r\n"), "bad_protocol", "begins with 5a5a, byte 0 is 47"},
		{"half a magic", []byte{0x5A, 0x00}, "bad_protocol", "byte 1 is 00"},
		{"another version", change(2, 0x02), "bad_protocol", "version 02"},
		{"another form", change(2, 0xC1), "bad_protocol", "version c1"},
		{"another command", change(3, 0x03), "bad_protocol", "checksum"},
		{"too long", []byte{0x5A, 0x5A, 0x01, 5, 0, 0, 4, 1}, "too_large", "1025 bytes, at most 1024"},
		{"far too long", []byte{0x5A, 0x5A, 0x01, 5, 0xFF, 0xFF, 0xFF, 0xFF}, "too_large", "4294967295"},
		{"shorter than said", append(change(7, good[7]-1), 0), "bad_protocol", "checksum"},
		{"a bit of the payload", change(12, good[12]^1), "bad_protocol", "checksum"},
		{"a bit of the checksum", change(len(good)-1, good[len(good)-1]^1), "bad_protocol", "checksum"},
		{"a good one before", append(bytes.Clone(good), "nonsense"...), "bad_protocol", "byte 0 is 6e"},
	} {
		for cut := range tt.data {
			_, err := read(tt.data, cut)
			if bad, ok := errors.AsType[*Error](err); !ok || bad.Code != tt.code || !strings.Contains(bad.Text, tt.want) {
				t.Fatalf("%s, cut at %d: %v", tt.name, cut, err)
			}
		}
	}
	// What is a frame, but no command, is the session's to answer.
	for name, data := range map[string][]byte{
		"another id":    enclosed(JSON, 3, `{"id":7,"ping":{}}`),
		"no id":         enclosed(JSON, 0, `{"id":7,"ping":{}}`),
		"two commands":  enclosed(JSON, 13, `[{"pong":{}},{"pong":{}}]`),
		"no JSON":       enclosed(JSON, 13, `{"pong":`),
		"nothing":       enclosed(JSON, 13, ``),
		"no Protobuf":   enclosed(Protobuf, 13, "\xff\xff\xff"),
		"empty":         enclosed(Protobuf, 13, ""),
		"payload":       enclosed(Protobuf, 5, "\x2a\x04\x2a\x02no"),
		"unknown":       enclosed(JSON, 99, `{"id":7,"fly":{}}`),
		"the server's":  enclosed(JSON, 0x92, `{"id":7,"ping":{}}`),
		"several parts": enclosed(Protobuf, 13, "\x6a\x00\x62\x00"),
	} {
		_, err := read(data)
		if bad, ok := errors.AsType[*protocol.Error](err); !ok || bad.Message == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func enclosed(f Form, id byte, payload string) []byte {
	return f.enclose(nil, id, len(payload), func(b []byte) []byte {
		if f == Protobuf {
			b = append(b, 0x0A, byte(len(payload)))
		}
		return append(b, payload...)
	})
}

// What was announced and has not come takes no memory.
func TestNothingIsKeptForPromises(t *testing.T) {
	r := Reader{Limit: 1 << 30}
	if err := r.Feed([]byte{0x5A, 0x5A, 0x01, 5, 0x3F, 0, 0, 0}, nil); err != nil || cap(r.rest) > 64 {
		t.Errorf("%d bytes are held: %v", cap(r.rest), err)
	}
}

var (
	vector  = regexp.MustCompile("(?m)^\\| `({.+})` \\| `([0-9a-f ]+)` \\|$")
	command = regexp.MustCompile("`([a-z]+)` \\| `([0-9a-f]{2})`")
)

// The documentation has the id of every command and reply, and no others.
func TestIDs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, m := range command.FindAllStringSubmatch(string(page), -1) {
		shown[m[1]+" "+m[2]] = true
	}
	for _, m := range []proto.Message{&parleyv1.Command{}, &parleyv1.Reply{}} {
		fields := m.ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
		for i := range fields.Len() {
			id := byte(fields.Get(i).Number())
			if _, reply := m.(*parleyv1.Reply); reply {
				id |= FromServer
			}
			row := fmt.Sprintf("%s %02x", fields.Get(i).Name(), id)
			if !shown[row] {
				t.Errorf("docs/protocol.md lacks the command id %s", row)
			}
			delete(shown, row)
		}
	}
	if len(shown) > 0 {
		t.Errorf("docs/protocol.md has command ids that are none: %v", shown)
	}
}

// The frames that the documentation shows are what the code writes and reads.
func TestVectors(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := vector.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 8 {
		t.Fatalf("%d frames are shown", len(rows))
	}
	for _, row := range rows {
		data, err := hex.DecodeString(strings.ReplaceAll(row[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		var again []byte
		r := Reader{Limit: limit}
		err = r.Feed(bytes.Clone(data), func(f Frame) error {
			if f.ID&FromServer != 0 {
				reply, err := f.Reply()
				again = AppendReply(nil, f.Form, reply)
				if shown, err := (protocol.JSON{}).DecodeReplies([]byte(row[1])); err != nil || !proto.Equal(shown[0], reply) {
					t.Errorf("%s is shown, the frame says %v", row[1], reply)
				}
				return err
			}
			in := f.Command(nil)
			if in[0].Err != nil {
				return in[0].Err
			}
			again = AppendCommand(nil, f.Form, in[0].Command)
			if shown := (protocol.JSON{}).Decode(nil, []byte(row[1])); !proto.Equal(shown[0].Command, in[0].Command) {
				t.Errorf("%s is shown, the frame says %v", row[1], in[0].Command)
			}
			return nil
		})
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s:\n%x is shown,\n%x is written: %v", row[1], data, again, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, form := range forms() {
		f.Add(AppendCommand(AppendCommand(nil, form, publish("[1]")), form, publish("2")), uint16(5), uint16(40))
		f.Add(AppendReply(nil, form, &parleyv1.Reply{Reply: &parleyv1.Reply_Ping{Ping: &parleyv1.Ping{}}}), uint16(1), uint16(9))
	}
	f.Add([]byte("ZZ"), uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, a, b uint16) {
		whole, errWhole := frames(data)
		i, j := min(int(a), len(data)), min(int(b), len(data))
		parts, errParts := frames(data, min(i, j), max(i, j))
		if len(whole) != len(parts) || fmt.Sprint(errWhole) != fmt.Sprint(errParts) {
			t.Fatalf("at once %d frames and %v, in parts %d and %v", len(whole), errWhole, len(parts), errParts)
		}
		for n := range whole {
			if whole[n] != parts[n] {
				t.Fatalf("frame %d is %q at once, %q in parts", n, whole[n], parts[n])
			}
		}
	})
}

// frames reads what data holds, as commands and as replies.
func frames(data []byte, cuts ...int) (got []string, err error) {
	r := Reader{Limit: limit}
	from := 0
	for _, to := range append(cuts, len(data)) {
		piece := bytes.Clone(data[from:to])
		from = to
		if err := r.Feed(piece, func(f Frame) error {
			if f.ID&FromServer == 0 {
				in := f.Command(nil)
				got = append(got, fmt.Sprintf("%d %v", len(in), in[0].Err))
				return nil
			}
			_, err := f.Reply()
			got = append(got, fmt.Sprint(err))
			return nil
		}); err != nil {
			return got, err
		}
	}
	return got, nil
}
