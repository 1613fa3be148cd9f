package swarm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/bench/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverFrame is a frame as a server sends it.
func serverFrame(first byte, payload []byte) []byte {
	f := appendFrame(nil, 0, payload)
	f[0] = first
	head := len(f) - len(payload) - 4
	f[1] &^= masked
	return slices.Delete(f, head, head+4)
}

func TestFrames(t *testing.T) {
	t.Parallel()
	long, longer := strings.Repeat("l", 300), strings.Repeat("m", 70_000)
	var stream []byte
	for _, f := range [][]byte{
		serverFrame(fin|opText, []byte("one")), serverFrame(fin|opText, nil), serverFrame(fin|opText, []byte(long)),
		serverFrame(opText, []byte("in ")), serverFrame(fin|opPing, []byte("now")), serverFrame(opContinuation, []byte("three ")),
		serverFrame(fin|opContinuation, []byte("parts")), serverFrame(fin|opText, []byte(longer)), serverFrame(fin|opClose, []byte("\x03\xe8")),
	} {
		stream = append(stream, f...)
	}
	want := []string{"1one", "1", "1" + long, "9now", "1in three parts", "1" + longer, "8\x03\xe8"}
	read := func(parts ...[]byte) (got []string, held int) {
		var f frames
		for _, p := range parts {
			err := f.feed(bytes.Clone(p), func(op byte, payload []byte) error {
				got = append(got, fmt.Sprintf("%x%s", op, payload))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return got, len(f.rest)
	}
	if got, held := read(stream); !slices.Equal(got, want) || held != 0 {
		t.Errorf("all at once: %.40q, %d bytes held", got, held)
	}
	for cut := range min(len(stream), 700) {
		if got, held := read(stream[:cut], stream[cut:]); !slices.Equal(got, want) || held != 0 {
			t.Fatalf("cut at %d: %.40q, %d bytes held", cut, got, held)
		}
	}
	var single [][]byte
	for i := range stream {
		single = append(single, stream[i:i+1])
	}
	if got, held := read(single...); !slices.Equal(got, want) || held != 0 {
		t.Errorf("byte by byte: %.40q, %d bytes held", got, held)
	}
}

func TestFramesRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string][]byte{
		"reserved bits":        {0xc1, 0},
		"masked":               {0x81, 0x80, 0, 0, 0, 0},
		"too long":             {0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0},
		"parts of nothing":     {0x80, 0},
		"a text inside a text": {0x01, 0, 0x81, 0},
	} {
		var f frames
		if err := f.feed(text, func(byte, []byte) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x81, 3, 'a', 'b', 'c', 0x89, 0}, 3)
	f.Add([]byte{0x01, 1, 'a', 0x80, 1, 'b'}, 2)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		cut = min(max(cut, 0), len(data))
		read := func(parts ...[]byte) (got []string, failed bool) {
			var fr frames
			for _, p := range parts {
				if fr.feed(bytes.Clone(p), func(op byte, payload []byte) error {
					got = append(got, fmt.Sprintf("%x%s", op, payload))
					return nil
				}) != nil {
					return got, true
				}
			}
			return got, false
		}
		whole, wholeFailed := read(data)
		split, splitFailed := read(data[:cut], data[cut:])
		if !slices.Equal(whole, split) || wholeFailed != splitFailed {
			t.Errorf("whole %q %v, cut at %d %q %v", whole, wholeFailed, cut, split, splitFailed)
		}
	})
}

