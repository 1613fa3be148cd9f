package websocket_test

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const noContext = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// openPacked is open for a client that offers compression.
func openPacked(t *testing.T, s *parleytest.Server, user, offer, answer string) *wire {
	t.Helper()
	r := handshake(s, user)
	r.Header.Set("Sec-Websocket-Extensions", offer)
	w := dial(t, r)
	if got := w.resp.Header.Values("Sec-Websocket-Extensions"); w.resp.StatusCode != http.StatusSwitchingProtocols || strings.Join(got, "|") != answer {
		t.Fatalf("%s, %q, want %q", w.resp.Status, got, answer)
	}
	w.packed(`{"id":1,"connect":{"subscriptions":[{"topic":"public/1"}]}}`)
	if r, _ := w.inflated(); r.GetConnected().GetUser() != user {
		t.Fatalf("connect: %v", r)
	}
	return w
}

// deflated is a compressed message as another implementation writes it.
func deflated(t *testing.T, text string) string {
	t.Helper()
	f, err := wsflate.CompressFrame(ws.NewTextFrame([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return string(f.Payload)
}

func (w *wire) packed(text string) {
	w.t.Helper()
	w.send(frame(0xc1, deflated(w.t, text)))
}

// inflated returns the next reply, read by another implementation, and whether
// it came compressed.
func (w *wire) inflated() (*parleyv1.Reply, bool) {
	w.t.Helper()
	f, err := wholeFrame(w.in)
	if err != nil {
		w.t.Fatal(err)
	}
	packed, err := wsflate.IsCompressed(f.Header)
	if err == nil && packed {
		f, err = wsflate.DecompressFrame(f)
	}
	if err != nil || f.Header.OpCode != ws.OpText || !f.Header.Fin || f.Header.Rsv != 0 {
		w.t.Fatalf("%+v, %v", f.Header, err)
	}
	replies, err := protocol.JSON{}.DecodeReplies(f.Payload)
	if err != nil || len(replies) != 1 {
		w.t.Fatalf("%q: %d replies, %v", f.Payload, len(replies), err)
	}
	return replies[0], packed
}

func wholeFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

func TestCompressedConnections(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithCompression(0))
		long := strings.Repeat("what was said before, ", 100)
		all := map[string]*wire{
			"wide":   openPacked(t, s, "ada", "permessage-deflate; client_max_window_bits", noContext),
			"narrow": openPacked(t, s, "ben", "permessage-deflate; server_max_window_bits=10", noContext+"; server_max_window_bits=10"),
			"none":   openPlain(t, s, "eve"),
		}
		for _, tc := range []struct {
			text   string
			packed []string
		}{{"short", nil}, {long, []string{"wide"}}, {long[:800], []string{"wide", "narrow"}}, {"short again", nil}} {
			if _, err := s.Live.Publish(t.Context(), "public/1", "said", tc.text); err != nil {
				t.Fatal(err)
			}
			for name, w := range all {
				r, packed := w.inflated()
				if got := string(r.GetMessage().GetPayload()); got != fmt.Sprintf("%q", tc.text) {
					t.Errorf("%s: got %q", name, got)
				}
				if packed != slices.Contains(tc.packed, name) {
					t.Errorf("%s: %d bytes: compressed is %v", name, len(tc.text), packed)
				}
			}
		}
		// The receiver and the publisher of what came compressed are one here.
		w := all["wide"]
		w.packed(fmt.Sprintf(`{"id":7,"publish":{"topic":"public/2","type":"t","payload":%q}}`, long))
		if r, _ := w.inflated(); r.GetId() != 7 || r.GetPublished() == nil {
			t.Errorf("got %v", r)
		}
	})
}

// openPlain is a client that offers nothing, subscribed like the others.
func openPlain(t *testing.T, s *parleytest.Server, user string) *wire {
	t.Helper()
	w := dial(t, handshake(s, user))
	if got := w.resp.Header.Values("Sec-Websocket-Extensions"); len(got) > 0 {
		t.Fatalf("%q was not asked for", got)
	}
	w.text(`{"id":1,"connect":{"subscriptions":[{"topic":"public/1"}]}}`)
	if r := w.reply(); r.GetConnected() == nil {
		t.Fatalf("connect: %v", r)
	}
	return w
}

