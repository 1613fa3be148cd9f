// Package routing decides what happens to a request by its type: today, the
// handler in Go that was registered for it.
package routing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
)

// DefaultConcurrency is how many requests a node works on at once.
const DefaultConcurrency = 4096

// Request is one request of a client.
type Request struct {
	ID      string // for logs; unique
	Type    string
	Topic   string // where the client published it; empty for a call
	Payload []byte // JSON text, may be empty
	Headers map[string]string
	Who     auth.Identity
	Session string
	// Published is set by a handler that answers a publish with the position
	// of what it published instead.
	Published *message.Position
}

// Handler answers a request with JSON text. An error that is a
// *protocol.Error is told to the client as it stands; any other is logged and
// told as internal.
type Handler func(ctx context.Context, r *Request) ([]byte, error)

// Router is the table of handlers. Methods may be called concurrently.
type Router struct {
	log   *slog.Logger
	slots chan struct{}

	mu       sync.RWMutex
	handlers map[string]Handler
}

// New returns an empty router that works on at most concurrency requests at
// once; 0 means DefaultConcurrency.
func New(concurrency int, log *slog.Logger) *Router {
	return &Router{
		log: cmp.Or(log, slog.Default()), handlers: make(map[string]Handler),
		slots: make(chan struct{}, cmp.Or(concurrency, DefaultConcurrency)),
	}
}

// Handle registers h for a type.
func (r *Router) Handle(typ string, h Handler) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if typ == "" {
		return errors.New("a handler needs a message type, such as chat.send")
	}
	if _, taken := r.handlers[typ]; taken {
		return fmt.Errorf("the message type %q already has a handler", typ)
	}
	r.handlers[typ] = h
	return nil
}

// Handles reports whether a type has a handler.
func (r *Router) Handles(typ string) bool { return r.find(typ) != nil }

func (r *Router) find(typ string) Handler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.handlers[typ]
}

// Acquire takes a place for one request; it reports false when the node works
// on as many as it may. Release must follow.
func (r *Router) Acquire() bool {
	select {
	case r.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// Release gives the place back.
func (r *Router) Release() { <-r.slots }

// Busy returns how many requests are being worked on.
func (r *Router) Busy() int { return len(r.slots) }

// Dispatch runs the handler of q's type on the caller's goroutine. The error
// is nil or a *protocol.Error fit for the client.
func (r *Router) Dispatch(ctx context.Context, q *Request) (payload []byte, err error) {
	h := r.find(q.Type)
	if h == nil {
		r.log.InfoContext(ctx, "no handler for a message type", "type", q.Type, "user", q.Who.User, "request", q.ID)
		return nil, protocol.Unimplemented.Errorf("no handler for the message type %.64q", q.Type)
	}
	defer func() {
		if p := recover(); p != nil {
			r.log.ErrorContext(ctx, "a handler panicked", "type", q.Type, "request", q.ID, "user", q.Who.User, "panic", p, "stack", string(debug.Stack()))
			payload, err = nil, protocol.Internal.Errorf("the handler failed; the server's log has it under request %s", q.ID)
		}
	}()
	payload, err = h(ctx, q)
	if err == nil {
		return payload, nil
	}
	return nil, r.refusal(ctx, q, err)
}

func (r *Router) refusal(ctx context.Context, q *Request, err error) error {
	var known *protocol.Error
	var denied *auth.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &denied):
		return protocol.Forbidden.Hide(err, denied.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.Timeout.Hide(err, "the request took longer than it may")
	case errors.Is(err, context.Canceled):
		return protocol.Draining.Hide(err, "the server is shutting down: try again")
	}
	r.log.ErrorContext(ctx, "a handler failed", "type", q.Type, "request", q.ID, "user", q.Who.User, "error", err)
	return protocol.Internal.Hide(err, "the handler failed; the server's log has it under request "+q.ID)
}
