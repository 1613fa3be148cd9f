package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server/config"
)

// A part that fails takes the node out of traffic and is named; the process is
// alive all the same.
func TestReadinessNamesWhatFails(t *testing.T) {
	t.Parallel()
	live := parley.New()
	t.Cleanup(func() {
		if err := live.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	broken := func(context.Context) error { return errors.New("disk is gone") }
	fine := func(context.Context) error { return nil }
	tests := []struct {
		name     string
		database func(context.Context) error
		draining bool
		status   int
		want     string
	}{
		{"fine", fine, false, 200, `"name":"database","ok":true`},
		{"no community", nil, false, 200, `"status":"ok"`},
		{"database", broken, false, 503, `"name":"database","ok":false,"detail":"disk is gone"`},
		{"draining", fine, true, 503, `"name":"process","ok":false`},
	}
	for _, tt := range tests {
		h := &health{live: live, database: tt.database, node: "n"}
		h.draining.Store(tt.draining)
		r := gin.New()
		r.GET("/alive", h.alive)
		r.GET("/ready", h.ready)
		for path, status := range map[string]int{"/alive": 200, "/ready": tt.status} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
			if w.Code != status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%s%s: %d %s", tt.name, path, w.Code, w.Body)
			}
		}
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&text, nil))
	r := gin.New()
	r.Use(identifyRequest, logRequest(log), recoverPanic(log))
	r.GET("/boom", func(*gin.Context) { panic("a secret reason") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/boom?ticket=t", http.NoBody))
	id := w.Header().Get(requestIDHeader)
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || id == "" || !strings.Contains(w.Body.String(), id) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	got := text.String()
	if strings.Count(got, id) != 2 || !strings.Contains(got, "a secret reason") || !strings.Contains(got, "parts_test.go") || strings.Contains(got, "ticket=") {
		t.Errorf("%s", got)
	}
}

func TestLoggerFormat(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{config.FormatAuto: `{"time"`, config.FormatJSON: `{"time"`, config.FormatText: "time="} {
		var b bytes.Buffer
		NewLogger(&b, config.Log{Format: format, Level: slog.LevelWarn}).Warn("x")
		NewLogger(&b, config.Log{Format: format, Level: slog.LevelWarn}).Info("y")
		if !strings.HasPrefix(b.String(), want) || strings.Contains(b.String(), "y") && strings.Count(b.String(), "\n") != 1 {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ listen, public, want string }{
		{"127.0.0.1:8080", "", "http://127.0.0.1:8080"},
		{"[::]:8080", "", "http://localhost:8080"},
		{"0.0.0.0:8080", "", "http://localhost:8080"},
		{"[::1]:8080", "", "http://[::1]:8080"},
		{"[::]:8080", "https://chat.example/", "https://chat.example"},
	}
	for _, tt := range tests {
		addr, err := net.ResolveTCPAddr("tcp", tt.listen)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{cfg: config.Config{PublicURL: tt.public}, listener: stub{addr}}
		if got := s.URL(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

type stub struct{ addr net.Addr }

func (s stub) Addr() net.Addr          { return s.addr }
func (stub) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (stub) Close() error              { return nil }

// pipes is a listener of connections in this process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client that sends its handshake a byte at a time is cut off, whatever it
// has sent by then.
func TestASlowHandshakeIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached := false
		h := newHTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), slog.New(slog.DiscardHandler))
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- h.Serve(l) }()
		client, conn := net.Pipe()
		l.conns <- conn
		go func() { // what is said to it is not read by slow clients; here it must not hold the server up
			buf := make([]byte, 512)
			for {
				if _, err := client.Read(buf); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		var err error
		for _, b := range []byte("GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + strings.Repeat("X-Slow: 1\r\n", 100)) {
			if _, err = client.Write([]byte{b}); err != nil {
				break
			}
			<-time.After(200 * time.Millisecond)
		}
		if took := time.Since(began); err == nil || took > 6*time.Second {
			t.Errorf("held for %v: %v", took, err)
		}
		if reached {
			t.Error("half a handshake was answered")
		}
		_ = client.Close()
		_ = h.Close()
		if err := <-served; err != nil {
			t.Log(err)
		}
	})
}
