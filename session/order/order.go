// Package order runs steps in their order, each when what it waits for is
// done: answers that wait for a disk, while whoever made them goes on.
package order

import (
	"context"
	"sync"
	"sync/atomic"
)

// Queue is a row of steps. The zero Queue is empty; it must not be copied once
// it was used. Methods may be called concurrently.
type Queue struct {
	waiting atomic.Int32 // steps that have not ended

	mu      sync.Mutex
	steps   []*step // not begun
	running bool
	empty   chan struct{} // closed when nothing waits; nil while nobody asks
}

type step struct {
	run   func(error)
	err   error
	ready bool
}

// Add puts a step at the end of the row. It runs, on a goroutine that spawn
// starts, when done was called and every step before it has ended; run gets
// what done was given. done does not block, and must be called exactly once.
func (q *Queue) Add(spawn func(func()), run func(error)) (done func(error)) {
	s := &step{run: run}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.steps = append(q.steps, s)
	q.waiting.Add(1)
	return func(err error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		s.err, s.ready = err, true
		if !q.running && q.steps[0] == s {
			q.running = true
			spawn(q.work)
		}
	}
}

// work runs the steps that are ready.
func (q *Queue) work() {
	for s := q.next(); s != nil; s = q.next() {
		s.run(s.err)
		q.ended()
	}
}

func (q *Queue) next() *step {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.steps) == 0 || !q.steps[0].ready {
		q.running = false
		return nil
	}
	s := q.steps[0]
	q.steps = q.steps[1:]
	return s
}

func (q *Queue) ended() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Add(-1) == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
}

// Len returns how many steps have not ended.
func (q *Queue) Len() int { return int(q.waiting.Load()) }

// Wait returns when every step has ended, or ctx has.
func (q *Queue) Wait(ctx context.Context) {
	q.mu.Lock()
	if q.waiting.Load() == 0 {
		q.mu.Unlock()
		return
	}
	if q.empty == nil {
		q.empty = make(chan struct{})
	}
	empty := q.empty
	q.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}
