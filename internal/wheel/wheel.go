// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987): setting,
// moving and stopping a timer costs the same whatever the number of timers,
// and a timer is memory inside its owner rather than an object of its own.
package wheel

import (
	"context"
	"sync"
	"time"
)

const slots = 512

// Timer is one deadline. Embed it; the zero Timer is stopped. A Timer must
// not be copied once it was set.
type Timer struct {
	fire       func(now time.Time)
	next, prev *Timer
	tick       int64 // absolute tick at which it is due
}

// Wheel runs timers with a coarse clock: they fire up to one tick late and
// never early. Use New and Run.
type Wheel struct {
	step  time.Duration
	start time.Time

	mu   sync.Mutex
	now  int64 // ticks done
	ring [slots]Timer
	due  []func(time.Time)
}

// New returns a wheel that turns every step.
func New(step time.Duration) *Wheel {
	w := &Wheel{step: step, start: time.Now()}
	for i := range w.ring {
		head := &w.ring[i]
		head.next, head.prev = head, head
	}
	return w
}

// Set makes t fire once, after d at the earliest, replacing what it was set
// to. fire runs on the wheel's goroutine and must not block; it may set t
// again.
func (w *Wheel) Set(t *Timer, d time.Duration, fire func(now time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.unlink()
	t.fire = fire
	due := time.Since(w.start) + max(d, 0)
	t.tick = max(int64((due+w.step-1)/w.step), w.now+1)
	head := &w.ring[t.tick%slots]
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
}

// Stop unsets t. A call of its function may be under way or, when it has
// already been chosen, still follow.
func (w *Wheel) Stop(t *Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.unlink()
}

func (t *Timer) unlink() {
	if t.next != nil {
		t.prev.next, t.next.prev = t.next, t.prev
		t.next, t.prev = nil, nil
	}
}

// Run turns the wheel until ctx ends.
func (w *Wheel) Run(ctx context.Context) {
	ticker := time.NewTicker(w.step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			w.advance(now)
		}
	}
}

func (w *Wheel) advance(now time.Time) {
	for target := int64(now.Sub(w.start) / w.step); ; {
		w.mu.Lock()
		if w.now >= target {
			w.mu.Unlock()
			return
		}
		w.now++
		head := &w.ring[w.now%slots]
		for t := head.next; t != head; {
			next := t.next
			if t.tick <= w.now {
				t.unlink()
				w.due = append(w.due, t.fire)
			}
			t = next
		}
		due := w.due
		w.due = nil
		w.mu.Unlock()
		for _, fire := range due {
			fire(now)
		}
		clear(due)
		w.mu.Lock()
		w.due = due[:0]
		w.mu.Unlock()
	}
}
