package socket

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// deflated is a frame as another implementation compresses it.
func deflated(t testing.TB, f ws.Frame) ws.Frame {
	t.Helper()
	packed, err := wsflate.CompressFrame(f)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func deflateReader(b []byte) (*frameReader, *[]string) {
	r, pongs := reader(b)
	r.deflate = &deflater{}
	return r, pongs
}

// closed is a compressed message that ends its stream, as it may.
func closed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(op ws.OpCode, fin bool, payload []byte) ws.Frame {
	f := ws.NewFrame(op, fin, payload)
	f.Header.Rsv = ws.Rsv(true, false, false)
	return f
}

func TestReadsCompressedMessages(t *testing.T) {
	long := strings.Repeat("what was said before, ", 1000)
	whole := deflated(t, ws.NewTextFrame([]byte(long))).Payload
	twoStreams := slices.Concat(closed(t, "a stream "), closed(t, "and another"), []byte{0})
	r, pongs := deflateReader(frames(
		deflated(t, ws.NewTextFrame([]byte(long))),
		ws.NewTextFrame([]byte("plain")),
		compressed(ws.OpText, false, whole[:5]),
		ws.NewPingFrame([]byte("p")),
		ws.NewFrame(ws.OpContinuation, false, whole[5:9]),
		ws.NewFrame(ws.OpContinuation, true, whole[9:]),
		compressed(ws.OpText, true, []byte{0}),
		compressed(ws.OpText, true, twoStreams),
		ws.NewTextFrame([]byte("plain again")),
	))
	for _, want := range []string{long, "plain", long, "", "a stream and another", "plain again"} {
		if got, err := r.next(); err != nil || string(got) != want {
			t.Fatalf("got %.20q (%d bytes), %v, want %.20q (%d)", got, len(got), err, want, len(want))
		}
	}
	if !slices.Equal(*pongs, []string{"p"}) {
		t.Errorf("pongs %q", *pongs)
	}
}

func TestRefusesWhatCompressionForbids(t *testing.T) {
	// Zeros take a thousandth of themselves: what is declared is small, what it becomes is too large.
	bomb := deflated(t, ws.NewTextFrame(make([]byte, maxMessage+1)))
	fits := deflated(t, ws.NewTextFrame(make([]byte, maxMessage)))
	endless := slices.Concat(bytes.Repeat(closed(t, "x"), maxStreams+1), []byte{0})
	ping := ws.NewPingFrame(nil)
	ping.Header.Rsv = ws.Rsv(true, false, false)
	second := compressed(ws.OpText, true, []byte{0})
	second.Header.Rsv = ws.Rsv(true, true, false)
	for name, c := range map[string]struct {
		in   []byte
		code ws.StatusCode
	}{
		"corrupt":                  {frames(compressed(ws.OpText, true, []byte{0xff, 0xff, 0xff})), ws.StatusInvalidFramePayloadData},
		"cut off":                  {frames(compressed(ws.OpText, true, []byte{0x4a, 0x4c})), ws.StatusInvalidFramePayloadData},
		"a bomb":                   {frames(bomb), ws.StatusMessageTooBig},
		"streams without end":      {frames(compressed(ws.OpText, true, endless)), ws.StatusInvalidFramePayloadData},
		"not UTF-8 within":         {frames(deflated(t, ws.NewTextFrame([]byte{0xc3, 0x28}))), ws.StatusInvalidFramePayloadData},
		"the bit within a message": {frames(ws.NewFrame(ws.OpText, false, nil), compressed(ws.OpContinuation, true, []byte{0})), ws.StatusProtocolError},
		"a compressed ping":        {frames(ping), ws.StatusProtocolError},
		"another reserved bit":     {frames(second), ws.StatusProtocolError},
	} {
		r, _ := deflateReader(c.in)
		_, err := r.next()
		broken, ok := errors.AsType[*ViolationError](err)
		if !ok || broken.Code != c.code {
			t.Errorf("%s: %v, want a violation with %d", name, err, c.code)
		}
	}
	r, _ := deflateReader(frames(fits))
	if got, err := r.next(); err != nil || len(got) != maxMessage {
		t.Errorf("a message that just fits: %d bytes, %v", len(got), err)
	}
	r, _ = reader(frames(deflated(t, ws.NewTextFrame([]byte("x")))))
	if _, err := r.next(); err == nil || !strings.Contains(err.Error(), "reserved bits") {
		t.Errorf("compression that was not agreed on: %v", err)
	}
}

// What is sent is compressed where that is worth it, and another
// implementation reads it.
func TestSendsCompressedMessages(t *testing.T) {
	long := strings.Repeat("what was said before, ", 1000)
	for _, more := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			messages := []string{"short", long, long[:compressFrom], long[:compressFrom-1]}
			var queued [][]byte
			for _, m := range messages {
				queued = append(queued, []byte(m))
			}
			c := Config{Deflate: true}
			if more {
				c.More = func() [][]byte { all := queued; queued = nil; return all }
			}
			s, far := pair(t, c)
			if !more {
				for _, m := range queued {
					s.Send(m)
				}
			}
			r := bufio.NewReader(far)
			for i, want := range messages {
				h, err := ws.ReadHeader(r)
				if err != nil {
					t.Fatal(err)
				}
				f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
				if _, err := io.ReadFull(r, f.Payload); err != nil {
					t.Fatal(err)
				}
				f = ws.UnmaskFrameInPlace(f)
				if packed := h.Rsv1(); packed != (len(want) >= compressFrom) {
					t.Errorf("message %d of %d bytes: compressed is %v", i, len(want), packed)
				} else if packed {
					if h.Length > int64(len(want)/4) {
						t.Errorf("%d bytes became %d", len(want), h.Length)
					}
					if f, err = wsflate.DecompressFrame(f); err != nil {
						t.Fatal(err)
					}
				}
				if string(f.Payload) != want {
					t.Errorf("message %d is %.20q, want %.20q", i, f.Payload, want)
				}
			}
		})
	}
}

