// Package vault keeps what remains of clients without a connection, and what
// must remain of those that have one should the process end.
//
// A session that owes its client something lies in a durable store, and is
// written there when its subscriptions change; how far the client has got
// follows a few times a second, in one batch for all. Every other session is
// kept in memory for a while after its connection. One goroutine writes, so
// what is written for one session cannot overtake what was written before.
package vault

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/store"
)

// pause is how long acknowledgements wait for others before they are written.
const pause = 200 * time.Millisecond

// Source is a session that a connection holds.
type Source interface {
	// Record returns what is to be kept of the session as it is now; nil when
	// the connection no longer holds it.
	Record() *store.Session
	// Acks appends the cursors that have moved since it was last asked.
	Acks(to []store.Ack) []store.Ack
}

// Vault is described at the package. Its methods may be called concurrently.
type Vault struct {
	durable, volatile store.Sessions
	log               *slog.Logger
	work, moved       chan struct{} // of capacity 1: there is something to write, a cursor has moved

	mu      sync.Mutex
	claims  map[string]chan struct{} // closed when given back
	waiting map[string]*entry        // to be written, by session
	order   []*entry                 // those of waiting
	writing map[string]*entry        // on their way into the store
	undone  map[string]int           // writes the store has not called durable, by session
	sources []Source                 // whose cursors have moved
	closed  bool
	failed  uint64 // writes that nobody waited for
}

// entry is the latest that is to be written for one session: the record of its
// source, a record, or, with neither, that there is none any more.
type entry struct {
	id     string
	source Source
	record *store.Session
	notes  map[string][]byte // nothing but these, where it is not nil
	done   []func(error)
}

// New returns a Vault on two stores; what is in volatile ends with the process.
func New(durable, volatile store.Sessions, log *slog.Logger) *Vault {
	return &Vault{
		durable: durable, volatile: volatile, log: log,
		work: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		claims: make(map[string]chan struct{}), waiting: make(map[string]*entry), undone: make(map[string]int),
	}
}

// Claim waits until the session id is nobody else's and makes it the caller's,
// until release is called. Who is about to hold a session claims it first, so
// of several who want the same the later ones find what the earlier have made
// of it.
func (v *Vault) Claim(ctx context.Context, id string) (release func(), err error) {
	for {
		release, other := v.claim(id)
		if other == nil {
			return release, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (v *Vault) claim(id string) (release func(), other <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if other := v.claims[id]; other != nil {
		return nil, other
	}
	mine := make(chan struct{})
	v.claims[id] = mine
	return func() {
		v.mu.Lock()
		delete(v.claims, id)
		v.mu.Unlock()
		close(mine)
	}, nil
}

// Recall returns what is kept of a session that no connection holds; nil when
// there is nothing, or its time is up at now. stored tells that the store has
// it, or is about to. The caller has claimed the session.
func (v *Vault) Recall(ctx context.Context, id string, now time.Time) (r *store.Session, stored bool, err error) {
	if r, err = v.volatile.Load(ctx, id); err != nil {
		e := v.unwritten(id)
		if e != nil && e.notes == nil {
			r, err = e.record, nil
		} else if r, err = v.durable.Load(ctx, id); err == nil && e != nil {
			r.Notes = merged(r.Notes, e.notes)
		}
		stored = r != nil
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, false, nil
	case err != nil || r == nil || Expired(r, now):
		return nil, false, err
	}
	return r, stored, nil
}

// Unwritten reports whether something of the session is not durable yet: what
// is recalled may then be lost in a crash.
func (v *Vault) Unwritten(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.waiting[id] != nil || v.writing[id] != nil || v.undone[id] > 0
}

// unwritten returns a copy of what the store does not have yet.
func (v *Vault) unwritten(id string) *entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, before := v.waiting[id], v.writing[id]
	switch {
	case e == nil && before == nil:
		return nil
	case e == nil:
		e = before
	case e.notes != nil && before != nil && before.notes == nil:
		whole := &entry{record: clone(before.record)}
		if whole.record != nil {
			whole.record.Notes = merged(whole.record.Notes, e.notes)
		}
		return whole
	}
	return &entry{record: clone(e.record), notes: maps.Clone(e.notes)}
}

// merged returns notes with newer ones in their places.
func merged(notes, newer map[string][]byte) map[string][]byte {
	if notes == nil {
		notes = make(map[string][]byte, len(newer))
	}
	for name, value := range newer {
		if value == nil {
			delete(notes, name)
		} else {
			notes[name] = value
		}
	}
	return notes
}

// clone copies what two owners may change. A record that lies here has maps
// that nobody changes any more.
func clone(r *store.Session) *store.Session {
	if r == nil {
		return nil
	}
	c := *r
	c.Subscriptions = slices.Clone(r.Subscriptions)
	for i := range c.Subscriptions {
		c.Subscriptions[i].Acked = maps.Clone(c.Subscriptions[i].Acked)
	}
	c.Notes = maps.Clone(r.Notes)
	return &c
}

// Expired reports whether the time of a session that nobody holds is up.
func Expired(r *store.Session, now time.Time) bool { return !now.Before(r.Seen.Add(r.Expiry)) }

// Taken tells that a connection holds the session: what was kept of it in
// memory is forgotten.
func (v *Vault) Taken(id string) { v.volatile.Delete(id, nil) }

// Save writes the record of s when its turn comes, and calls done when it is
// durable. Several calls before that are one write.
func (v *Vault) Save(id string, s Source, done func(error)) {
	v.put(&entry{id: id, source: s}, done)
}

// Part keeps r, whose connection has ended: in the store when it is durable,
// else in memory; stored tells that the store may have an older one. The
// caller sees to it that nobody looks for the session before Part returns.
func (v *Vault) Part(r *store.Session, durable, stored bool) {
	if durable {
		v.put(&entry{id: r.ID, record: r}, nil)
		return
	}
	v.volatile.Save(r, nil)
	if stored {
		v.put(&entry{id: r.ID}, nil)
	}
}

// Forget deletes what is kept of a session, and calls done, unless it is nil,
// when that is durable.
func (v *Vault) Forget(id string, done func(error)) {
	v.volatile.Delete(id, nil)
	v.put(&entry{id: id}, done)
}

func (v *Vault) put(e *entry, done func(error)) {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		if done != nil {
			done(store.ErrClosed)
		}
		return
	}
	if earlier := v.waiting[e.id]; earlier != nil {
		earlier.follow(e)
		e = earlier
	} else {
		v.waiting[e.id] = e
		v.order = append(v.order, e)
	}
	if done != nil {
		e.done = append(e.done, done)
	}
	v.mu.Unlock()
	signal(v.work)
}

// follow makes one entry of e and a later one. Notes are in the record of their
// source, and end with a session that is forgotten.
func (e *entry) follow(later *entry) {
	switch {
	case later.notes == nil:
		e.source, e.record, e.notes = later.source, later.record, nil
	case e.notes != nil:
		maps.Copy(e.notes, later.notes)
	case e.record != nil: // of an earlier connection
		e.source, e.record = later.source, nil
	}
}

// Note writes one note of s, whose record the store has, when its turn comes;
// nil removes it. done, unless it is nil, is called when that is durable.
func (v *Vault) Note(id string, s Source, name string, value []byte, done func(error)) {
	v.put(&entry{id: id, source: s, notes: map[string][]byte{name: value}}, done)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Moved tells that a cursor of s has moved since it was last asked for them.
// To be called once until then.
func (v *Vault) Moved(s Source) {
	v.mu.Lock()
	v.sources = append(v.sources, s)
	v.mu.Unlock()
	signal(v.moved)
}
