package pubsub

import (
	"context"
	"sync"

	"github.com/parleyhq/parley/pubsub/flow"
)

// maxReaders is how many feeds read from the log at once.
const maxReaders = 32

// worker is something that has work now and then. turn does some of it, and
// reports whether there is more to do at once.
type worker interface {
	turn() (more bool)
}

// readers give turns to the feeds that are owed something. A goroutine runs
// only while one has work; feeds that wait for their receivers are not here.
type readers struct {
	mu      sync.Mutex
	waiting []worker // the next is at first
	first   int
	running int
	closed  bool
	work    sync.WaitGroup
}

// add gives f turns until it has nothing more to do. One is here once at most.
func (r *readers) add(f worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.waiting = append(r.waiting, f)
	if r.running < maxReaders {
		r.running++
		r.work.Go(r.run)
	}
}

func (r *readers) run() {
	for {
		f := r.take()
		if f == nil {
			return
		}
		if f.turn() {
			r.add(f)
		}
	}
}

// take returns who has waited longest; nil ends the caller.
func (r *readers) take() worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.first == len(r.waiting) {
		r.waiting, r.first = nil, 0
		r.running--
		return nil
	}
	f := r.waiting[r.first]
	r.waiting[r.first] = nil
	if r.first++; r.first > 64 && 2*r.first > len(r.waiting) {
		n := copy(r.waiting, r.waiting[r.first:])
		clear(r.waiting[n:])
		r.waiting, r.first = r.waiting[:n], 0
	}
	return f
}

// close ends all turns, and returns when none is under way.
func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.work.Wait()
}

// readKey says what is read.
type readKey struct {
	topic, epoch string
	after        uint64
}

// reads lets those who read the same at the same time share one read.
type reads struct {
	mu    sync.Mutex
	under map[readKey]*read
}

type read struct {
	done chan struct{}
	page flow.Page
	err  error
}

// do returns what get returns, or what it returned to somebody who asked for
// the same a moment before.
func (r *reads) do(ctx context.Context, key readKey, get func() (flow.Page, error)) (flow.Page, error) {
	r.mu.Lock()
	if other := r.under[key]; other != nil {
		r.mu.Unlock()
		select {
		case <-other.done:
			return other.page, other.err
		case <-ctx.Done():
			return flow.Page{}, ctx.Err()
		}
	}
	if r.under == nil {
		r.under = make(map[readKey]*read)
	}
	mine := &read{done: make(chan struct{})}
	r.under[key] = mine
	r.mu.Unlock()
	mine.page, mine.err = get()
	r.mu.Lock()
	delete(r.under, key)
	r.mu.Unlock()
	close(mine.done)
	return mine.page, mine.err
}
