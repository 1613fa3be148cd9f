// Package events tells an application, in their order and beside everything
// else, when clients come and go.
package events

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// maxEvents bounds the lifecycle events that wait for the application.
const maxEvents = 16_384

// Event tells that a client has connected or disconnected.
type Event struct {
	User, Session, Node string
	Connected           bool
	Reason              string // of a disconnect
	At                  time.Time
}

// Queue hands lifecycle events to the application in their order, off the
// connections' path. When the application cannot keep up they are dropped,
// counted and logged.
type Queue struct {
	log     *slog.Logger
	queue   chan *Event
	dropped atomic.Uint64

	mu    sync.RWMutex
	hooks []func(Event)
}

// New returns a Queue. Run must be called.
func New(log *slog.Logger) *Queue {
	return &Queue{log: log, queue: make(chan *Event, maxEvents)}
}

// Add adds a hook that is called with every event, one at a time.
func (e *Queue) Add(f func(Event)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hooks = append(e.hooks, f)
}

// Dropped returns how many events were dropped.
func (e *Queue) Dropped() uint64 { return e.dropped.Load() }

// Emit queues an event, if anybody wants to know.
func (e *Queue) Emit(ev Event) {
	e.mu.RLock()
	wanted := len(e.hooks) > 0
	e.mu.RUnlock()
	if !wanted {
		return
	}
	select {
	case e.queue <- &ev:
	default:
		if n := e.dropped.Add(1); n&(n-1) == 0 { // log at 1, 2, 4, 8 …
			e.log.Warn("the application is too slow for its connect and disconnect hooks: events dropped", "total", n)
		}
	}
}

// Run calls the hooks until ctx ends, and then for what has happened before.
func (e *Queue) Run(ctx context.Context) {
	for {
		select {
		case ev := <-e.queue:
			e.call(*ev)
		case <-ctx.Done():
			for { // what happened before the end is still told
				select {
				case ev := <-e.queue:
					e.call(*ev)
				default:
					return
				}
			}
		}
	}
}

func (e *Queue) call(ev Event) {
	e.mu.RLock()
	hooks := e.hooks
	e.mu.RUnlock()
	for _, f := range hooks {
		e.hook(f, ev)
	}
}

// hook calls f; when it panics, others are told all the same.
func (e *Queue) hook(f func(Event), ev Event) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a connect or disconnect hook panicked", "user", ev.User, "session", ev.Session, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	f(ev)
}
