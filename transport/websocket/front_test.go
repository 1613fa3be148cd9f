package websocket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
)

// fronted is a server behind a front.
type fronted struct {
	*parleytest.Server

	taken atomic.Int32
}

func front(t *testing.T, wait time.Duration, opts ...parley.Option) *fronted {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("there are no loops here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fronted{}
	live := parley.New(append([]parley.Option{parley.WithVerifier(names{})}, opts...)...)
	f.Server = parleytest.ServeOn(t, live.Front(l, parley.FrontConfig{
		Path: "/ws", Wait: wait, Taken: func(address string, _ time.Duration) {
			if address != "127.0.0.1" {
				t.Errorf("taken from %q", address)
			}
			f.taken.Add(1)
		},
	}), live)
	return f
}

// names believes every token: it is the name of the user.
type names struct{}

func (names) Verify(_ context.Context, token string) (parley.Identity, error) {
	return parley.Identity{User: token}, nil
}

// open connects by a plain handshake.
func (f *fronted) open(t *testing.T, user string) *wire {
	t.Helper()
	before := f.taken.Load()
	w := open(t, f.Server, "")
	w.text(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, user))
	if got := w.reply().GetConnected().GetUser(); got != user || f.taken.Load() == before {
		t.Fatalf("%q has connected; %d taken", got, f.taken.Load())
	}
	return w
}

func TestBrokenFramesBehindTheFront(t *testing.T) {
	f := front(t, 0, parley.WithLimits(parley.Limits{MessageBytes: 1000}))
	breakFrames(t, func(t *testing.T) *wire { t.Helper(); return f.open(t, "ada") })
}

// plainHead is a handshake as browsers send it, with more lines.
func plainHead(host string, more ...string) string {
	return "GET /ws HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept-Encoding: gzip, deflate\r\n" + strings.Join(append(more, "", ""), "\r\n")
}

// say sends pieces, each with a write of its own, and returns the answer.
func say(t *testing.T, url string, pieces ...string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // when it has ended, all of the handshake is done, too
		if _, err := c.Write(closing(1000, "")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatal(err)
		}
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge { // the rest of it is not read
		t.Fatal(err)
	}
	return resp, string(body)
}

// said is a case of TestTheFrontAnswersAsTheServerDoes.
type said struct {
	name   string
	pieces []string // HOST is the server
	taken  string
}

// Who answers. What comes in pieces may have come together.
const yes, no, either = "taken", "handed on", ""

