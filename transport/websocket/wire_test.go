package websocket_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// driver is one way in which the server may hold its connections. Every rule
// of the protocol is tested on each of them.
type driver struct {
	name string
	wrap func(net.Listener, *parley.Live) net.Listener
}

func drivers() []driver {
	return []driver{
		{"plain TCP", func(l net.Listener, _ *parley.Live) net.Listener { return l }},
		{"a connection that is no TCPConn", func(l net.Listener, _ *parley.Live) net.Listener { return opaque{l} }},
		// Who says by a header who it is is handed on; front_test.go has those that do not.
		{"handed on by the front", func(l net.Listener, live *parley.Live) net.Listener {
			return live.Front(l, parley.FrontConfig{Path: "/ws"})
		}},
	}
}

// opaque hides what kind of connection it accepts, as TLS and tunnels do.
type opaque struct{ net.Listener }

func (o opaque) Accept() (net.Conn, error) {
	c, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

// starter starts a server that ends with the test.
type starter func(t *testing.T, opts ...parley.Option) *parleytest.Server

// onEach runs a test on every driver.
func onEach(t *testing.T, test func(t *testing.T, start starter)) {
	t.Helper()
	for _, d := range drivers() {
		t.Run(d.name, func(t *testing.T) {
			test(t, func(t *testing.T, opts ...parley.Option) *parleytest.Server {
				t.Helper()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				live := parley.New(opts...)
				return parleytest.ServeOn(t, d.wrap(l, live), live)
			})
		})
	}
}

const patience = 10 * time.Second

// wire is a client that sends what no client should.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	resp *http.Response
	last error // that ended reading
}

// handshake is a good one, which a test may spoil.
func handshake(s *parleytest.Server, user string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, s.URL+"/ws", nil)
	if err != nil {
		panic(err)
	}
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Parley-Test-User": {user},
	}
	if user == "" {
		r.Header.Del("Parley-Test-User")
	}
	return r
}

// dial opens a TCP connection and sends a handshake with what follows it in
// one piece.
func dial(t *testing.T, r *http.Request, early ...byte) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	_ = conn.SetDeadline(time.Now().Add(patience))
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: conn, in: bufio.NewReader(conn)}
	w.send(append([]byte(text.String()), early...))
	w.resp, err = http.ReadResponse(w.in, r)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// open dials a server and, unless user is "", connects.
func open(t *testing.T, s *parleytest.Server, user string) *wire {
	t.Helper()
	w := dial(t, handshake(s, user))
	if w.resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", w.resp.Status)
	}
	if user != "" {
		w.text(`{"id":1,"connect":{}}`)
		if r := w.reply(); r.GetConnected().GetUser() != user {
			t.Fatalf("connect: %v", r)
		}
	}
	return w
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

func (w *wire) text(s string) {
	w.t.Helper()
	w.send(frame(0x81, s))
}

// frame is masked, as a client's must be; first is FIN, reserved bits and opcode.
func frame(first byte, payload string) []byte {
	f := ws.MaskFrame(ws.NewFrame(ws.OpCode(first&0x0f), first&0x80 != 0, []byte(payload)))
	f.Header.Rsv = first >> 4 & 7
	b, err := ws.CompileFrame(f)
	if err != nil {
		panic(err)
	}
	return b
}

func closing(code int, reason string) []byte {
	return frame(0x88, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// next returns the next frame of the server, checked for what RFC 6455 asks of
// a server.
func (w *wire) next() (ws.OpCode, []byte, error) {
	w.t.Helper()
	h, err := ws.ReadHeader(w.in)
	if err != nil {
		return 0, nil, err
	}
	if h.Masked || h.Rsv != 0 || !h.Fin || h.OpCode.IsControl() && h.Length > 125 {
		w.t.Errorf("the server sent a frame that is not allowed: %+v", h)
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(w.in, payload)
	return h.OpCode, payload, err
}

// reply returns the next text frame's reply.
func (w *wire) reply() *parleyv1.Reply {
	w.t.Helper()
	op, payload, err := w.next()
	if err != nil || op != ws.OpText {
		w.t.Fatalf("a reply was expected, not opcode %d %q, %v", op, payload, err)
	}
	replies, err := protocol.JSON{}.DecodeReplies(payload)
	if err != nil || len(replies) != 1 {
		w.t.Fatalf("%q: %d replies, %v", payload, len(replies), err)
	}
	return replies[0]
}

// end reads until the connection has ended and tells with which close code,
// 0 for none, and what was said before.
func (w *wire) end() (code int, said []*parleyv1.Reply) {
	w.t.Helper()
	for {
		op, payload, err := w.next()
		switch {
		case err != nil:
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				w.t.Fatalf("the connection did not end; said: %v", said)
			}
			w.last = err
			return code, said
		case code != 0:
			w.t.Fatalf("after the close frame came opcode %d %q", op, payload)
		case op == ws.OpClose:
			c, _ := ws.ParseCloseFrameData(payload)
			code = int(c)
			if tcp, ok := w.conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // as a client that goes; it may have gone
			}
		case op == ws.OpText:
			replies, err := protocol.JSON{}.DecodeReplies(payload)
			if err != nil {
				w.t.Fatalf("%q: %v", payload, err)
			}
			said = append(said, replies...)
		}
	}
}

// alive checks that the connection still answers.
func (w *wire) alive() {
	w.t.Helper()
	w.text(`{"id":99,"ping":{}}`)
	if r := w.reply(); r.GetId() != 99 || r.GetPong() == nil {
		w.t.Fatalf("the connection did not answer a ping but said %v", r)
	}
}

func errorsIn(said []*parleyv1.Reply) (out []string) {
	for _, r := range said {
		if e := r.GetError(); e != nil {
			out = append(out, fmt.Sprintf("%s %d %s", e.GetCode(), e.GetNumber(), e.GetMessage()))
		}
	}
	return out
}

func leavingIn(said []*parleyv1.Reply) string {
	for _, r := range said {
		if l := r.GetLeaving(); l != nil {
			return l.GetReason()
		}
	}
	return ""
}
