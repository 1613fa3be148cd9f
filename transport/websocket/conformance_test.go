package websocket_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// What RFC 6455 forbids, each with the close code that it or we prescribe.
func TestBrokenFrames(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithLimits(parley.Limits{MessageBytes: 1000}))
		breakFrames(t, func(t *testing.T) *wire { t.Helper(); return open(t, s, "ada") })
	})
}

// breakFrames does so on connections of a server that takes 1,000 bytes.
func breakFrames(t *testing.T, open func(t *testing.T) *wire) {
	t.Helper()
	big := strings.Repeat("a", 1000)
	cases := []struct {
		name  string
		bytes []byte
		code  int
		says  string // in an error before the close frame
	}{
		{"not masked", []byte{0x81, 2, '{', '}'}, 1002, ""},
		{"reserved bit", frame(0xc1, "{}"), 1002, ""},
		{"reserved opcode 3", frame(0x83, "{}"), 1002, ""},
		{"reserved control opcode 11", frame(0x8b, ""), 1002, ""},
		{"a ping of 126 bytes", frame(0x89, big[:126]), 1002, ""},
		{"a fragmented ping", frame(0x09, ""), 1002, ""},
		{"a continuation of nothing", frame(0x80, "{}"), 1002, ""},
		{"a text within a text", slices.Concat(frame(0x01, "{"), frame(0x81, "{}")), 1002, ""},
		{"not UTF-8", frame(0x81, "{\"\xff\"}"), 1007, ""},
		{"not UTF-8 over two fragments", slices.Concat(frame(0x01, "{\"\xe2"), frame(0x80, "\"}")), 1007, ""},
		{"binary on a text connection", frame(0x82, "{}"), 1003, ""},
		{"over the limit", frame(0x81, big+"a"), 1009, "more than 1000 bytes"},
		{"announced over the limit", []byte{0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4}, 1009, "more than 1000 bytes"},
		{"fragments over the limit", slices.Concat(frame(0x01, big), frame(0x00, "a")), 1009, "more than 1000 bytes"},
		{"half a close code", frame(0x88, "\x03"), 1002, ""},
		{"close code 0", closing(0, ""), 1002, ""},
		{"close code 999", closing(999, ""), 1002, ""},
		{"close code 1005", closing(1005, ""), 1002, ""},
		{"close code 1006", closing(1006, ""), 1002, ""},
		{"close code 1015", closing(1015, ""), 1002, ""},
		{"close code 2000", closing(2000, ""), 1002, ""},
		{"close code 5000", closing(5000, ""), 1002, ""},
		{"a close reason that is not UTF-8", closing(1000, "\xff"), 1007, ""},
	}
	witness := open(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := open(t)
			w.send(append(frame(0x81, `{"id":5,"ping":{}}`), tc.bytes...))
			code, said := w.end()
			if code != tc.code {
				t.Errorf("closed with %d, want %d", code, tc.code)
			}
			if len(said) == 0 || said[0].GetPong() == nil {
				t.Errorf("what came before was not answered: %v", said)
			}
			if errs := errorsIn(said); (len(errs) > 0) != (tc.says != "") || tc.says != "" && !strings.Contains(errs[0], tc.says) {
				t.Errorf("errors %q, want one with %q", errs, tc.says)
			}
		})
	}
	witness.alive()
}

// The close frame must arrive although the client goes on sending: a socket
// that is closed with unread data would be reset and take the frame with it.
func TestTheCloseFrameArrivesWhileMoreIsSent(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		for range 20 {
			w := open(t, s, "ada")
			w.send(append(frame(0xc1, "a"), make([]byte, 50_000)...))
			if code, _ := w.end(); code != 1002 || !errors.Is(w.last, io.EOF) {
				t.Fatalf("closed with %d, then %v", code, w.last)
			}
		}
	})
}

