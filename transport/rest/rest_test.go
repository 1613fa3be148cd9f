package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "a-key-of-the-backend"

// bench is a door in front of real topics, with a log that tests may read.
type bench struct {
	t      testing.TB
	api    *API
	topics *pubsub.Service
	node   *node
	log    *bytes.Buffer
}

// node stands in for the process: no connection is needed to ask about one.
type node struct {
	disconnected map[string]string
	err          error
}

func (n *node) Disconnect(_ context.Context, user, reason string) (int, error) {
	n.disconnected[user] = reason
	return 2, n.err
}

func (n *node) Ticket(id auth.Identity) (string, time.Duration, error) {
	return "pt1." + id.User + "." + strings.Join(id.Roles, "+"), 30 * time.Second, n.err
}

func (*node) Handled(typ string) bool { return typ == "order.pay" }

func (n *node) Info() Info { return Info{Version: "test", Node: "n1", Connections: 3} }

type nobodyDirect struct{}

func (nobodyDirect) DeliverDirect(topic.Name, *hub.Delivery) int { return 0 }

// names lets anybody in who says their name: "token.of.ann" is ann.
func names(_ context.Context, token string) (auth.Identity, error) {
	switch user, ok := strings.CutPrefix(token, "token.of."); {
	case ok && user == "late":
		return auth.Identity{}, &auth.Error{Code: auth.CodeTokenExpired, Message: "the token expired"}
	case ok && user == "outage":
		return auth.Identity{}, errors.New("the key server is away")
	case ok:
		return auth.Identity{User: user, Roles: []string{"member"}}, nil
	}
	return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "the token is not a token"}
}

