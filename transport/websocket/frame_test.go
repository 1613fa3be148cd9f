package websocket

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const testLimit = 300

// masked returns a frame as a client sends it. first is FIN, reserved bits and
// opcode.
func masked(first byte, payload []byte) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	out := []byte{first}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	return out
}

// handed is what a reader hands on.
type handed struct {
	op      byte
	payload string
}

// readAll feeds the pieces to a new reader.
func readAll(limit int, pieces ...[]byte) (out []handed, err error) {
	r := reader{limit: limit}
	for _, p := range pieces {
		err = r.feed(bytes.Clone(p), func(op byte, payload []byte) error {
			out = append(out, handed{op, string(payload)})
			return nil
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func closeOf(err error) int {
	if bad, ok := errors.AsType[*framingError](err); ok {
		return bad.Close
	}
	return 0
}

type frameCase struct {
	name  string
	bytes []byte
	want  []handed
	code  int // of the error that follows what was handed on; 0: none
}

func frameCases() []frameCase {
	text := func(first byte, s string) []byte { return masked(first, []byte(s)) }
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			panic(err)
		}
		return b
	}
	one := func(op byte, s string) []handed { return []handed{{op, s}} }
	a126, a300 := strings.Repeat("a", 126), strings.Repeat("a", 300)
	return []frameCase{
		{"a masked hello, as in RFC 6455 §5.7", unhex("81 85 37fa213d 7f9f4d5158"), one(opText, "Hello"), 0},
		{"empty text", text(0x81, ""), one(opText, ""), 0},
		{"125 bytes", text(0x81, a126[:125]), one(opText, a126[:125]), 0},
		{"126 bytes", text(0x81, a126), one(opText, a126), 0},
		{"length in two bytes that would fit in seven bits", append([]byte{0x81, 0x80 | 126, 0, 1, 0, 0, 0, 0}, 'x'), one(opText, "x"), 0},
		{"length in eight bytes that would fit in seven bits", append([]byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 'x'), one(opText, "x"), 0},
		{"exactly the limit", text(0x81, a300), one(opText, a300), 0},
		{"a byte over the limit", text(0x81, a300+"a"), nil, 1009},
		{"an announced length of 2^63", unhex("82 ff 8000000000000000"), nil, 1009},
		{"an announced length of 2^64-1", unhex("82 ff ffffffffffffffff"), nil, 1009},
		{"binary is any bytes", text(0x82, "\xff\x00"), one(opBinary, "\xff\x00"), 0},
		{"three fragments", slices.Concat(text(0x01, "a"), text(0x00, "b"), text(0x80, "c")), one(opText, "abc"), 0},
		{"empty fragments", slices.Concat(text(0x01, ""), text(0x00, ""), text(0x80, "")), one(opText, ""), 0},
		{"fragments over the limit together", slices.Concat(text(0x01, a300[:200]), text(0x80, a300[:101])), nil, 1009},
		{"fragments at the limit together", slices.Concat(text(0x01, a300[:200]), text(0x80, a300[:100])), one(opText, a300), 0},
		{"the limit is one message's", slices.Concat(text(0x01, a300[:200]), text(0x80, ""), text(0x81, a300)), append(one(opText, a300[:200]), handed{opText, a300}), 0},
		{"control frames between fragments", slices.Concat(text(0x01, "a"), text(0x89, "?"), text(0x00, "b"), text(0x8a, "!"), text(0x80, "c")), []handed{{opPing, "?"}, {opPong, "!"}, {opText, "abc"}}, 0},
		{"a character over two fragments", slices.Concat(text(0x01, "\xe2\x82"), text(0x80, "\xac")), one(opText, "€"), 0},
		{"text that is not UTF-8", text(0x81, "a\xff"), nil, 1007},
		{"text that ends within a character", text(0x81, "\xe2\x82"), nil, 1007},
		{"a surrogate", text(0x81, "\xed\xa0\x80"), nil, 1007},
		{"an overlong slash", text(0x81, "\xc0\xaf"), nil, 1007},
		{"behind the last code point", text(0x81, "\xf4\x90\x80\x80"), nil, 1007},
		{"fragments that are not UTF-8 together", slices.Concat(text(0x01, "\xe2"), text(0x80, "a")), nil, 1007},
		{"reserved bit 1", text(0xc1, "a"), nil, 1002},
		{"reserved bit 2", text(0xa1, "a"), nil, 1002},
		{"reserved bit 3", text(0x91, "a"), nil, 1002},
		{"reserved bit on a ping", text(0xc9, ""), nil, 1002},
		{"not masked", []byte{0x81, 1, 'a'}, nil, 1002},
		{"a ping not masked", []byte{0x89, 0}, nil, 1002},
		{"data opcode 3", text(0x83, ""), nil, 1002},
		{"data opcode 7", text(0x87, "a"), nil, 1002},
		{"control opcode 11", text(0x8b, ""), nil, 1002},
		{"control opcode 15", text(0x8f, "a"), nil, 1002},
		{"a ping of 125 bytes", text(0x89, a126[:125]), one(opPing, a126[:125]), 0},
		{"a ping of 126 bytes", text(0x89, a126), nil, 1002},
		{"a fragmented ping", text(0x09, "a"), nil, 1002},
		{"a fragmented close", text(0x08, ""), nil, 1002},
		{"a continuation of nothing", text(0x80, "a"), nil, 1002},
		{"an unfinished continuation of nothing", text(0x00, "a"), nil, 1002},
		{"text within a fragmented text", slices.Concat(text(0x01, "a"), text(0x81, "b")), nil, 1002},
		{"binary within a fragmented text", slices.Concat(text(0x01, "a"), text(0x02, "b")), nil, 1002},
		{"a continuation of a message that has ended", slices.Concat(text(0x81, "a"), text(0x80, "b")), one(opText, "a"), 1002},
		{"good frames before a bad one", slices.Concat(text(0x81, "a"), text(0x82, "b"), text(0x83, "c"), text(0x81, "d")), []handed{{opText, "a"}, {opBinary, "b"}}, 1002},
	}
}

func checkCase(t *testing.T, tc frameCase, pieces ...[]byte) {
	t.Helper()
	got, err := readAll(testLimit, pieces...)
	if !slices.Equal(got, tc.want) || closeOf(err) != tc.code || (err != nil) != (tc.code != 0) {
		t.Fatalf("got %q, %v (%d), want %q, %d", got, err, closeOf(err), tc.want, tc.code)
	}
}

func TestFrames(t *testing.T) {
	for _, tc := range frameCases() {
		t.Run(tc.name, func(t *testing.T) {
			checkCase(t, tc, tc.bytes)
			for i := 1; i < len(tc.bytes); i++ {
				checkCase(t, tc, tc.bytes[:i], tc.bytes[i:])
			}
			single := make([][]byte, len(tc.bytes))
			for i := range tc.bytes {
				single[i] = tc.bytes[i : i+1]
			}
			checkCase(t, tc, single...)
		})
	}
}

// TestJoinedFrames reads all good cases as one piece, and cut into pieces of
// every size.
func TestJoinedFrames(t *testing.T) {
	var stream []byte
	var want []handed
	for range 3 {
		for _, tc := range frameCases() {
			if tc.code == 0 {
				stream, want = append(stream, tc.bytes...), append(want, tc.want...)
			}
		}
	}
	for size := 1; size <= len(stream); size = size*3/2 + 1 {
		got, err := readAll(testLimit, slices.Collect(slices.Chunk(stream, size))...)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d: %v\n got %q\nwant %q", size, err, got, want)
		}
	}
}

func TestReaderHoldsNothingBetweenMessages(t *testing.T) {
	r := reader{limit: testLimit}
	stream := slices.Concat(masked(0x01, []byte("a")), masked(0x80, []byte("b")))
	for i := range stream {
		if err := r.feed(stream[i:i+1:i+1], func(byte, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if r.rest != nil || r.message != nil {
		t.Errorf("%d and %d bytes are held", cap(r.rest), cap(r.message))
	}
}

// A large frame that arrives byte by byte must not be copied for each of them.
func TestAFrameInManyPiecesIsCopiedOnce(t *testing.T) {
	const size = 1 << 16
	stream := masked(0x82, make([]byte, size))
	got := 0
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			r := reader{limit: size}
			own := bytes.Clone(stream)
			for i := range own {
				if err := r.feed(own[i:i+1:i+1], func(_ byte, p []byte) error { got = len(p); return nil }); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	if got != size || allocated.AllocedBytesPerOp() > 8*size {
		t.Errorf("%d bytes read, %d allocated for them", got, allocated.AllocedBytesPerOp())
	}
}

func TestCheckClose(t *testing.T) {
	reason := func(code int, text string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(code)), text...)
	}
	for code := range 1 << 16 {
		used := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
		got, err := checkClose(reason(code, "bye"))
		if used && (err != nil || got != code) || !used && closeOf(err) != 1002 {
			t.Errorf("%d: %d, %v", code, got, err)
		}
	}
	for _, tc := range []struct {
		payload []byte
		code    int // given, or of the error
		bad     bool
	}{
		{nil, 1000, false},
		{[]byte{3}, 1002, true},
		{reason(1000, ""), 1000, false},
		{reason(1000, strings.Repeat("x", 123)), 1000, false},
		{reason(1000, "\xff"), 1007, true},
		{reason(4000, "€"), 4000, false},
	} {
		got, err := checkClose(tc.payload)
		if tc.bad {
			got = closeOf(err)
		}
		if got != tc.code || (err != nil) != tc.bad {
			t.Errorf("%q: %d, %v", tc.payload, got, err)
		}
	}
}

// What we write, another implementation must read.
func TestWrittenFrames(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 1<<16 - 1, 1 << 16, 1<<16 + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			payload := bytes.Repeat([]byte{'p'}, size)
			b := frameOf(opBinary, size, func(dst []byte) []byte { return append(dst, payload...) })
			rest := bytes.NewReader(b)
			got, err := ws.ReadHeader(rest)
			if err != nil || got.Masked || !got.Fin || got.OpCode != ws.OpBinary || got.Length != int64(size) || len(b) != ws.HeaderSize(got)+size {
				t.Errorf("%+v, %d bytes, %v", got, len(b), err)
			}
			if !bytes.Equal(b[len(b)-rest.Len():], payload) {
				t.Error("the payload is another")
			}
		})
	}
}

// FuzzReader reads arbitrary bytes, whole and in pieces: both must give the
// same, never panic, never hand on more than the limit or text that is none.
func FuzzReader(f *testing.F) {
	for _, tc := range frameCases() {
		f.Add(tc.bytes, uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		whole, wholeErr := readAll(testLimit, stream)
		parts, partsErr := readAll(testLimit, slices.Collect(slices.Chunk(stream, int(piece)+1))...)
		if !slices.Equal(whole, parts) || closeOf(wholeErr) != closeOf(partsErr) {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, wholeErr, parts, partsErr)
		}
		for _, m := range whole {
			if limit := map[bool]int{true: maxControl, false: testLimit}[m.op >= opClose]; len(m.payload) > limit {
				t.Fatalf("%d bytes with opcode %d", len(m.payload), m.op)
			}
			if m.op == opText && !utf8.ValidString(m.payload) {
				t.Fatalf("not UTF-8: %q", m.payload)
			}
		}
	})
}