func TestGoodFrames(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		t.Run("pings come back as pongs", func(t *testing.T) {
			w := open(t, s, "ada")
			for _, payload := range []string{"", "hello", strings.Repeat("\xff", 125)} {
				w.send(frame(0x89, payload))
				if op, got, err := w.next(); err != nil || op != ws.OpPong || string(got) != payload {
					t.Errorf("%d %q, %v", op, got, err)
				}
			}
		})
		t.Run("a pong nobody asked for", func(t *testing.T) {
			w := open(t, s, "ada")
			w.send(frame(0x8a, "why"))
			w.alive()
		})
		t.Run("fragments with control frames between", func(t *testing.T) {
			w := open(t, s, "ada")
			w.send(slices.Concat(frame(0x01, `{"id":`), frame(0x89, "1"), frame(0x00, `7,"pi`), frame(0x8a, ""), frame(0x00, ""), frame(0x80, `ng":{}}`)))
			if op, got, err := w.next(); err != nil || op != ws.OpPong || string(got) != "1" {
				t.Errorf("%d %q, %v", op, got, err)
			}
			if r := w.reply(); r.GetId() != 7 || r.GetPong() == nil {
				t.Errorf("got %v", r)
			}
		})
		t.Run("byte by byte", func(t *testing.T) {
			w := open(t, s, "ada")
			for _, b := range frame(0x81, `{"id":7,"publish":{"topic":"public/é","type":"t"}}`) {
				w.send([]byte{b})
			}
			if r := w.reply(); r.GetId() != 7 || r.GetPublished() == nil {
				t.Errorf("got %v", r)
			}
		})
		t.Run("64 KiB, the default limit", func(t *testing.T) {
			w := open(t, s, "ada")
			const body = `{"id":7,"ping":{},"x":"%s"}`
			w.text(fmt.Sprintf(body, strings.Repeat("x", 64<<10-len(body)+2)))
			if r := w.reply(); r.GetId() != 7 || r.GetPong() == nil {
				t.Errorf("got %v", r)
			}
		})
		t.Run("an array of commands", func(t *testing.T) {
			w := open(t, s, "ada")
			w.text(`[{"id":7,"ping":{}},{"id":8,"ping":{}}]`)
			if a, b := w.reply(), w.reply(); a.GetId() != 7 || b.GetId() != 8 {
				t.Errorf("got %v, %v", a, b)
			}
		})
	})
}

func TestCloseIsAnswered(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		for _, tc := range []struct {
			frame []byte
			code  int
		}{
			{frame(0x88, ""), 1000},
			{closing(1000, "bye"), 1000},
			{closing(1001, ""), 1001},
			{closing(1014, ""), 1014},
			{closing(3000, ""), 3000},
			{closing(4999, strings.Repeat("x", 123)), 4999},
		} {
			w := open(t, s, "ada")
			w.send(tc.frame)
			if code, said := w.end(); code != tc.code || len(said) > 0 {
				t.Errorf("%x: closed with %d after %v", tc.frame, code, said)
			}
		}
	})
}

func TestProtobufConnection(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		r := handshake(s, "ada")
		r.Header.Set("Sec-Websocket-Protocol", protocol.NameProtobuf)
		w := dial(t, r)
		connect := &parleyv1.Command{Id: 3, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{}}}
		w.send(frame(0x82, string(protocol.Protobuf{}.AppendCommand(nil, connect))))
		op, payload, err := w.next()
		if err != nil || op != ws.OpBinary {
			t.Fatalf("opcode %d, %v", op, err)
		}
		if rs, err := (protocol.Protobuf{}).DecodeReplies(payload); err != nil || len(rs) != 1 || rs[0].GetConnected().GetUser() != "ada" {
			t.Errorf("%v, %v", rs, err)
		}
		w.text("{}")
		if code, _ := w.end(); code != 1003 {
			t.Errorf("text on a binary connection: closed with %d", code)
		}
	})
}

