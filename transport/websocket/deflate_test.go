package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
)

// packedBy compresses with the standard library, as a client would.
func packedBy(t testing.TB, level int, message []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdflate.NewWriter(&b, level)
	if err == nil {
		_, err = w.Write(message)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte(flushed()))
}

func unpacked(message []byte, limit int) (out string, err error) {
	err = newDeflater(0).unpack(message, limit, func(plain []byte) error { out = string(plain); return nil })
	return out, err
}

// samples are messages of many sizes and kinds.
func samples() [][]byte {
	random := rand.New(rand.NewPCG(1, 2)) // the same at every run
	var out [][]byte
	for _, size := range []int{0, 1, 2, 5, 125, 126, 127, 700, 8191, 8192, 32766, 32767, 32768, 65535, 65536, 65537, 200_000} {
		noise, words := make([]byte, size), make([]byte, 0, size+20)
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		for len(words) < size {
			words = fmt.Appendf(words, "%d is what %d says ", random.IntN(100), random.IntN(1000))
		}
		out = append(out, noise, words[:size], bytes.Repeat([]byte{'a'}, size))
	}
	return out
}

// What we compress, another implementation reads, and the other way round.
func TestDeflateAgainstTheStandardLibrary(t *testing.T) {
	for _, want := range samples() {
		packed := deflate(nil, want)
		r := stdflate.NewReader(io.MultiReader(bytes.NewReader(packed), strings.NewReader(flushed()+"\x01\x00\x00\xff\xff")))
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %d read, %v", len(want), len(got), err)
		}
		if got, err := unpacked(packed, len(want)); err != nil || got != string(want) {
			t.Fatalf("%d bytes: %d read by ourselves, %v", len(want), len(got), err)
		}
		for _, level := range []int{stdflate.NoCompression, stdflate.BestSpeed, stdflate.BestCompression, stdflate.HuffmanOnly} {
			if got, err := unpacked(packedBy(t, level, want), len(want)); err != nil || got != string(want) {
				t.Fatalf("%d bytes at level %d: %d read, %v", len(want), level, len(got), err)
			}
		}
	}
}

