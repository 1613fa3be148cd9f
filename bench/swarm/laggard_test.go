package swarm

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// lagging connects a laggard to a raw server that does as serve says.
func lagging(t *testing.T, serve func(conn net.Conn)) *Laggard {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, _, _, err := ws.UpgradeHTTP(r, w); err == nil {
			serve(conn)
			_ = conn.Close()
		}
	}))
	t.Cleanup(h.Close)
	u, err := url.Parse(strings.Replace(h.URL, "http", "ws", 1))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Target{URL: u, Protocol: Broadcast, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l := s.Laggard("a")
	if err := l.Connect(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return l
}

// A laggard takes as much as it is allowed to, and tells how the server ended it.
func TestLaggard(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(net.Conn){
		"4001":                  func(c net.Conn) { _, _ = c.Write(serverFrame(fin|opClose, []byte("\x0f\xa1"))) },
		"closed without a code": func(net.Conn) {},
		"reset": func(c net.Conn) {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		},
	} {
		const text = 8000
		l := lagging(t, func(c net.Conn) {
			if how != "reset" { // which takes what was not read along
				_, _ = c.Write(serverFrame(fin|opText, make([]byte, text)))
			}
			end(c)
		})
		began := time.Now()
		l.Read(t.Context(), 10_000)
		took, lag := time.Since(began), l.Take()
		if len(lag.Ended) != 1 || lag.Ended[how] != 1 {
			t.Errorf("%s: ended %v", how, lag.Ended)
		}
		if how != "reset" && (lag.Received < text || took < 500*time.Millisecond) {
			t.Errorf("%s: %d bytes in %v", how, lag.Received, took)
		}
		if again := l.Take(); again.Received != 0 || len(again.Ended) != 0 {
			t.Errorf("%s: taken twice: %+v", how, again)
		}
	}
}

// The end of the context ends the reading, whatever is under way, and is no end
// that the server made.
func TestLaggardIsStopped(t *testing.T) {
	t.Parallel()
	for _, pace := range []int{0, 1000} {
		gone := make(chan struct{})
		l := lagging(t, func(net.Conn) { <-gone })
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		l.Read(ctx, pace)
		stop()
		close(gone)
		if lag := l.Take(); lag.Received != 0 || len(lag.Ended) != 0 {
			t.Errorf("%+v", lag)
		}
	}
}
