package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

const apiKey = "an-api-key-for-tests"

// buffer is written by the server and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a server with everything real, on a port of its own.
type running struct {
	t      *testing.T
	URL    string
	ports  func(name string) net.Addr
	out    buffer
	log    buffer
	client *http.Client
	stop   context.CancelFunc
	force  context.CancelFunc
	ended  chan error
	once   sync.Once
}

func settings(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Defaults()
	cfg.Addr, cfg.Data, cfg.Node = "127.0.0.1:0", filepath.Join(t.TempDir(), "data"), "n1"
	cfg.APIKeys = []string{apiKey}
	cfg.Community = false // most of what is here does not need it, and it takes time to open
	return cfg
}

func start(t *testing.T, cfg config.Config) *running {
	t.Helper()
	r := &running{t: t, client: &http.Client{Transport: &http.Transport{}}, ended: make(chan error, 1)}
	log := slog.New(slog.NewJSONHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := server.Open(t.Context(), cfg, server.Options{Stdout: &r.out, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	var stop, force context.Context
	stop, r.stop = context.WithCancel(context.Background())
	force, r.force = context.WithCancel(context.Background())
	r.URL, r.ports = "http://"+s.Addr().String(), s.PortAddr
	go func() { r.ended <- s.Run(stop, force) }()
	t.Cleanup(func() {
		if err := r.end(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return r
}

// end stops the server and returns how it ended; later calls return nil.
func (r *running) end() (err error) {
	r.once.Do(func() {
		r.stop()
		r.client.CloseIdleConnections()
		err = <-r.ended
		r.force()
	})
	return err
}

func (r *running) do(method, path, body string, header ...string) (int, http.Header, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func (r *running) open(header ...string) *parleytest.Client {
	r.t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return parleytest.Open(r.t, "ws"+strings.TrimPrefix(r.URL, "http")+"/ws", h)
}

func connect(c *parleytest.Client, token string) *parleyv1.Reply {
	return c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: token}}})
}

// annsToken signs as `parley token` does.
func annsToken(t *testing.T, data string, ttl time.Duration) string {
	t.Helper()
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := server.TokenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Sign(auth.Identity{User: "ann", Roles: []string{"member"}, Expires: time.Now().Add(ttl)})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