func openBench(tb testing.TB, change func(*Config)) *bench {
	tb.Helper()
	rules, err := auth.NewRules(auth.DefaultRules()...)
	if err != nil {
		tb.Fatal(err)
	}
	engine := localbroker.New(localbroker.Limits{})
	topics, err := pubsub.New(pubsub.Config{Broker: engine, Authorizer: rules})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := topics.Start(ctx, nobodyDirect{}); err != nil {
		tb.Fatal(err)
	}
	b := &bench{t: tb, topics: topics, node: &node{disconnected: map[string]string{}}, log: &bytes.Buffer{}}
	cfg := Config{Keys: []string{"other", key}, Verifier: auth.VerifierFunc(names), Log: slog.New(slog.NewTextHandler(b.log, nil))}
	if change != nil {
		change(&cfg)
	}
	if b.api, err = New(cfg, topics, b.node); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cancel()
		topics.Wait()
		if err := engine.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// ask sends one request with a bearer and returns the answer.
func (b *bench) ask(bearer, method, path, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, Prefix+path, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	return w
}

// read decodes an answer that must have the given status.
func (b *bench) read(w *httptest.ResponseRecorder, status int, into any) {
	b.t.Helper()
	if w.Code != status {
		b.t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		b.t.Fatalf("%v in %s", err, w.Body)
	}
}

func TestPublishThenHistory(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	w := b.ask(key, "POST", "/publish", `{"topic":"public/a","type":"t","key":"k1","payload":{"n":1}}`)
	var first, again publishedBody
	b.read(w, 200, &first)
	want := `{"position":{"epoch":"` + first.Position.Epoch + `","seq":1},"duplicate":false}` + "\n"
	if w.Body.String() != want {
		t.Errorf("answer %s, want %s", w.Body, want)
	}
	b.read(b.ask(key, "POST", "/publish", `{"topic":"public/a","type":"t","key":"k1","payload":{"n":1}}`), 200, &again)
	if !again.Duplicate || again.Position != first.Position {
		t.Errorf("a repeat got %+v, want the position of %+v", again, first)
	}
	b.read(b.ask("token.of.ann", "POST", "/publish", `{"topic":"public/a","data":"aGk=","headers":{"h":"v"}}`), 200, &again)

	var page historyBody
	b.read(b.ask(key, "GET", "/history?topic=public/a&after_seq=0", ""), 200, &page)
	if len(page.Messages) != 2 || page.More || page.Gap || page.Position.Seq != 2 {
		t.Fatalf("%+v", page)
	}
	var m struct {
		Seq     uint64            `json:"seq"`
		From    string            `json:"from"`
		Payload map[string]int    `json:"payload"`
		Data    []byte            `json:"data"`
		Headers map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(page.Messages[0], &m); err != nil || m.Seq != 1 || m.From != "" || m.Payload["n"] != 1 {
		t.Errorf("%s: %v", page.Messages[0], err)
	}
	if err := json.Unmarshal(page.Messages[1], &m); err != nil || m.From != "ann" || string(m.Data) != "hi" || m.Headers["h"] != "v" {
		t.Errorf("%s: %v", page.Messages[1], err)
	}
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	var in []string
	for range 9 {
		in = append(in, `{"topic":"public/a","payload":1}`)
	}
	b.read(b.ask(key, "POST", "/batch", `{"messages":[`+strings.Join(in, ",")+`]}`), 200, &struct{}{})
	tests := []struct {
		query string
		want  string
		more  bool
	}{
		{"", "123456789", false},
		{"&limit=3", "789", true},
		{"&before_seq=7&limit=3", "456", true},
		{"&after_seq=0&limit=3", "123", true},
		{"&after_seq=3&before_seq=6", "45", false},
		{"&after_seq=9", "", false},
	}
	for _, tt := range tests {
		var page struct {
			Messages []struct{ Seq uint64 }
			More     bool
		}
		b.read(b.ask(key, "GET", "/history?topic=public/a"+tt.query, ""), 200, &page)
		var got strings.Builder
		for _, m := range page.Messages {
			got.WriteRune(rune('0' + m.Seq))
		}
		if got.String() != tt.want || page.More != tt.more {
			t.Errorf("%q: %q more %v, want %q more %v", tt.query, got.String(), page.More, tt.want, tt.more)
		}
	}
}

func TestBatchHasAResultForEach(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	var out struct {
		Results []struct {
			Position message.Position
			Error    *problem
		}
	}
	b.read(b.ask("token.of.ann", "POST", "/batch", `{"messages":[
		{"topic":"public/a","payload":1},
		{"topic":"public/#","payload":2},
		7,
		{"topic":"admin/x","payload":3},
		{"topic":"public/a","payload":4}]}`), 200, &out)
	got := make([]string, 0, 5)
	for _, r := range out.Results {
		if r.Error != nil {
			got = append(got, r.Error.Code)
		} else {
			got = append(got, string(rune('0'+r.Position.Seq)))
		}
	}
	if want := "1 bad_request bad_request forbidden 2"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	if e := out.Results[3].Error; e.Message != "role member may not publish on admin/x" || e.Number != 403 {
		t.Errorf("%+v", e)
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	var out presenceBody
	w := b.ask("token.of.ann", "GET", "/presence?topic=public/a", "")
	b.read(w, 200, &out)
	if out.Members == nil || len(out.Members) != 0 {
		t.Errorf("an empty room is an empty list: %s", w.Body)
	}
}

func TestManage(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	var gone map[string]int
	b.read(b.ask(key, "POST", "/disconnect", `{"user":"ann"}`), 200, &gone)
	if gone["disconnected"] != 2 || b.node.disconnected["ann"] == "" {
		t.Errorf("%v, %v", gone, b.node.disconnected)
	}
	var ticket struct{ Ticket string }
	b.read(b.ask(key, "POST", "/ticket", `{"user":"bob","roles":["mod"]}`), 200, &ticket)
	if ticket.Ticket != "pt1.bob.mod" {
		t.Errorf("for the user the backend names: %q", ticket.Ticket)
	}
	b.read(b.ask("token.of.ann", "POST", "/ticket", `{"user":"bob","roles":["admin"]}`), 200, &ticket)
	if ticket.Ticket != "pt1.ann.member" {
		t.Errorf("a user gets a ticket for nobody else: %q", ticket.Ticket)
	}
	var info Info
	b.read(b.ask(key, "GET", "/info", ""), 200, &info)
	if info.Node != "n1" {
		t.Errorf("%+v", info)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	big := strings.Repeat("x", 70<<10)
	tests := []struct {
		name, bearer, method, path, body string
		status                           int
		code, message                    string
	}{
		{"nobody", "", "POST", "/publish", `{}`, 401, "unauthorized", "PARLEY_API_KEY"},
		{"wrong key", "a-key-of-the-backen", "POST", "/publish", `{}`, 401, "unauthorized", "not the API key"},
		{"expired token", "token.of.late", "GET", "/history?topic=a", "", 401, "token_expired", "expired"},
		{"forged token", "a.b.c", "GET", "/history?topic=a", "", 401, "unauthorized", "not a token"},
		{"token nobody can judge", "token.of.outage", "GET", "/history?topic=a", "", 500, "internal", "try again later"},
		{"not allowed to publish", "token.of.ann", "POST", "/publish", `{"topic":"admin/x"}`, 403, "forbidden", "role member may not publish on admin/x"},
		{"not allowed to read", "token.of.ann", "GET", "/history?topic=user/bob/x", "", 403, "forbidden", "may not read history"},
		{"not allowed to look", "token.of.ann", "GET", "/presence?topic=user/bob/x", "", 403, "forbidden", "may not see presence"},
		{"in another's name", "token.of.ann", "POST", "/publish", `{"topic":"public/a","from":"bob"}`, 403, "forbidden", "you publish as ann"},
		{"past a handler", "token.of.ann", "POST", "/publish", `{"topic":"public/a","type":"order.pay"}`, 403, "forbidden", "over a connection"},
		{"to the server's topics", "token.of.ann", "POST", "/publish", `{"topic":"$user/bob"}`, 403, "forbidden", "belong to the server"},
		{"too many headers", key, "POST", "/publish", `{"topic":"a","headers":{` + manyHeaders() + `}}`, 400, "bad_request", "at most 32"},
		{"endless from", key, "POST", "/publish", `{"topic":"a","from":"` + strings.Repeat("u", 256) + `"}`, 400, "bad_request", "at most 255"},
		{"endless user", key, "POST", "/ticket", `{"user":"` + strings.Repeat("u", 256) + `"}`, 400, "bad_request", "at most 255"},
		{"endless roles", key, "POST", "/ticket", `{"user":"u","roles":["` + big + `"]}`, 413, "too_large", "larger than 4096"},
		{"user disconnects", "token.of.ann", "POST", "/disconnect", `{"user":"bob"}`, 403, "forbidden", "API key"},
		{"user asks for info", "token.of.ann", "GET", "/info", "", 403, "forbidden", "API key"},
		{"no body", key, "POST", "/publish", ``, 400, "bad_request", "empty"},
		{"no JSON", key, "POST", "/publish", `topic=a`, 400, "bad_request", "not JSON"},
		{"half a JSON", key, "POST", "/publish", `{"topic":`, 400, "bad_request", "ends in the middle"},
		{"two JSONs", key, "POST", "/publish", `{"topic":"a"}{}`, 400, "bad_request", "more than one"},
		{"list", key, "POST", "/publish", `[]`, 400, "bad_request", "send an object"},
		{"wrong type", key, "POST", "/publish", `{"topic":7}`, 400, "bad_request", "field topic cannot be a JSON number"},
		{"no topic", key, "POST", "/publish", `{}`, 400, "bad_request", "topic is empty"},
		{"wildcard", key, "POST", "/publish", `{"topic":"a/+"}`, 400, "bad_request", "wildcard"},
		{"topic too long", key, "POST", "/publish", `{"topic":"` + strings.Repeat("a", 513) + `"}`, 400, "bad_request", "too long"},
		{"payload and data", key, "POST", "/publish", `{"topic":"a","payload":1,"data":""}`, 400, "bad_request", "not both"},
		{"payload too large", key, "POST", "/publish", `{"topic":"a","payload":"` + big + `"}`, 413, "too_large", "at most 65536"},
		{"body too large", key, "POST", "/publish", `{"topic":"` + big + big + big + `"}`, 413, "too_large", "larger than"},
		{"expires far away", key, "POST", "/publish", `{"topic":"a","expires_in_ms":99999999999999}`, 400, "bad_request", "year"},
		{"key too long", key, "POST", "/publish", `{"topic":"a","key":"` + strings.Repeat("k", 300) + `"}`, 400, "bad_request", "key"},
		{"empty batch", key, "POST", "/batch", `{"messages":[]}`, 400, "bad_request", "empty"},
		{"long batch", key, "POST", "/batch", `{"messages":[0` + strings.Repeat(",0", 1000) + `]}`, 413, "too_large", "at most 1000"},
		{"history without topic", key, "GET", "/history", "", 400, "bad_request", "topic is empty"},
		{"history of a filter", key, "GET", "/history?topic=%23", "", 400, "bad_request", "wildcard"},
		{"history after text", key, "GET", "/history?topic=a&after_seq=x", "", 400, "bad_request", "after_seq"},
		{"history before a negative", key, "GET", "/history?topic=a&before_seq=-1", "", 400, "bad_request", "before_seq"},
		{"history of too much", key, "GET", "/history?topic=a&limit=1001", "", 400, "bad_request", "1 to 1000"},
		{"disconnect nobody", key, "POST", "/disconnect", `{}`, 400, "bad_request", "name the user"},
		{"endless reason", key, "POST", "/disconnect", `{"user":"a","reason":"` + strings.Repeat("r", 121) + `"}`, 400, "bad_request", "at most 120"},
		{"ticket for nobody", key, "POST", "/ticket", `{}`, 400, "bad_request", "name the user"},
		{"wrong method", key, "GET", "/publish", "", 405, "method_not_allowed", "asked with POST"},
		{"unknown path", key, "GET", "/nothing", "", 404, "not_found", "/api/v1/docs"},
	}
	for _, tt := range tests {
		var out refusalBody
		w := b.ask(tt.bearer, tt.method, tt.path, tt.body)
		b.read(w, tt.status, &out)
		e := out.Error
		if e.Code != tt.code || e.Number != tt.status || !strings.Contains(e.Message, tt.message) || e.Retry == "" || e.RequestID == "" {
			t.Errorf("%s: %+v, want code %s, message with %q", tt.name, e, tt.code, tt.message)
		}
		if tt.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", tt.name)
		}
	}
	if !strings.Contains(b.log.String(), "key server is away") || strings.Contains(b.log.String(), key) {
		t.Errorf("the operator's log: %s", b.log)
	}
}

func manyHeaders() string {
	var all []string
	for i := range 33 {
		all = append(all, fmt.Sprintf(`"h%d":""`, i))
	}
	return strings.Join(all, ",")
}

// The backend stands above handlers: it may send what they would send.
func TestBackendPublishesHandledTypes(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	var out publishedBody
	b.read(b.ask(key, "POST", "/publish", `{"topic":"public/a","type":"order.pay","from":"ann"}`), 200, &out)
}

func TestNoKeyIsSet(t *testing.T) {
	t.Parallel()
	for name, verifier := range map[string]auth.Verifier{"users only": auth.VerifierFunc(names), "nobody": nil} {
		b := openBench(t, func(c *Config) { c.Keys, c.Verifier = nil, verifier })
		for _, bearer := range []string{"", "k"} {
			var out refusalBody
			b.read(b.ask(bearer, "POST", "/publish", `{}`), 401, &out)
			if !strings.Contains(out.Error.Message, "PARLEY_API_KEY") {
				t.Errorf("%s, bearer %q: %q does not say what to set", name, bearer, out.Error.Message)
			}
		}
	}
	for _, bad := range []string{"", " ", "key\n"} {
		if _, err := New(Config{Keys: []string{bad}}, &pubsub.Service{}, &node{}); err == nil {
			t.Errorf("the key %q was accepted", bad)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	for given, kept := range map[string]bool{"abc-1.2_3": true, "": false, "two words": false, "a\x00b": false, strings.Repeat("a", 65): false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"/history", http.NoBody)
		r.Header["X-Request-Id"] = []string{given}
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		got := w.Header().Get("X-Request-ID")
		if (got == given) != kept || got == "" || !strings.Contains(w.Body.String(), `"request_id":"`+got+`"`) {
			t.Errorf("given %q, answered %q in %s", given, got, w.Body)
		}
	}
}

// A node that is busy says when to come back, in the header too.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	b.node.err = protocol.Overloaded.Errorf("busy").After(1200 * time.Millisecond)
	w := b.ask(key, "POST", "/disconnect", `{"user":"ann"}`)
	if w.Code != 503 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), `"retry_after_ms":1200`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// What goes wrong inside is in the log with the id the client was told, and
// nowhere else.
func TestInternalErrorsStayInside(t *testing.T) {
	t.Parallel()
	b := openBench(t, nil)
	b.node.err = errors.New("disk on fire")
	var out refusalBody
	b.read(b.ask(key, "POST", "/disconnect", `{"user":"ann"}`), 500, &out)
	if strings.Contains(out.Error.Message, "fire") {
		t.Errorf("told: %q", out.Error.Message)
	}
	if log := b.log.String(); !strings.Contains(log, "disk on fire") || !strings.Contains(log, out.Error.RequestID) {
		t.Errorf("logged: %s", log)
	}
}

func FuzzPublishBody(f *testing.F) {
	f.Add(`{"topic":"public/a","payload":{"n":1}}`)
	f.Add(`{"topic":"a","data":"aGk=","headers":{"a":"b"},"expires_in_ms":1}`)
	f.Add(`[[[`)
	rules, err := auth.NewRules()
	if err != nil {
		f.Fatal(err)
	}
	topics, err := pubsub.New(pubsub.Config{Broker: localbroker.New(localbroker.Limits{}), Authorizer: rules})
	if err != nil {
		f.Fatal(err)
	}
	api, err := New(Config{Keys: []string{key}, Log: slog.New(slog.DiscardHandler)}, topics, &node{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var o outgoing
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		if decode(r, &o) != nil {
			return
		}
		m, err := api.message(o, caller{backend: true})
		if err != nil {
			return
		}
		if _, err := wire(m); err != nil {
			t.Fatal(err)
		}
	})
}