// Whatever a server says, no more messages are counted than there are marks of
// this run in it, decoded or not.
func FuzzUnderstand(f *testing.F) {
	s := &Swarm{target: Target{Protocol: Parley}, marker: newMarker()}
	s.marker.head = []byte("~01234567")
	mine := string(s.marker.appendTo(nil, 1, s.marker.start, MinSize))
	f.Add(fmt.Sprintf(`{"message":{"topic":"a","seq":5,"prev":4,"payload":%q}}`, mine))
	f.Add(fmt.Sprintf(`[{"message":{"payload":%q,"prev":4,"seq":5}},{"skipped":{"topic":"a","count":3}}]`, mine))
	f.Add(`{"gap":{"topic":"a"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		peer := func() *Peer {
			return &Peer{topic: "a", shard: &shard{swarm: s, latency: record.NewHistogram()}}
		}
		quick, whole := peer(), peer()
		_ = whole.replies([]byte(text), time.Now()) // what cannot be decoded ends the connection
		quick.plain([]byte(text), time.Now())
		marks := int64(strings.Count(text, string(s.marker.head)))
		if quick.shard.arrived > min(marks, 1) || whole.shard.arrived > marks {
			t.Errorf("%q: %d and %d came", text, quick.shard.arrived, whole.shard.arrived)
		}
	})
}

func TestMarker(t *testing.T) {
	t.Parallel()
	m := newMarker()
	at := m.start.Add(1500 * time.Millisecond)
	for _, size := range []int{MinSize, MinSize + 1, 128, 4096} {
		text := m.appendTo(nil, 123_456, at, size)
		if len(text) != size {
			t.Errorf("%d bytes, want %d", len(text), size)
		}
		number, took, ok := m.find(append([]byte(`{"x":"~`), text...), at.Add(7*time.Millisecond))
		if !ok || number != 123_456 || took != 7*time.Millisecond {
			t.Errorf("%d %v %v", number, took, ok)
		}
		if _, _, ok := newMarker().find(text, at); ok {
			t.Error("another run's message was taken for one's own")
		}
		if _, _, ok := m.find(text[:MinSize-1], at); ok {
			t.Error("found in less than it is")
		}
	}
}

// What is read without decoding must come to the same as what is decoded.
func TestUnderstand(t *testing.T) {
	t.Parallel()
	s := &Swarm{target: Target{Protocol: Parley}, marker: newMarker()}
	payload := func(n uint64) string { return string(s.marker.appendTo(nil, n, time.Now(), 64)) }
	one := func(n, seq, prev uint64) string {
		return fmt.Sprintf(`{"message":{"topic":"a/b","seq":%d,"prev":%d,"id":"x","time":1,"payload":%q}}`, seq, prev, payload(n))
	}
	shuffled := func(n, seq, prev uint64) string {
		return fmt.Sprintf(`{"message":{"payload":%q,"prev":%d,"topic":"a/b","seq":%d}}`, payload(n), prev, seq)
	}
	cases := map[string]struct {
		frames []string
		came   uint64
		want   record.Faults
	}{
		"plain":         {[]string{one(1, 5, 4), one(2, 6, 5)}, 2, record.Faults{}},
		"another order": {[]string{shuffled(1, 5, 4), one(2, 6, 5)}, 2, record.Faults{}},
		"an array":      {[]string{"[" + one(1, 5, 4) + "," + one(2, 6, 5) + "]"}, 2, record.Faults{}},
		"of others":     {[]string{`{"message":{"topic":"a","seq":5,"prev":4,"payload":{"x":1}}}`, one(1, 6, 5)}, 1, record.Faults{}},
		"a hole":        {[]string{one(1, 5, 4), one(3, 7, 6)}, 2, record.Faults{Lost: 1, Chain: 1}},
		"twice":         {[]string{one(1, 5, 4), one(1, 5, 4)}, 1, record.Faults{Doubled: 1, Chain: 1}},
		"a gap":         {[]string{`{"gap":{"topic":"a/b"}}`}, 0, record.Faults{Gaps: 1}},
		"a refusal":     {[]string{`{"error":{"code":"forbidden","message":"no"}}`}, 0, record.Faults{Refused: 1}},
	}
	for name, c := range cases {
		h := &shard{swarm: s, latency: record.NewHistogram()}
		p := &Peer{topic: "a/b", shard: h}
		p.track.Place(4)
		for _, f := range c.frames {
			if err := p.understand(opText, []byte(f)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if h.faults != c.want || uint64(h.arrived) != c.came || uint64(h.latency.Count()) != c.came {
			t.Errorf("%s: %+v, %d came", name, h.faults, h.arrived)
		}
	}
	if s.Refusal() == nil {
		t.Error("the refusal was forgotten")
	}
}
