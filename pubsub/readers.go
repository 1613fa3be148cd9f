package pubsub

import (
	"context"
	"sync"
)

// maxReaders is how many feeds read from the log at once.
const maxReaders = 32

// readers give turns to the feeds that are owed something. A goroutine runs
// only while one has work; feeds that wait for their receivers are not here.
type readers struct {
	mu      sync.Mutex
	waiting []*Feed // the next is at first
	first   int
	running int
	closed  bool
	work    sync.WaitGroup
}

// add gives f turns until it has nothing more to do. A feed is here once at
// most.
func (r *readers) add(f *Feed) {
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
		if f.turn(f.s.base) {
			r.add(f)
		}
	}
}

// take returns the feed that has waited longest; nil ends the caller.
func (r *readers) take() *Feed {
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
	page page
	err  error
}

// do returns what get returns, or what it returned to somebody who asked for
// the same a moment before.
func (r *reads) do(ctx context.Context, key readKey, get func() (page, error)) (page, error) {
	r.mu.Lock()
	if other := r.under[key]; other != nil {
		r.mu.Unlock()
		select {
		case <-other.done:
			return other.page, other.err
		case <-ctx.Done():
			return page{}, ctx.Err()
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
