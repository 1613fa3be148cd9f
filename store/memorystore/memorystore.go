// Package memorystore is the store of a process that keeps nothing beyond
// itself: everything is in memory, within limits, and ends with the process.
package memorystore

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/store"
)

// Limits bound the memory of a store. The zero value of a field is its default.
type Limits struct {
	// Sessions and SessionBytes bound the sessions (100,000 and 64 MiB, whichever
	// is met first); beyond, those that were saved the longest ago are forgotten.
	// The newest is kept whatever it takes.
	Sessions     int
	SessionBytes int
	// ReceiptBytes bounds the receipts (64 MiB); beyond, those of the topics in
	// which nobody has got on for the longest are forgotten.
	ReceiptBytes int
	// GroupBytes bounds the groups (64 MiB); beyond, saving fails with
	// store.ErrFull.
	GroupBytes int
}

const (
	defaultSessions = 100_000
	defaultBytes    = 64 << 20
)

// Store is a store in memory. Its methods may be called concurrently; done
// functions are called before the methods return.
type Store struct {
	closed    atomic.Bool
	sessions  sessions
	receipts  receipts
	groups    groups
	producers producers
}

// New returns an empty store.
func New(l Limits) *Store {
	s := &Store{}
	s.sessions = sessions{
		closed: &s.closed, limit: cmp.Or(l.Sessions, defaultSessions), maxBytes: cmp.Or(l.SessionBytes, defaultBytes),
		byID: make(map[string]*kept), byUser: make(map[string]map[string]struct{}),
	}
	s.receipts = receipts{closed: &s.closed, maxBytes: cmp.Or(l.ReceiptBytes, defaultBytes), topics: make(map[string]*hall)}
	s.groups = groups{closed: &s.closed, maxBytes: cmp.Or(l.GroupBytes, defaultBytes), byName: make(map[string]map[string]store.Group)}
	// Epochs of an earlier process lie before this moment: nobody takes a million a second.
	s.producers = producers{closed: &s.closed}
	s.producers.last.Store(uint64(time.Now().UnixMicro()))
	return s
}

// Sessions is described at store.Store.
func (s *Store) Sessions() store.Sessions { return &s.sessions }

// Len returns how many sessions there are.
func (s *Store) Len() int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return len(s.sessions.byID)
}

// Receipts is described at store.Store.
func (s *Store) Receipts() store.Receipts { return &s.receipts }

// Groups is described at store.Store.
func (s *Store) Groups() store.Groups { return &s.groups }

// Producers is described at store.Store.
func (s *Store) Producers() store.Producers { return &s.producers }

// Close ends the store; what is called afterwards fails with store.ErrClosed.
func (s *Store) Close(context.Context) error {
	s.closed.Store(true)
	return nil
}

// producers draws all epochs from one row of numbers, which grows for each
// producer too and takes no memory for any.
type producers struct {
	closed *atomic.Bool
	last   atomic.Uint64
}

// NextEpoch is described at store.Producers.
func (p *producers) NextEpoch(context.Context, string) (uint64, error) {
	if p.closed.Load() {
		return 0, store.ErrClosed
	}
	return p.last.Add(1), nil
}

// answer calls done, if there is one.
func answer(done func(error), err error) {
	if done != nil {
		done(err)
	}
}

// lock is a mutex that knows whether the store is open.
type lock struct{ sync.Mutex }

// take locks, unless the store is closed.
func (l *lock) take(closed *atomic.Bool) error {
	l.Lock()
	if closed.Load() {
		l.Unlock()
		return store.ErrClosed
	}
	return nil
}