// What does not get smaller is sent as it is.
func TestSendsNoiseAsItIs(t *testing.T) {
	noise := make([]byte, 4096)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	if packed := (&deflater{}).pack(noise); packed != nil {
		t.Errorf("%d bytes became %d", len(noise), len(packed))
	}
}

func TestAgreed(t *testing.T) {
	const offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	var said strings.Builder
	if _, err := httphead.WriteOptions(&said, Offer()); err != nil || !sameOffer(said.String(), offer) {
		t.Errorf("the offer is %q, %v", &said, err)
	}
	const only, ours, yes, no, bad = "permessage-deflate", "; server_no_context_takeover", "yes", "no", "error"
	for answer, want := range map[string]string{
		// A hint need not be repeated, and a smaller window of the server's is none of our business.
		"": no, offer: yes, only + ours: yes, offer + "; server_max_window_bits=10": yes,
		// The server might keep its context; what was not offered; nonsense.
		only: bad, offer + "; client_max_window_bits=10": bad, "x-webkit-deflate-frame": bad, offer + ", " + offer: bad,
		offer + "; whatever": bad, offer + "; server_max_window_bits=7": bad, only + ours + "=1": bad, only + ours + ours: bad,
	} {
		list, ok := httphead.ParseOptions([]byte(answer), nil)
		if !ok && answer != "" {
			t.Fatal(answer)
		}
		agreed, err := Agreed(list)
		got := map[bool]string{true: "yes", false: "no"}[agreed]
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, %v, want %s", answer, got, err, want)
		}
	}
}

func sameOffer(a, b string) bool {
	parts := func(s string) []string {
		return slices.Sorted(slices.Values(strings.Split(strings.ReplaceAll(s, " ", ""), ";")))
	}
	return slices.Equal(parts(a), parts(b))
}

func FuzzCompressedFrames(f *testing.F) {
	f.Add(frames(deflated(f, ws.NewTextFrame([]byte("one"))), ws.NewPingFrame(nil)))
	whole := deflated(f, ws.NewTextFrame([]byte("in two parts"))).Payload
	f.Add(frames(compressed(ws.OpText, false, whole[:3]), ws.NewFrame(ws.OpContinuation, true, whole[3:])))
	f.Add([]byte{0xc1, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _ := deflateReader(b)
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			if len(m) > maxMessage {
				t.Fatalf("%d bytes became a message of %d", len(b), len(m))
			}
		}
	})
}

func FuzzDeflate(f *testing.F) {
	f.Add([]byte(strings.Repeat("what was said before, ", 30)))
	f.Fuzz(func(t *testing.T, message []byte) {
		d := &deflater{}
		for range 2 { // with a new compressor, and with a used one
			packed := d.pack(message)
			if packed == nil {
				return
			}
			if got, err := d.unpack(packed); err != nil || !bytes.Equal(got, message) {
				t.Fatalf("%q became %q, %v", message, got, err)
			}
		}
	})
}