// The examples of RFC 7692 §7.2.3, and what is none.
func TestInflate(t *testing.T) {
	for _, tc := range []struct{ name, bytes, want, says string }{
		{"one block", "f248cdc9c90700", "Hello", ""},
		{"a stored block", "000500faff48656c6c6f00", "Hello", ""},
		{"a final block", "f348cdc9c9070000", "Hello", ""},
		{"two blocks", "f248050000 00ffff cac9c90700", "Hello", ""},
		{"an empty message", "00", "", ""},
		{"nothing at all", "", "", "cannot be read"},
		{"an empty message as a client flushes it", "0200", "", ""},
		{"eight ends", strings.Repeat("0300", 7) + "00", "", ""},
		{"many ends", strings.Repeat("0300", 8) + "00", "", "ends more than"},
		{"with a context", "f200110000", "", "cannot be read"},
		{"a reserved block", "07", "", "cannot be read"},
		{"a stored block of a wrong length", "000500fbff48656c6c6f00", "", "cannot be read"},
		{"a stored block whose length is cut off", "000500", "", "cannot be read"},
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(tc.bytes, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpacked(raw, 100)
		switch {
		case tc.says == "" && (err != nil || got != tc.want):
			t.Errorf("%s: %q, %v", tc.name, got, err)
		case tc.says != "" && (closeOf(err) != 1007 || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: %q, %v (%d)", tc.name, got, err, closeOf(err))
		}
	}
}

// A few kilobytes that would become a hundred megabytes cost little more than
// the limit.
func TestABombDoesNotGoOff(t *testing.T) {
	bomb := packedBy(t, stdflate.BestCompression, make([]byte, 100<<20))
	const limit = 64 << 10
	d := newDeflater(0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := d.unpack(bomb, limit, func([]byte) error { t.Error("it went off"); return nil })
	runtime.ReadMemStats(&after)
	if closeOf(err) != 1009 || !strings.Contains(err.Error(), "65536 bytes") {
		t.Errorf("%v (%d)", err, closeOf(err))
	}
	if cost := after.TotalAlloc - before.TotalAlloc; cost > uint64(len(bomb))*4+8*limit {
		t.Errorf("%d bytes became %d before it was noticed", len(bomb), cost)
	}
	for _, size := range []int{limit - 1, limit, limit + 1} {
		err := d.unpack(packedBy(t, 1, make([]byte, size)), limit, func([]byte) error { return nil })
		if (closeOf(err) == 1009) != (size > limit) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func packedCases(t testing.TB) []frameCase {
	t.Helper()
	pack := func(s string) []byte { return packedBy(t, 6, []byte(s)) }
	text := func(first byte, s string) []byte { return masked(first, []byte(s)) }
	one := func(op byte, s string) []handed { return []handed{{op, s}} }
	hello := pack("Hello")
	a300 := strings.Repeat("a", 300)
	noise := make([]byte, testLimit)
	for i := range noise {
		noise[i] = byte(i*i*31 + i*7)
	}
	return []frameCase{
		{"a compressed text", masked(0xc1, hello), one(opText, "Hello"), 0},
		{"a compressed binary", masked(0xc2, pack("\xff\x00")), one(opBinary, "\xff\x00"), 0},
		{"one that is not compressed", text(0x81, "Hello"), one(opText, "Hello"), 0},
		{"both in turn", slices.Concat(masked(0xc1, hello), text(0x81, "a"), masked(0xc1, pack("b"))), []handed{{opText, "Hello"}, {opText, "a"}, {opText, "b"}}, 0},
		{"in fragments", slices.Concat(masked(0x41, hello[:3]), masked(0x00, hello[3:4]), masked(0x80, hello[4:])), one(opText, "Hello"), 0},
		{"in empty fragments", slices.Concat(masked(0x41, nil), masked(0x00, hello), masked(0x80, nil)), one(opText, "Hello"), 0},
		{"a plain message after fragments", slices.Concat(masked(0x41, hello[:3]), masked(0x80, hello[3:]), text(0x01, "a"), text(0x80, "b")), []handed{{opText, "Hello"}, {opText, "ab"}}, 0},
		{"control frames between", slices.Concat(masked(0x41, hello[:3]), text(0x89, "?"), masked(0x80, hello[3:])), []handed{{opPing, "?"}, {opText, "Hello"}}, 0},
		{"at the limit", masked(0xc1, pack(a300)), one(opText, a300), 0},
		{"a byte over the limit", masked(0xc1, pack(a300+"a")), nil, 1009},
		{"incompressible at the limit", masked(0xc2, packedBy(t, 0, noise)), one(opBinary, string(noise)), 0},
		{"too long before it is decompressed", masked(0xc2, make([]byte, 400)), nil, 1009},
		{"too long a plain message within a compressed one", slices.Concat(masked(0x42, packedBy(t, 0, noise)), []byte{0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0}), nil, 1009},
		{"not UTF-8 when decompressed", masked(0xc1, pack("a\xff")), nil, 1007},
		{"not UTF-8 when compressed, as usual", masked(0xc1, pack("€")), one(opText, "€"), 0},
		{"damaged", masked(0xc1, []byte{7}), nil, 1007},
		{"RSV1 on a continuation", slices.Concat(masked(0x41, hello[:3]), masked(0xc0, hello[3:])), nil, 1002},
		{"RSV1 only on a continuation", slices.Concat(text(0x01, "a"), masked(0xc0, hello)), nil, 1002},
		{"RSV1 on a ping", text(0xc9, ""), nil, 1002},
		{"RSV1 on a pong", text(0xca, ""), nil, 1002},
		{"RSV1 on a close frame", text(0xc8, ""), nil, 1002},
		{"RSV2", text(0xa1, "a"), nil, 1002},
		{"RSV3", text(0x91, "a"), nil, 1002},
		{"RSV1 and RSV2", masked(0xe1, hello), nil, 1002},
		{"a message within a compressed one", slices.Concat(masked(0x41, hello), text(0x81, "b")), nil, 1002},
	}
}

func readPacked(d *deflater, pieces ...[]byte) (out []handed, err error) {
	r := reader{limit: testLimit, deflate: d}
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

// TestPackedFrames cuts each of them at every byte, and into single bytes.
func TestPackedFrames(t *testing.T) {
	d := newDeflater(0)
	for _, tc := range packedCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			check := func(pieces ...[]byte) {
				t.Helper()
				got, err := readPacked(d, pieces...)
				if !slices.Equal(got, tc.want) || closeOf(err) != tc.code || (err != nil) != (tc.code != 0) {
					t.Fatalf("got %q, %v (%d), want %q, %d", got, err, closeOf(err), tc.want, tc.code)
				}
			}
			check(tc.bytes)
			for i := 1; i < len(tc.bytes); i++ {
				check(tc.bytes[:i], tc.bytes[i:])
			}
			check(slices.Collect(slices.Chunk(tc.bytes, 1))...)
		})
	}
}

// FuzzPackedReader is FuzzReader for a connection that compresses.
func FuzzPackedReader(f *testing.F) {
	for _, tc := range packedCases(f) {
		f.Add(tc.bytes, uint8(3))
	}
	d := newDeflater(0)
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		whole, wholeErr := readPacked(d, stream)
		parts, partsErr := readPacked(d, slices.Collect(slices.Chunk(stream, int(piece)+1))...)
		if !slices.Equal(whole, parts) || closeOf(wholeErr) != closeOf(partsErr) {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, wholeErr, parts, partsErr)
		}
		for _, m := range whole {
			if len(m.payload) > testLimit || m.op == opText && !utf8.ValidString(m.payload) {
				t.Fatalf("%d: %q", m.op, m.payload)
			}
		}
	})
}

