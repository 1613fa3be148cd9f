// Package vaulttest has a store that loses, in a crash, what was not committed.
package vaulttest

import (
	"context"
	"sync"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
)

// Disk is a store of sessions whose writes are seen at once, and last when they
// are committed. What else a store keeps ends with it.
type Disk struct {
	*memorystore.Store // as it is seen

	last *memorystore.Store // what a crash leaves

	mu      sync.Mutex
	pending []func(dead bool)
	writes  int
}

var _ store.Store = (*Disk)(nil)

// New returns an empty Disk.
func New() *Disk {
	return &Disk{Store: memorystore.New(memorystore.Limits{}), last: memorystore.New(memorystore.Limits{})}
}

// Crash returns the Disk that is left of d after a crash: what was not
// committed is lost. users are those whose sessions are carried over.
func (d *Disk) Crash(users ...string) *Disk {
	left := New()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = nil
	ctx := context.Background()
	for _, user := range users {
		ids, _ := d.last.Sessions().Of(ctx, user) // a store in memory does not fail
		for _, id := range ids {
			if r, err := d.last.Sessions().Load(ctx, id); err == nil {
				left.Store.Sessions().Save(r, nil)
				left.last.Sessions().Save(r, nil)
			}
		}
	}
	return left
}

// Commit makes up to n writes last, and answers them.
func (d *Disk) Commit(n int) {
	d.mu.Lock()
	now := d.pending[:min(n, len(d.pending))]
	d.pending = d.pending[len(now):]
	d.mu.Unlock()
	for _, f := range now {
		f(false)
	}
}

// Waiting returns how many writes were not committed.
func (d *Disk) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending)
}

// Forsake answers what was not committed, which does not last, with an error.
func (d *Disk) Forsake() {
	d.mu.Lock()
	now := d.pending
	d.pending = nil
	d.mu.Unlock()
	for _, f := range now {
		f(true)
	}
}

// Writes returns how often something was written.
func (d *Disk) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// Sessions is described at store.Store.
func (d *Disk) Sessions() store.Sessions { return sessions{d.Store.Sessions(), d.last.Sessions(), d} }

type sessions struct {
	store.Sessions

	last store.Sessions
	d    *Disk
}

func (s sessions) later(write func(done func(error)), done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.writes++
	s.d.pending = append(s.d.pending, func(dead bool) {
		if dead {
			done(store.ErrClosed)
			return
		}
		write(done)
	})
}

// Save is described at store.Sessions.
func (s sessions) Save(r *store.Session, done func(error)) {
	s.Sessions.Save(r, nil)
	s.later(func(done func(error)) { s.last.Save(r, done) }, done)
}

// Delete is described at store.Sessions.
func (s sessions) Delete(id string, done func(error)) {
	s.Sessions.Delete(id, nil)
	s.later(func(done func(error)) { s.last.Delete(id, done) }, done)
}

// Note is described at store.Sessions.
func (s sessions) Note(id, name string, value []byte, done func(error)) {
	s.Sessions.Note(id, name, value, nil)
	s.later(func(done func(error)) { s.last.Note(id, name, value, done) }, done)
}

// Acked is described at store.Sessions.
func (s sessions) Acked(acks []store.Ack) {
	s.Sessions.Acked(acks)
	s.later(func(done func(error)) {
		s.last.Acked(acks)
		done(nil)
	}, nil)
}
