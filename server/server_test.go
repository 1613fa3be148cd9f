package server_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/jwt"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
)

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
	for _, want := range []string{
		"\nparley_messages_published_total 1\n", "\nparley_connections 4\n", "\nparley_messages_delivered_total 4\n",
		`parley_http_request_duration_seconds_count{code="101",route="/ws"} 4`,
	} {
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

// Whoever opens connections faster than is allowed is told when to come back.
func TestTooManyHandshakes(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Limits.AcceptRatePerAddress = 1
	r := start(t, cfg)
	for range 30 {
		status, header, body := r.do("GET", "/ws", "")
		if status != http.StatusTooManyRequests {
			continue
		}
		if after, err := strconv.Atoi(header.Get("Retry-After")); err != nil || after < 1 || !strings.Contains(body, "rate_limited") {
			t.Errorf("Retry-After %q: %s", header.Get("Retry-After"), body)
		}
		return
	}
	t.Error("nothing was refused")
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

// What stands in the file is what holds: rules, topics, limits, and visitors.
func TestConfiguredRulesTopicsAndLimits(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Anonymous = true
	cfg.Limits.Subscriptions, cfg.Limits.MessageBytes = 1, 2048
	cfg.Topics = []config.Topic{{Pattern: "news/#", History: 2, NoPresence: true}}
	cfg.Rules = []config.Rule{
		{Roles: []string{"*"}, Actions: []string{"subscribe", "history"}, Pattern: "news/#"},
		{Roles: []string{"member"}, Actions: []string{"publish"}, Pattern: "news/#"},
	}
	r := start(t, cfg)
	visitor := r.open()
	if got := connect(visitor, ""); got.GetConnected() == nil || got.GetConnected().GetUser() != "" {
		t.Fatal(got)
	}
	visitor.Subscribe("news/today")
	again := visitor.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "news/sport"}}})
	if again.GetError().GetCode() != "limit_reached" {
		t.Errorf("a second subscription: %v", again)
	}
	said := visitor.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: "news/today"}}})
	if said.GetError().GetNumber() != http.StatusForbidden {
		t.Errorf("a visitor publishes: %v", said)
	}
	member := "Bearer " + annsToken(t, cfg.Data, time.Hour)
	for range 3 {
		if status, _, body := r.do("POST", "/api/v1/publish", `{"topic":"news/today","type":"n"}`, "Authorization", member); status != http.StatusOK {
			t.Fatal(status, body)
		}
		visitor.Expect("n")
	}
	large := `{"topic":"news/today","payload":"` + strings.Repeat("x", 2048) + `"}`
	if status, _, body := r.do("POST", "/api/v1/publish", large, "Authorization", member); status != http.StatusRequestEntityTooLarge {
		t.Error(status, body)
	}
	key := "Bearer " + apiKey
	if _, _, body := r.do("GET", "/api/v1/history?topic=news/today&after_seq=0", "", "Authorization", key); strings.Count(body, `"id"`) != 2 {
		t.Errorf("two of three are kept: %s", body)
	}
	if status, _, body := r.do("GET", "/api/v1/presence?topic=news/today", "", "Authorization", key); status != http.StatusNotFound {
		t.Error(status, body)
	}
}
