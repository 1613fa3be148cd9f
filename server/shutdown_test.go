package server_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Clients are told that the server leaves and may come back; nothing is cut.
func TestShutdownWithClients(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	r := start(t, cfg)
	clients := make([]*parleytest.Client, 5)
	for i := range clients {
		clients[i] = r.open()
		if got := connect(clients[i], annsToken(t, cfg.Data, time.Hour)); got.GetConnected() == nil {
			t.Fatal(got)
		}
	}
	done := make(chan error, 1)
	go func() { done <- r.end() }()
	for _, c := range clients {
		leaving := c.Until("leaving", func(r *parleyv1.Reply) bool { return r.GetLeaving() != nil }).GetLeaving()
		if leaving.GetReason() != "draining" {
			t.Errorf("%v", leaving)
		}
		if end := c.ExpectEnd(); end.Code != 4000 {
			t.Errorf("%v", end)
		}
		c.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if log := r.log.String(); !strings.Contains(log, "shutting down") || !strings.Contains(log, `"msg":"ended"`) {
		t.Error(log)
	}
}

// The second signal does not wait for a client that never hangs up.
func TestForcedShutdown(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Shutdown.Timeout = time.Hour
	r := start(t, cfg)
	hanging := r.hang()
	defer hanging()
	r.stop()
	r.force()
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("%v", err)
	}
	r.once.Do(r.client.CloseIdleConnections)
}

// hang begins a request that the server waits for, and returns how to end it.
func (r *running) hang() func() {
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+"/api/v1/publish", body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := r.client.Do(req); err == nil {
			_ = resp.Body.Close() // only its end matters
		}
	}()
	if _, err := feed.Write([]byte("{")); err != nil { // taken: the request is under way
		r.t.Fatal(err)
	}
	return func() {
		_ = feed.Close() // it may have been cut
		<-ended
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[bool]string{false: `"address":"127.0.0.1"`, true: `"address":"203.0.113.9"`} {
		cfg := settings(t)
		if trusted {
			cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		r := start(t, cfg)
		r.do("GET", "/readyz", "", "X-Forwarded-For", "203.0.113.9")
		if err := r.end(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("trusted %v: %s", trusted, r.log.String())
		}
	}
}
