package packet

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// examples are the bodies a fuzzer starts from.
func examples(kinds ...Kind) map[Kind][]string {
	all := map[Kind][]string{
		CONNECT: {
			"0004'MQTT' 04 02 003c 0001'c'", "0004'MQTT' 04 ee 0000 0001'c' 0001'w' 0002'hi' 0001'u' 0001'p'",
			"0004'MQTT' 05 46 0000 05 11 0000000a 0001'c' 0c 18 00000003 26 0001'k' 0001'v' 0001'w' 0000 0001'p'",
			"0004'MQTT' 05 02 0000 1c 21 0014 22 000a 27 00010000 17 00 19 01 15 0001'a' 16 0001'd' 0001'c'",
		},
		CONNACK: {"01 00", "00 05", "00 00 0b 21 0014 12 0001'c' 24 01 2a 00", "00 9c 06 1c 0003'two'"},
		PUBLISH: {
			"0003'a/b' 0007 'payload'", "0003'a/b' 'payload'",
			"0000 0102 16 23 0003 0b 81 01 0b 05 26 0001'a' 0001'1' 26 0001'a' 0001'2' 'x'",
			"0001'a' 14 01 01 02 0000003c 03 0001'j' 08 0001'r' 09 0002 0102 'x'",
		},
		PUBACK:      {"0001", "0001 10", "0001 00 05 1f 0002'ok'", "0001 92"},
		SUBSCRIBE:   {"0001 0001'a'01 0003'b/#'02", "0001 02 0b 07 0001'a'2e 0010 '$share/group/a/b'01"},
		SUBACK:      {"0001 00 01 02 80", "0001 00 02 8f", "0001", "0001 05 1f 0002'no' 87"},
		UNSUBSCRIBE: {"0001 0001'a'", "0001 00 0001'a' 0001'b'"},
		DISCONNECT:  {"", "04", "9c 06 1c 0003'two'", "00 05 11 0000000a"},
		AUTH:        {"", "18 04 15 0001'x'", "19 08 15 0001'x' 16 0001'y'"},
	}
	out := make(map[Kind][]string)
	for _, k := range kinds {
		out[k] = all[k]
	}
	return out
}

// fuzz compares one decoder with the others'.
func fuzz(f *testing.F, flags []byte, kinds ...Kind) {
	f.Helper()
	for k, bodies := range examples(kinds...) {
		for _, body := range bodies {
			for _, flag := range flags {
				f.Add(byte(k)<<4|flag, false, unhex(f, body))
				f.Add(byte(k)<<4|flag, true, unhex(f, body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, first byte, old bool, body []byte) {
		v := V5
		if old {
			v = V311
		}
		h := Header(first)
		if !slices.Contains(kinds, h.Kind()) || h.check() != nil || len(body) > MaxRemaining {
			return
		}
		p := blank(h.Kind())
		if err := p.Decode(v, h, bytes.Clone(body)); err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("the error says no reason code: %v", err)
			}
			return
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		sameAgain(t, v, p)
		compare(t, v, h, body, show(p))
	})
}

// sameAgain writes what was read, and reads it again.
func sameAgain(t *testing.T, v Version, p packet) {
	t.Helper()
	frame := p.Append(nil, v)
	again, err := read(v, len(frame), frame)
	if err != nil {
		t.Fatalf("%v was written as % x, which is refused: %v", show(p), frame, err)
	}
	if got, want := lines(show(again)), lines(show(p)); got != want {
		t.Fatalf("%s\nwas written as % x and read as\n%s", want, frame, got)
	}
	if third := again.Append(nil, v); !bytes.Equal(third, frame) {
		t.Fatalf("written as % x, and then as % x", frame, third)
	}
}

// compare holds what we have read against the others.
func compare(t *testing.T, v Version, h Header, body []byte, ours facts) {
	t.Helper()
	short := len(body) == 0 && (h.Kind() == AUTH || h.Kind() == DISCONNECT) // which one of them each cannot read
	if !(short && h.Kind() == AUTH) && !(h.Kind() == DISCONNECT && len(body) == 1) {
		theirs, err := askMochi(v, h, bytes.Clone(body))
		if err != nil {
			t.Errorf("mochi refuses % x % x: %v\nwe have read\n%v", byte(h), body, err, ours)
		} else if !slices.Equal(theirs, ours) {
			t.Errorf("% x % x\nmochi:\n%v\nwe:\n%v", byte(h), body, theirs, ours)
		}
	}
	if v != V5 || short && h.Kind() == DISCONNECT {
		return
	}
	ours = lastSubscription(ours)
	theirs, err := askPaho(h, bytes.Clone(body))
	if err != nil {
		t.Errorf("paho refuses % x % x: %v\nwe have read\n%v", byte(h), body, err, ours)
	} else if !slices.Equal(theirs, ours) {
		t.Errorf("% x % x\npaho:\n%v\nwe:\n%v", byte(h), body, theirs, ours)
	}
}

func FuzzConnect(f *testing.F)     { fuzz(f, []byte{0}, CONNECT) }
func FuzzConnack(f *testing.F)     { fuzz(f, []byte{0}, CONNACK) }
func FuzzPublish(f *testing.F)     { fuzz(f, []byte{0, 1, 2, 4, 10, 13}, PUBLISH) }
func FuzzAck(f *testing.F)         { fuzz(f, []byte{0, 2}, PUBACK, PUBREC, PUBREL, PUBCOMP) }
func FuzzSubscribe(f *testing.F)   { fuzz(f, []byte{2}, SUBSCRIBE) }
func FuzzGranted(f *testing.F)     { fuzz(f, []byte{0}, SUBACK, UNSUBACK) }
func FuzzUnsubscribe(f *testing.F) { fuzz(f, []byte{2}, UNSUBSCRIBE) }
func FuzzDisconnect(f *testing.F)  { fuzz(f, []byte{0}, DISCONNECT) }
func FuzzAuth(f *testing.F)        { fuzz(f, []byte{0}, AUTH) }

// Any bytes, cut anywhere, are the same packets and the same error.
func FuzzReader(f *testing.F) {
	f.Add(unhex(f, "c000 30 03 0001'a' c000"), byte(3), 10)
	f.Add(unhex(f, "30 80808080"), byte(2), 0)
	f.Fuzz(func(t *testing.T, stream []byte, step byte, limit int) {
		cut := func(step int) (frames [][]byte, err error) {
			r := Reader{Limit: limit}
			for rest := bytes.Clone(stream); len(rest) > 0 && err == nil; {
				n := min(step, len(rest))
				err = r.Feed(rest[:n], func(h Header, body []byte) error {
					frames = append(frames, append([]byte{byte(h)}, body...))
					return nil
				})
				rest = rest[n:]
			}
			return frames, err
		}
		whole, errWhole := cut(len(stream))
		pieces, errPieces := cut(max(int(step), 1))
		if !slices.EqualFunc(whole, pieces, bytes.Equal) || (errWhole == nil) != (errPieces == nil) {
			t.Fatalf("whole: % x, %v; in pieces of %d: % x, %v", whole, errWhole, step, pieces, errPieces)
		}
	})
}