// FuzzDeflate compresses anything and reads it with another implementation.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("Hello"), 3)
	f.Fuzz(func(t *testing.T, unit []byte, times int) {
		want := bytes.Repeat(unit, min(max(times, 0), 40_000)%(100_000/(len(unit)+1)+1))
		got, err := wsflate.DecompressFrame(ws.Frame{Header: ws.Header{Fin: true, OpCode: ws.OpBinary, Rsv: ws.Rsv(true, false, false)}, Payload: deflate(nil, want)})
		if err != nil || !bytes.Equal(got.Payload, want) {
			t.Fatalf("%d bytes: %d read, %v", len(want), len(got.Payload), err)
		}
	})
}

func delivery(size int) *hub.Delivery {
	text := strings.Repeat("what is said here is said to all of them, and nobody hears it twice. ", size/60+1)
	return &hub.Delivery{Message: &message.Message{Topic: "public/1", Type: "chat.message", Seq: 7, Payload: []byte(`"` + text[:size] + `"`)}}
}

// Receivers with one window or another, with or without compression, share
// what can be shared.
func TestFormsShareOneCompression(t *testing.T) {
	all := newForms()
	d := newDeflater(150)
	all.compress(d)
	json, wide, narrow := all.of(protocol.JSON{}, 0), all.of(protocol.JSON{}, 15), all.of(protocol.JSON{}, 9)
	check := func(size int, packedWide, packedNarrow bool) {
		t.Helper()
		before := d.packed.Load()
		m := delivery(size)
		plain := json.frame(m)
		if got := wide.frame(m); (got != plain) != packedWide || packedWide && ((*got)[0] != 0xc1 || len(*got) >= len(*plain)) {
			t.Errorf("%d bytes: %x, %d instead of %d", size, (*got)[0], len(*got), len(*plain))
		}
		if got := narrow.frame(m); packedNarrow && got != wide.frame(m) || !packedNarrow && got != plain {
			t.Errorf("%d bytes: the narrow window gets something of its own", size)
		}
		if n := d.packed.Load() - before; n > 1 || (n == 1) != packedWide {
			t.Errorf("%d bytes: compressed %d times", size, n)
		}
	}
	check(5, false, false)
	check(300, true, true)
	check(500, true, false) // and its envelope
	check(40_000, false, false)
	check(30_000, true, false)
	proto := all.of(protocol.Protobuf{}, 15)
	if f := *proto.frame(delivery(300)); f[0] != 0xc2 {
		t.Errorf("the first byte is %x", f[0])
	}
}

func TestWhatDoesNotShrinkStaysAsItIs(t *testing.T) {
	plain := frameOf(opBinary, 600, func(dst []byte) []byte { return append(dst, samples()[3*7][:600]...) })
	if got := newDeflater(0).pack(opBinary, plain); &got[0] != &plain[0] {
		t.Errorf("%d bytes became %d", len(plain), len(got))
	}
}

// Many at once use the same pool.
func TestDeflaterIsShared(t *testing.T) {
	d := newDeflater(0)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				want := strings.Repeat(fmt.Sprint(i, " and ", j), 100)
				if err := d.unpack(deflate(nil, []byte(want)), 64<<10, func(got []byte) error {
					if string(got) != want {
						t.Errorf("%q instead of %q", got, want)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkFanout is what the frame of one message for a thousand receivers
// costs.
func BenchmarkFanout(b *testing.B) {
	for _, size := range []int{200, 500, 1000, 4000, 16_000} {
		for _, bits := range []int{0, maxBits} {
			b.Run(fmt.Sprintf("%d bytes/window %d", size, bits), func(b *testing.B) {
				all := newForms()
				d := newDeflater(DefaultCompressFrom)
				all.compress(d)
				f := all.of(protocol.JSON{}, bits)
				proto := delivery(size)
				sent := 0
				b.ReportAllocs()
				for b.Loop() {
					m := &hub.Delivery{Message: proto.Message}
					sent = 0
					for range 1000 {
						sent += len(*f.frame(m))
					}
				}
				b.ReportMetric(float64(d.packed.Load())/float64(b.N), "compressions/op")
				b.ReportMetric(float64(sent)/1000, "bytes/receiver")
			})
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	d := newDeflater(0)
	for _, size := range []int{200, 1000, 16_000} {
		packed := deflate(nil, delivery(size).Message.Payload)
		b.Run(fmt.Sprint(size, " bytes"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := d.unpack(packed, 64<<10, func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
