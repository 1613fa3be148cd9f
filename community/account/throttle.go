package account

import (
	"sync"
	"time"
)

// A limit allows so many tries within a window, then asks to wait until the window ends.
type limit struct {
	tries  int
	window time.Duration
}

// Limits of guessing. An address may stand for a whole school, so it gets more than a name.
var (
	failuresPerName    = limit{tries: 8, window: 5 * time.Minute}
	failuresPerAddress = limit{tries: 60, window: 5 * time.Minute}
	signUpsPerAddress  = limit{tries: 30, window: time.Hour}
)

// mostCounters bounds the memory of the throttle. When it is full the whole is forgotten: an
// attacker who fills it needs as many addresses as that.
const mostCounters = 100_000

// throttle counts tries by key, in this process. Safe for concurrent use.
type throttle struct {
	now func() time.Time

	mu       sync.Mutex
	counters map[string]counter
}

type counter struct {
	left  int
	until time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, counters: make(map[string]counter)}
}

// wait tells how long the key must wait; zero means it may try.
func (t *throttle) wait(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.counters[key]
	if !ok || c.left > 0 {
		return 0
	}
	return max(0, c.until.Sub(t.now()))
}

// take notes a try under every key, unless one of them must wait: then it notes none and tells
// how long.
func (t *throttle) take(l map[string]limit) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for key := range l {
		if c, ok := t.counters[key]; ok && c.left <= 0 && c.until.After(now) {
			return c.until.Sub(now)
		}
	}
	for key, limit := range l {
		t.note(key, limit, now)
	}
	return 0
}

// count notes a try.
func (t *throttle) count(key string, l limit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(key, l, t.now())
}

// note counts a try; the caller holds mu.
func (t *throttle) note(key string, l limit, now time.Time) {
	c, ok := t.counters[key]
	if !ok || now.After(c.until) {
		if !ok && len(t.counters) >= mostCounters {
			clear(t.counters)
		}
		c = counter{left: l.tries, until: now.Add(l.window)}
	}
	c.left--
	t.counters[key] = c
}

func (t *throttle) forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.counters, key)
}

// undo takes one try back. The others stay counted: who can sign in as themselves could otherwise
// go on guessing about everybody else.
func (t *throttle) undo(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.counters[key]; ok {
		c.left++
		t.counters[key] = c
	}
}