func TestMalformedCommands(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		for _, tc := range []struct{ text, code, says string }{
			{``, "bad_request", "expected an object"},
			{`{`, "bad_request", "version 1"},
			{`7`, "bad_request", "expected an object"},
			{`[]`, "bad_request", "no command"},
			{`{}`, "bad_request", "command is missing"},
			{`{"id":1}`, "bad_request", "command is missing"},
			{`{"id":1,"dance":{}}`, "unimplemented", `"dance"`},
			{`{"id":1,"ping":{},"pong":{}}`, "bad_request", "holds 2"},
			{`{"id":-1,"ping":{}}`, "bad_request", "version 1"},
			{`{"id":1,"read":{"topic":"public/1","seq":1}}`, "not_found", "keeps no receipts"},
			{`{"id":1,"subscribe":7}`, "bad_request", "version 1"},
			{`{"id":1,"connect":{}}`, "bad_request", "already answered"},
		} {
			w := open(t, s, "ada")
			w.text(tc.text)
			if e := w.reply().GetError(); e.GetCode() != tc.code || !strings.Contains(e.GetMessage(), tc.says) || e.GetRetry() != "never" {
				t.Errorf("%s: %v", tc.text, e)
			}
			w.alive()
		}
	})
}

func TestErrorBudget(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithLimits(parley.Limits{Errors: 5}))
		w := open(t, s, "ada")
		for range 5 {
			w.text(`{"id":1,`)
			if e := w.reply().GetError(); e.GetCode() != "bad_request" {
				t.Errorf("got %v", e)
			}
			w.alive()
		}
		w.send(slices.Concat(frame(0x81, `nonsense`), frame(0x81, `nonsense`), frame(0x81, `{"id":4,"ping":{}}`)))
		code, said := w.end()
		if code != 4503 || leavingIn(said) != "error_budget" || len(errorsIn(said)) == 0 {
			t.Errorf("closed with %d after %v", code, said)
		}
	})
}

func TestTheFirstCommand(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		t.Run("late", func(t *testing.T) {
			s := start(t, parley.WithLimits(parley.Limits{ConnectTimeout: 50 * time.Millisecond}))
			w := dial(t, handshake(s, "ada"))
			if code, said := w.end(); code != 4005 || leavingIn(said) != "connect_timeout" {
				t.Errorf("closed with %d after %v", code, said)
			}
			stays := open(t, s, "ada") // who has connected is not asked again
			w = dial(t, handshake(s, "ada"))
			w.end()
			stays.alive()
		})
		t.Run("something else", func(t *testing.T) {
			w := dial(t, handshake(start(t), "ada"))
			w.text(`{"id":1,"publish":{"topic":"public/1","type":"t"}}`)
			code, said := w.end()
			if errs := errorsIn(said); code != 4504 || leavingIn(said) != "bad_protocol" || len(errs) != 1 || !strings.HasPrefix(errs[0], "unauthorized 401 the first command must be connect") {
				t.Errorf("closed with %d after %v", code, said)
			}
		})
		t.Run("pings and mistakes do not extend the time", func(t *testing.T) {
			s := start(t, parley.WithLimits(parley.Limits{ConnectTimeout: 300 * time.Millisecond}))
			w := dial(t, handshake(s, "ada"))
			w.send(slices.Concat(frame(0x89, ""), frame(0x81, "nonsense")))
			if code, said := w.end(); code != 4005 {
				t.Errorf("closed with %d after %v", code, said)
			}
		})
		t.Run("nobody", func(t *testing.T) {
			w := dial(t, handshake(start(t), ""))
			w.text(`{"id":1,"connect":{}}`)
			if code, said := w.end(); code != 4500 || len(errorsIn(said)) != 1 || said[0].GetError().GetCode() != "unauthorized" {
				t.Errorf("closed with %d after %v", code, said)
			}
		})
	})
}

func TestTooManyFrames(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithLimits(parley.Limits{CommandsPerSecond: 5}))
		w := open(t, s, "ada")
		var burst []byte
		for i := range 15 {
			burst = append(burst, frame(0x81, fmt.Sprintf(`{"id":%d,"ping":{}}`, i+10))...)
		}
		w.send(burst)
		pongs, limited := 0, 0
		for range 15 {
			switch r := w.reply(); {
			case r.GetPong() != nil:
				pongs++
			case r.GetError().GetCode() == "rate_limited" && r.GetError().GetRetryAfterMs() > 0:
				limited++
			}
		}
		if pongs < 9 || limited == 0 || pongs+limited != 15 {
			t.Errorf("%d answered, %d refused", pongs, limited)
		}
	})
}
