package server_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/jwt"
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
	r.URL = "http://" + s.Addr().String()
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

// What curl publishes is on the socket of whoever watches, however they signed in.
func TestPublishReachesSockets(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	bearer := annsToken(t, cfg.Data, time.Hour) // signed before the first start
	r := start(t, cfg)
	key := "Bearer " + apiKey

	status, _, body := r.do("POST", "/api/v1/ticket", `{"user":"bob"}`, "Authorization", key)
	var ticket, own struct {
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal([]byte(body), &ticket); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	status, _, body = r.do("POST", "/ticket", "", "Authorization", "Bearer "+bearer)
	if err := json.Unmarshal([]byte(body), &own); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	byMessage, byHeader, byTicket, byOwn := r.open(), r.open("Authorization", "Bearer "+bearer), r.open(), r.open()
	for want, got := range map[string]*parleyv1.Reply{
		"ann": connect(byMessage, bearer), "ann ": connect(byHeader, ""), "bob": connect(byTicket, ticket.Ticket), "ann  ": connect(byOwn, own.Ticket),
	} {
		if got.GetConnected().GetUser() != strings.TrimSpace(want) {
			t.Fatalf("%s: %v", want, got)
		}
	}
	clients := []*parleytest.Client{byMessage, byHeader, byTicket, byOwn}
	for _, c := range clients {
		c.Subscribe("public/#")
	}
	if status, _, body := r.do("POST", "/api/v1/publish", `{"topic":"public/a","type":"hello","payload":{"n":7}}`, "Authorization", key); status != 200 {
		t.Fatal(status, body)
	}
	for _, c := range clients {
		if m := c.Expect("hello"); string(m.GetPayload()) != `{"n":7}` || m.GetFrom() != "" {
			t.Errorf("%v", m)
		}
	}
	_, _, metrics := r.do("GET", "/metrics", "")
	for _, want := range []string{"\nparley_messages_published_total 1\n", "\nparley_connections 4\n", "\nparley_messages_delivered_total 4\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	// A user's token serves REST too, within the rules.
	if status, _, body := r.do("POST", "/api/v1/publish", `{"topic":"admin/a"}`, "Authorization", "Bearer "+bearer); status != 403 ||
		!strings.Contains(body, "role member may not publish on admin/a") {
		t.Error(status, body)
	}
	// A ticket is used once.
	if got := connect(r.open(), ticket.Ticket); got.GetError() == nil {
		t.Errorf("second use: %v", got)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg.JWT.PublicKey, cfg.JWT.Audience = writePublicKey(t, public), "chat"
	r := start(t, cfg)
	sign := func(key *jwt.Key, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.Sign(auth.Identity{User: "eve", Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := connect(r.open(), sign(jwt.EdDSASigner(private, jwt.Config{Audience: "chat"}))); got.GetConnected().GetUser() != "eve" {
		t.Errorf("a token of the configured key: %v", got)
	}
	tests := map[string]string{
		"expired":           annsToken(t, cfg.Data, time.Nanosecond),
		"forged":            sign(jwt.HS256(bytes.Repeat([]byte("x"), 32), jwt.Config{})),
		"the public key":    sign(jwt.HS256(public, jwt.Config{Audience: "chat"})),
		"another audience":  sign(jwt.EdDSASigner(private, jwt.Config{Audience: "shop"})),
		"no token":          "hello",
		"missing":           "",
		"ticket of nowhere": "pt1.a.b.c",
	}
	for name, text := range tests {
		c := r.open()
		got := connect(c, text)
		if got.GetError().GetNumber() != 401 || got.GetError().GetMessage() == "" {
			t.Errorf("%s: %v", name, got)
		}
		if text == "" || text == "hello" {
			continue // the header takes tokens only
		}
		if status, _, body := r.do("GET", "/api/v1/history?topic=public/a", "", "Authorization", "Bearer "+text); status != 401 {
			t.Errorf("%s over REST: %d %s", name, status, body)
		}
	}
}

func writePublicKey(t *testing.T, public ed25519.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Origins = []string{"https://*.friend.example"}
	r := start(t, cfg)
	good := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	tests := []struct {
		name   string
		change map[string]string
		status int
		want   string
	}{
		{"not a WebSocket", map[string]string{"Upgrade": ""}, 400, "WebSocket"},
		{"wrong version", map[string]string{"Sec-WebSocket-Version": "8"}, 426, "13"},
		{"foreign origin", map[string]string{"Origin": "https://evil.example"}, 403, "https://evil.example"},
		{"forwarded host of a stranger", map[string]string{"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "1.2.3.4"}, 403, "https://evil.example"},
		{"forged token", map[string]string{"Authorization": "Bearer a.b.c"}, 401, ""},
	}
	for _, tt := range tests {
		var header []string
		for k, v := range good {
			if _, changed := tt.change[k]; !changed {
				header = append(header, k, v)
			}
		}
		for k, v := range tt.change {
			if v != "" {
				header = append(header, k, v)
			}
		}
		status, _, body := r.do("GET", "/ws", "", header...)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
		if tt.status == 403 && !strings.Contains(body, strings.TrimPrefix(r.URL, "http")) {
			t.Errorf("%s: the refusal names only one of the two: %s", tt.name, body)
		}
	}
	if got := connect(r.open("Origin", "https://app.friend.example"), annsToken(t, cfg.Data, time.Hour)); got.GetConnected() == nil {
		t.Errorf("a friend's page: %v", got)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Community = true
	r := start(t, cfg)
	for _, path := range []string{"/healthz", "/readyz"} {
		status, _, body := r.do("GET", path, "")
		var h struct {
			Status     string `json:"status"`
			Node       string `json:"node"`
			Components []struct {
				Name string `json:"name"`
				OK   bool   `json:"ok"`
			} `json:"components"`
		}
		if err := json.Unmarshal([]byte(body), &h); err != nil || status != 200 || h.Status != "ok" || h.Node != "n1" {
			t.Fatalf("%s: %d %s, %v", path, status, body, err)
		}
		var names []string
		for _, c := range h.Components {
			names = append(names, c.Name)
		}
		if strings.Join(names, " ") != "connections broker database" {
			t.Errorf("%s names %v", path, names)
		}
	}
	for path, want := range map[string]string{
		"/metrics": "parley_build_info", "/sdk/parley.js": "export", "/api/v1/openapi.json": `"openapi": "3.1.0"`, "/api/v1/docs": "POST /api/v1/publish", "/": "<!doctype html>",
	} {
		if status, _, body := r.do("GET", path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %s", path, status, want)
		}
	}
	if status, _, _ := r.do("GET", "/nothing/there", ""); status != 404 {
		t.Errorf("an unknown page: %d", status)
	}
	// Ids are made here: one that came along would let strangers write into the log.
	_, h, _ := r.do("GET", "/readyz", "", "X-Request-ID", "mine")
	if id := h.Get("X-Request-ID"); id == "" || id == "mine" {
		t.Errorf("request id %q", id)
	}
}

// The password is shown once, at the first start, and never logged.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Community = true
	r := start(t, cfg)
	r.do("GET", "/readyz", "") // the banner is out before the first answer
	found := regexp.MustCompile(`admin  with password  (\S+)`).FindStringSubmatch(r.out.String())
	if found == nil || !strings.Contains(r.out.String(), r.URL) {
		t.Fatalf("%s", r.out.String())
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.log.String(), found[1]) {
		t.Error("the password is in the log")
	}
	again := start(t, cfg)
	again.do("GET", "/readyz", "")
	if strings.Contains(again.out.String(), "password") {
		t.Errorf("a second start: %s", again.out.String())
	}
}

func TestSecondProcessIsTold(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	start(t, cfg)
	_, err := server.Open(t.Context(), cfg, server.Options{})
	if err == nil || !strings.Contains(err.Error(), "is used by process") {
		t.Errorf("%v", err)
	}
}

func TestOpenGivesEverythingBack(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	r := start(t, settings(t))
	tests := map[string]func(*config.Config){
		"cannot listen":   func(c *config.Config) { c.Addr = strings.TrimPrefix(r.URL, "http://") },
		"planned":         func(c *config.Config) { c.Broker = "nats://localhost" },
		"no engine":       func(c *config.Config) { c.Broker = "carrier-pigeon:" },
		"no PEM":          func(c *config.Config) { c.JWT.PublicKey = os.Args[0] },
		"damaged":         func(c *config.Config) { damage(t, c.Data) },
		"the data folder": func(c *config.Config) { c.Data = filepath.Join(os.Args[0], "x") },
	}
	for want, change := range tests {
		bad := cfg
		bad.Data = filepath.Join(t.TempDir(), "data")
		change(&bad)
		if _, err := server.Open(t.Context(), bad, server.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if want == "the data folder" || want == "damaged" {
			continue
		}
		bad.Addr, bad.Broker, bad.JWT = cfg.Addr, cfg.Broker, cfg.JWT
		if err := start(t, bad).end(); err != nil { // the folder is free again
			t.Error(err)
		}
	}
}

func damage(t *testing.T, data string) {
	t.Helper()
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := dir.Secret("token"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.File("keys/token.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

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