// Without the option nothing is agreed on, whatever is offered.
func TestCompressionIsOffByDefault(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	for _, offer := range []string{"permessage-deflate", "nonsense;"} {
		r := handshake(s, "ada")
		r.Header.Set("Sec-Websocket-Extensions", offer)
		w := dial(t, r)
		if got := w.resp.Header.Values("Sec-Websocket-Extensions"); len(got) > 0 {
			t.Errorf("%q was agreed on", got)
		}
		w.send(frame(0xc1, deflated(t, "{}")))
		if code, _ := w.end(); code != 1002 {
			t.Errorf("closed with %d", code)
		}
	}
	if _, err := parley.Open(parley.WithCompression(-1)); err == nil {
		t.Error("a negative bound is accepted")
	}
}

func TestAnExtensionHeaderThatIsNone(t *testing.T) {
	s := parleytest.Serve(t, parley.New(parley.WithCompression(0)))
	r := handshake(s, "ada")
	r.Header.Set("Sec-Websocket-Extensions", "permessage-deflate;;")
	if w := dial(t, r); w.resp.StatusCode != http.StatusBadRequest {
		t.Error(w.resp.Status)
	}
}

func TestBrokenCompressedFrames(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithCompression(0))
		var bomb bytes.Buffer
		z, err := flate.NewWriter(&bomb, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := z.Write(make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
		good := deflated(t, `{"id":7,"ping":{}}`)
		for _, tc := range []struct {
			name  string
			bytes []byte
			code  int
			says  string
		}{
			{"a bomb", frame(0xc1, bomb.String()), 1009, "more than 65536 bytes when decompressed"},
			{"a bomb in two parts", slices.Concat(frame(0x41, bomb.String()[:100]), frame(0x80, bomb.String()[100:])), 1009, "when decompressed"},
			{"a byte too many", frame(0xc1, deflated(t, strings.Repeat(" ", 64<<10+1))), 1009, "when decompressed"},
			{"damaged", frame(0xc1, "\x07"), 1007, ""},
			{"not UTF-8", frame(0xc1, deflated(t, "\xff")), 1007, ""},
			{"a compressed ping", frame(0xc9, good), 1002, ""},
			{"a continuation that says it", slices.Concat(frame(0x41, good[:2]), frame(0xc0, good[2:])), 1002, ""},
			{"another reserved bit", frame(0xa1, good), 1002, ""},
		} {
			w := openPacked(t, s, "ada", "permessage-deflate", noContext)
			w.send(tc.bytes)
			code, said := w.end()
			if errs := errorsIn(said); code != tc.code || tc.says != "" && (len(errs) != 1 || !strings.Contains(errs[0], tc.says)) {
				t.Errorf("%s: closed with %d, said %q", tc.name, code, errs)
			}
		}
		w := openPacked(t, s, "ada", "permessage-deflate", noContext)
		for _, b := range frame(0xc1, good) { // byte by byte
			w.send([]byte{b})
		}
		if r, _ := w.inflated(); r.GetId() != 7 || r.GetPong() == nil {
			t.Errorf("got %v", r)
		}
	})
}

// A client that is another implementation from the handshake on.
func TestAnotherImplementation(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithCompression(0))
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		d := ws.Dialer{
			Header:     ws.HandshakeHeaderHTTP(http.Header{"Parley-Test-User": {"ada"}}),
			Extensions: []httphead.Option{wsflate.DefaultParameters.Option()},
		}
		conn, _, hs, err := d.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+"/ws")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if len(hs.Extensions) != 1 {
			t.Fatalf("%d extensions were agreed on", len(hs.Extensions))
		}
		var agreed wsflate.Parameters
		if err := agreed.Parse(hs.Extensions[0]); err != nil || !agreed.ServerNoContextTakeover || !agreed.ClientNoContextTakeover {
			t.Fatalf("%+v, %v", agreed, err)
		}
		f, err := wsflate.CompressFrame(ws.NewTextFrame([]byte(`{"id":1,"connect":{}}`)))
		if err == nil {
			err = ws.WriteFrame(conn, ws.MaskFrame(f))
		}
		if err == nil {
			f, err = wholeFrame(conn)
		}
		if err == nil {
			f, err = wsflate.DecompressFrame(f)
		}
		if err != nil || !strings.Contains(string(f.Payload), `"ada"`) {
			t.Errorf("%q, %v", f.Payload, err)
		}
	})
}
