package routing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/routing"
)

func TestDispatch(t *testing.T) {
	var log bytes.Buffer
	r := routing.New(0, slog.New(slog.NewTextHandler(&log, nil)))
	answers := map[string]routing.Handler{
		"echo": func(_ context.Context, q *routing.Request) ([]byte, error) { return q.Payload, nil },
		"told": func(context.Context, *routing.Request) ([]byte, error) { return nil, protocol.Conflict.Errorf("taken") },
		"wrapped": func(context.Context, *routing.Request) ([]byte, error) {
			return nil, fmt.Errorf("x: %w", protocol.NotFound.Errorf("gone"))
		},
		"denied": func(context.Context, *routing.Request) ([]byte, error) {
			return nil, &auth.Error{Code: auth.CodeForbidden, Message: "no", Cause: errors.New("secret")}
		},
		"late": func(context.Context, *routing.Request) ([]byte, error) {
			return nil, fmt.Errorf("db: %w", context.DeadlineExceeded)
		},
		"leaving": func(context.Context, *routing.Request) ([]byte, error) { return nil, context.Canceled },
		"broken":  func(context.Context, *routing.Request) ([]byte, error) { return nil, errors.New("secret-1") },
		"panics":  func(context.Context, *routing.Request) ([]byte, error) { panic("secret-2") },
		"panicked": func(_ context.Context, q *routing.Request) ([]byte, error) {
			return []byte{q.Payload[7]}, nil
		},
	}
	for typ, h := range answers {
		if err := r.Handle(typ, h); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ typ, code, message string }{
		{"told", "conflict", "taken"},
		{"wrapped", "not_found", "gone"},
		{"denied", "forbidden", "no"},
		{"late", "timeout", "longer"},
		{"leaving", "draining", "shutting down"},
		{"broken", "internal", "r-7"},
		{"panics", "internal", "r-7"},
		{"panicked", "internal", "r-7"},
		{"nobody", "unimplemented", `"nobody"`},
		{strings.Repeat("x", 1000), "unimplemented", "x"},
	} {
		payload, err := r.Dispatch(t.Context(), &routing.Request{ID: "r-7", Type: tc.typ, Who: auth.Identity{User: "ada"}})
		var told *protocol.Error
		if !errors.As(err, &told) || told.Code != tc.code || !strings.Contains(told.Message, tc.message) || strings.Contains(told.Message, "secret") || payload != nil || len(told.Message) > 200 {
			t.Errorf("%.20s: %q, %v", tc.typ, payload, err)
		}
	}
	if out, err := r.Dispatch(t.Context(), &routing.Request{Type: "echo", Payload: []byte("7")}); string(out) != "7" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	for _, part := range []string{"secret-1", "secret-2", "index out of range", "request=r-7", "user=ada", "router_test.go"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not have %s", part)
		}
	}
}

func TestHandle(t *testing.T) {
	r := routing.New(0, nil)
	h := func(context.Context, *routing.Request) ([]byte, error) { return nil, nil }
	if err := r.Handle("", h); err == nil {
		t.Error("a handler for no type")
	}
	if err := r.Handle("a", h); err != nil || !r.Handles("a") || r.Handles("b") {
		t.Errorf("%v", err)
	}
	if err := r.Handle("a", h); err == nil {
		t.Error("two handlers for one type")
	}
}

func TestPlacesAreBounded(t *testing.T) {
	r := routing.New(3, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 20 {
		wg.Go(func() {
			if r.Acquire() {
				mu.Lock()
				defer mu.Unlock()
				got++
			}
		})
	}
	wg.Wait()
	if got != 3 || r.Busy() != 3 || r.Acquire() {
		t.Errorf("%d places, %d busy", got, r.Busy())
	}
	r.Release()
	if !r.Acquire() {
		t.Error("a place that was given back is lost")
	}
}