func heads() []said {
	return []said{
		{"plain", []string{plainHead("HOST")}, yes},
		{"the same origin", []string{plainHead("HOST", "Origin: http://HOST", "Sec-Fetch-Site: same-origin")}, yes},
		{"another that may", []string{plainHead("HOST", "origin:https://app.example \t")}, yes},
		{"a subprotocol and compression", []string{plainHead("HOST", "Sec-WebSocket-Protocol: soap, parley.v1.protobuf", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")}, yes},
		{"what is said early", []string{plainHead("HOST") + string(frame(0x81, `{"id":1,"ping":{}}`))}, yes},
		{"foreign origin", []string{plainHead("HOST", "Origin: https://evil.example")}, no},
		{"unknown subprotocol", []string{plainHead("HOST", "Sec-WebSocket-Protocol: soap")}, no},
		{"no list of extensions", []string{plainHead("HOST", "Sec-WebSocket-Extensions: ;;=")}, no},
		{"another version", []string{strings.Replace(plainHead("HOST"), "Version: 13", "Version: 8", 1)}, no},
		{"a short key", []string{strings.Replace(plainHead("HOST"), "dGhl", "", 1)}, no},
		{"a cookie", []string{plainHead("HOST", "Cookie: a=b")}, no},
		{"a good token", []string{plainHead("HOST", "Authorization: Bearer ada")}, no},
		{"a token of no kind", []string{plainHead("HOST", "Authorization: Bearer ")}, no},
		{"a ticket that is none", []string{strings.Replace(plainHead("HOST"), "/ws", "/ws?ticket=x", 1)}, no},
		{"a proxy", []string{plainHead("HOST", "X-Forwarded-For: 1.2.3.4")}, no},
		{"in pieces", strings.SplitAfter(plainHead("HOST"), "\n"), either},
		{"a line twice", []string{plainHead("HOST", "Upgrade: websocket")}, no},
		{"two hosts", []string{plainHead("HOST", "Host: b")}, no},
		{"no host", []string{strings.Replace(plainHead("HOST"), "Host: HOST\r\n", "", 1)}, no},
		{"a line that goes on", []string{plainHead("HOST", "Accept: a,", " b")}, no},
		{"bare line feeds", []string{strings.ReplaceAll(plainHead("HOST"), "\r", "")}, no},
		{"a body", []string{plainHead("HOST", "Content-Length: 1") + "x"}, no},
		{"HTTP/1.0", []string{strings.Replace(plainHead("HOST"), "HTTP/1.1", "HTTP/1.0", 1)}, no},
		{"HTTP/2", []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, no},
		{"another path", []string{strings.Replace(plainHead("HOST"), "/ws", "/wsx", 1)}, no},
		{"a visit", []string{"GET /none HTTP/1.1\r\nHost: HOST\r\n\r\n"}, no},
		{"not HTTP", []string{"hello\r\n\r\n"}, no},
		{"too large a head", []string{plainHead("HOST", "User-Agent: "+strings.Repeat("a", 1<<20+5000))}, no},
	}
}

// Behind a front a client gets the answer it gets without one.
func TestTheFrontAnswersAsTheServerDoes(t *testing.T) {
	options := func() []parley.Option {
		return []parley.Option{parley.WithVerifier(names{}), parley.WithCompression(1), parley.WithOrigins("https://app.example")}
	}
	answer := func(t *testing.T, url string, tc said) string {
		t.Helper()
		host := strings.TrimPrefix(url, "http://")
		var pieces []string
		for _, p := range tc.pieces {
			pieces = append(pieces, strings.ReplaceAll(p, "HOST", host))
		}
		resp, body := say(t, url, pieces...)
		resp.Header.Del("Date")
		return strings.ReplaceAll(fmt.Sprint(resp.Status, resp.Header, body), host, "HOST")
	}
	answers := make(map[string]string)
	t.Run("without", func(t *testing.T) {
		s := parleytest.Serve(t, parley.New(options()...))
		for _, tc := range heads() {
			answers[tc.name] = answer(t, s.URL, tc)
		}
	})
	t.Run("with", func(t *testing.T) {
		f := front(t, 0, options()...)
		for _, tc := range heads() {
			before := f.taken.Load()
			if got := answer(t, f.URL, tc); got != answers[tc.name] {
				t.Errorf("%s: %s\nwithout a front %s", tc.name, got, answers[tc.name])
			}
			if taken := map[bool]string{true: yes, false: no}[f.taken.Load() > before]; tc.taken != either && taken != tc.taken {
				t.Errorf("%s: %s", tc.name, taken)
			}
		}
	})
}

// A WebSocket that net/http opens behind the front lives on the loops like any
// other, and loses nothing of what was read before.
func TestHandedOnConnectionsCostNoGoroutine(t *testing.T) {
	f := front(t, 0)
	open(t, f.Server, "first")
	before := runtime.NumGoroutine()
	const sockets, some = 60, 30 // workers stay for a while
	early := frame(0x81, `{"id":1,"connect":{}}`)
	for i := range 200 { // more than a buffer of net/http
		early = append(early, frame(0x81, fmt.Sprintf(`{"id":%d,"publish":{"topic":"public/1","type":"t"}}`, i+2))...)
	}
	w := dial(t, handshake(f.Server, "ada"), early...)
	for i := range 201 {
		if r := w.reply(); r.GetId() != uint64(i+1) {
			t.Fatalf("reply %d: %v", i, r)
		}
	}
	for range sockets {
		open(t, f.Server, "ada")
	}
	if n := runtime.NumGoroutine() - before; n > some {
		t.Errorf("%d goroutines for %d connections", n, sockets)
	}
	if n := f.taken.Load(); n != 0 {
		t.Errorf("%d were taken", n)
	}
}

// A connection that says nothing, or little, is cut.
func TestTheFrontDoesNotWaitForEver(t *testing.T) {
	live := parley.New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const wait = 200 * time.Millisecond
	h := &http.Server{ReadHeaderTimeout: wait, Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- h.Serve(live.Front(l, parley.FrontConfig{Path: "/ws", Wait: wait})) }()
	for _, first := range []string{"", "G", "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: webs"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, first); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("%q: the connection did not end: %v", first, err)
		}
		_ = c.Close()
	}
	if err := live.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// Who has said nothing yet does not hold up the end, and who comes then is told.
func TestTheFrontAtTheEnd(t *testing.T) {
	f := front(t, time.Hour)
	f.open(t, "ada")
	silent, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	f.open(t, "ben") // the silent one has been accepted by now
	if err := f.Live.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	_ = silent.SetDeadline(time.Now().Add(patience))
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the silent one: %d, %v", n, err)
	}
	resp, body := say(t, f.URL, plainHead("a"))
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func TestTheFrontKeepsTheLimits(t *testing.T) {
	f := front(t, 0, parley.WithLimits(parley.Limits{ConnectionsNode: 2}))
	f.open(t, "ada")
	first := f.open(t, "ben")
	if resp, body := say(t, f.URL, plainHead("a")); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "5" || !strings.Contains(body, "overloaded") {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	if n := f.Live.Stats().Refused["overloaded"]; n != 1 {
		t.Errorf("one refusal was counted %d times", n)
	}
	ended := make(chan parley.Event, 8)
	f.Live.OnDisconnect(func(e parley.Event) { ended <- e })
	first.send(closing(1000, ""))
	first.end()
	<-ended
	f.open(t, "eve")
}
