// Package rest is the door for programs that want to publish and ask without
// holding a connection: HTTP with JSON under /api/v1.
//
// Every answer is JSON. Every refusal has one shape, with the code, number and
// advice of the native protocol and the id of the request:
//
//	{"error":{"code":"forbidden","number":403,"message":"…","retry":"never","retry_after_ms":0,"request_id":"…"}}
//
// What can be asked is described by an OpenAPI document that the door itself
// serves at /api/v1/openapi.json.
package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/presence"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

// Prefix is where the routes begin unless Config says otherwise.
const Prefix = "/api/v1"

// Topics is what the door asks of topics; *pubsub.Service is one. Errors are
// those of package protocol, fit for the client.
type Topics interface {
	Authorize(ctx context.Context, who auth.Identity, action auth.Action, f topic.Filter) error
	Publish(p pubsub.Publication, done func(broker.Result, error))
	History(ctx context.Context, name topic.Name, q broker.Query) (broker.Page, error)
	Presence(name topic.Name) ([]presence.Member, error)
}

// Node is what the door asks of the process it stands in.
type Node interface {
	// Disconnect ends every connection of user and returns how many there
	// were. The reason is shown to them.
	Disconnect(ctx context.Context, user, reason string) (int, error)
	// Ticket returns a one-use ticket with which id opens a connection, and
	// how long it lives.
	Ticket(id auth.Identity) (string, time.Duration, error)
	// Handled reports whether the application has a handler for messages of a
	// type, which then decides what becomes of them.
	Handled(typ string) bool
	// Info describes the process at this moment.
	Info() Info
}

// Info is the answer to GET /info.
type Info struct {
	Version     string `json:"version"`
	Node        string `json:"node"`
	UptimeMS    int64  `json:"uptime_ms"`
	Connections int    `json:"connections"`
	Users       int    `json:"users"`
	Topics      int    `json:"topics"`
	Published   uint64 `json:"published"`
	Delivered   uint64 `json:"delivered"`
	Draining    bool   `json:"draining"`
}

// Config says who may come in and how much they may bring. The zero value
// refuses everybody.
type Config struct {
	// Keys are the API keys. Whoever holds one may do everything, in the name
	// of anybody: they are for an application's own backend.
	Keys []string
	// KeyHint is where an operator sets the key; refusals name it.
	KeyHint string
	// Verifier, when set, lets signed-in users in with their bearer token, to do
	// what they may do on a connection.
	Verifier auth.Verifier
	// Prefix is the path under which the handler is mounted; "" means Prefix.
	Prefix string
	// MaxPayload bounds one message's payload in bytes: 64 KiB when 0.
	MaxPayload int
	// MaxBatch bounds the messages of one batch: 1,000 when 0.
	MaxBatch int
	// Timeout bounds the work of one request: 10 s when 0.
	Timeout time.Duration
	// Log receives what a client must not be told; nil means slog.Default.
	Log *slog.Logger
}

// API is the door. It is an http.Handler, safe for concurrent use.
type API struct {
	cfg    Config
	topics Topics
	node   Node
	keys   [][32]byte
	mux    *http.ServeMux
	log    *slog.Logger
}

// New returns the door for mounting at Config.Prefix. It fails on a key that
// would let everybody in.
func New(cfg Config, topics Topics, node Node) (*API, error) {
	cfg.KeyHint = cmp.Or(cfg.KeyHint, "PARLEY_API_KEY")
	cfg.Prefix = strings.TrimSuffix(cmp.Or(cfg.Prefix, Prefix), "/")
	cfg.MaxPayload = cmp.Or(cfg.MaxPayload, 64<<10)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 1000)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	if topics == nil || node == nil {
		return nil, errors.New("rest: topics and node are required")
	}
	a := &API{cfg: cfg, topics: topics, node: node, mux: http.NewServeMux(), log: cmp.Or(cfg.Log, slog.Default())}
	for i, key := range cfg.Keys {
		if strings.TrimSpace(key) != key || key == "" {
			return nil, fmt.Errorf("rest: API key %d is empty or has spaces around it: set %s to a long random text", i+1, cfg.KeyHint)
		}
		a.keys = append(a.keys, digest(key))
	}
	for _, r := range a.routes() {
		a.mux.HandleFunc(r.method+" "+cfg.Prefix+r.path, a.serve(r))
	}
	a.mux.HandleFunc("/", a.unknown)
	return a, nil
}

// route is one line of the table that the mux, the OpenAPI test and the answer
// to a wrong method are made from.
type route struct {
	method, path string
	open         bool // needs no credentials
	limit        int  // bytes of body
	do           func(w http.ResponseWriter, r *http.Request, who caller) error
}

func (a *API) routes() []route {
	one := 2*a.cfg.MaxPayload + 16<<10 // room for base64, escapes and headers
	many := max(one, 4<<20)
	return []route{
		{method: http.MethodPost, path: "/publish", limit: one, do: a.publish},
		{method: http.MethodPost, path: "/batch", limit: many, do: a.batch},
		{method: http.MethodGet, path: "/history", do: a.history},
		{method: http.MethodGet, path: "/presence", do: a.presence},
		{method: http.MethodPost, path: "/disconnect", limit: one, do: a.disconnect},
		{method: http.MethodPost, path: "/ticket", limit: maxTicketBody, do: a.ticket},
		{method: http.MethodGet, path: "/info", do: a.info},
		{method: http.MethodGet, path: "/openapi.json", open: true, do: a.openAPI},
		{method: http.MethodGet, path: "/docs", open: true, do: a.docs},
	}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header().Set("X-Request-ID", id)
	// What a user may read is for that user alone, on the way there too.
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	ctx, cancel := context.WithTimeout(withRequestID(r.Context(), id), a.cfg.Timeout)
	defer cancel()
	a.mux.ServeHTTP(w, r.WithContext(ctx))
}

// serve wraps the work of a route in what all of them share.
func (a *API) serve(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var who caller
		if !rt.open {
			var err error
			if who, err = a.authenticate(r); err != nil {
				a.refuse(w, r, err)
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, int64(rt.limit))
		if err := rt.do(w, r, who); err != nil {
			a.refuse(w, r, err)
		}
	}
}
