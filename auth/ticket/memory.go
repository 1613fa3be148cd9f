package ticket

import (
	"context"
	"errors"
	"sync"
	"time"
)

// DefaultRemembered is how many used tickets a Memory holds when not told
// otherwise: at a life of 30 s that is some 4,000 sign-ins a second.
const DefaultRemembered = 1 << 17

// errFull refuses rather than forgets: a forgotten ticket could be used again.
var errFull = errors.New("too many tickets were used within their lifetime: try again in a few seconds")

// Memory is a Spent of one process. It is bounded, and safe for concurrent use.
type Memory struct {
	limit int

	mu   sync.Mutex // guards what follows
	used map[string]time.Time
	next time.Time // when looking for expired entries may free something
}

// NewMemory makes a Memory for at most limit tickets at a time, or for
// DefaultRemembered when that is 0.
func NewMemory(limit int) *Memory {
	if limit <= 0 {
		limit = DefaultRemembered
	}
	return &Memory{limit: limit, used: make(map[string]time.Time)}
}

// Spend records id. When as many unexpired tickets as the limit are remembered
// it fails until some of them expire.
func (m *Memory) Spend(_ context.Context, id string, until time.Time) (bool, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, seen := m.used[id]; seen {
		return false, nil
	}
	if !now.Before(m.next) {
		m.sweep(now)
	}
	if len(m.used) >= m.limit {
		return false, errFull
	}
	m.used[id] = until
	return true, nil
}

// sweep forgets what expired. It runs at most once a second, so that its cost
// is spread over the calls in between.
func (m *Memory) sweep(now time.Time) {
	for id, until := range m.used {
		if !now.Before(until) {
			delete(m.used, id)
		}
	}
	m.next = now.Add(time.Second)
}
