package vault

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/store"
)

// batch is how many cursors are written at once, and how many sessions are
// forgotten.
const batch = 1024

// Run writes until ctx ends, and then what is left. Nothing is kept
// afterwards.
func (v *Vault) Run(ctx context.Context) {
	timer := time.NewTimer(pause)
	timer.Stop()
	defer timer.Stop()
	for armed := false; ; {
		select {
		case <-v.work:
			v.write()
		case <-v.moved:
			if !armed {
				timer.Reset(pause)
				armed = true
			}
		case <-timer.C:
			armed = false
			v.write()
			v.writeAcks()
		case <-ctx.Done():
			v.end()
			return
		}
	}
}

// end writes what is left and refuses what comes.
func (v *Vault) end() {
	v.writeAcks() // sources that are asked for their record have their cursors in it
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.write()
}

// write hands what waits to the store, in the order in which it came.
func (v *Vault) write() {
	v.mu.Lock()
	entries := v.order
	v.writing, v.waiting, v.order = v.waiting, make(map[string]*entry), nil
	v.mu.Unlock()
	for _, e := range entries {
		v.hand(e)
	}
	v.mu.Lock()
	v.writing = nil
	v.mu.Unlock()
}

// ErrTaken answers who waits for a session that somebody else holds by now.
var ErrTaken = errors.New("a newer connection has taken the session over")

func (v *Vault) hand(e *entry) {
	if e.notes != nil {
		v.handNotes(e)
		return
	}
	record := e.record
	if e.source != nil {
		if record = e.source.Record(); record == nil {
			e.answer(ErrTaken)
			return
		}
	}
	done := v.answers(e)
	if record == nil {
		v.durable.Delete(e.id, done)
	} else {
		v.durable.Save(record, done)
	}
}

// handNotes writes the notes of a session. They reach the disk in their order,
// so the last stands for all.
func (v *Vault) handNotes(e *entry) {
	last := len(e.notes)
	for name, value := range e.notes {
		var done func(error)
		if last--; last == 0 {
			done = v.answers(e)
		}
		v.durable.Note(e.id, name, value, done)
	}
}

// answers is what is called when an entry is durable.
func (v *Vault) answers(e *entry) func(error) {
	v.mu.Lock()
	v.undone[e.id]++
	v.mu.Unlock()
	return func(err error) {
		v.mu.Lock()
		if v.undone[e.id]--; v.undone[e.id] == 0 {
			delete(v.undone, e.id)
		}
		v.mu.Unlock()
		if !e.answer(err) && err != nil {
			v.lost(err)
		}
	}
}

// answer reports whether anybody was waiting.
func (e *entry) answer(err error) bool {
	for _, done := range e.done {
		done(err)
	}
	return len(e.done) > 0
}

// lost tells of a write that failed and that nobody waits for.
func (v *Vault) lost(err error) {
	v.mu.Lock()
	v.failed++
	n := v.failed
	v.mu.Unlock()
	if n&(n-1) == 0 { // log at 1, 2, 4, 8 …
		v.log.Error("sessions could not be stored: after a restart their clients begin anew", "error", err, "total", n)
	}
}

func (v *Vault) writeAcks() {
	v.mu.Lock()
	sources := v.sources
	v.sources = nil
	v.mu.Unlock()
	var acks []store.Ack
	for _, s := range sources {
		if acks = s.Acks(acks); len(acks) >= batch {
			v.durable.Acked(acks)
			acks = nil
		}
	}
	if len(acks) > 0 {
		v.durable.Acked(acks)
	}
}

// ForgetUser deletes everything that is kept for a person, and returns when
// that is durable. Sessions that connections hold are the caller's to end.
func (v *Vault) ForgetUser(ctx context.Context, user string) error {
	var ids []string
	for _, s := range []store.Sessions{v.volatile, v.durable} {
		more, err := s.Of(ctx, user)
		if err != nil {
			return err
		}
		ids = append(ids, more...)
	}
	v.mu.Lock()
	for _, entries := range []map[string]*entry{v.waiting, v.writing} {
		for id, e := range entries {
			if e.record != nil && e.record.User == user {
				ids = append(ids, id)
			}
		}
	}
	v.mu.Unlock()
	return all(ctx, ids, v.Forget)
}

// all calls f for every id and waits until all of it is done.
func all(ctx context.Context, ids []string, f func(id string, done func(error))) error {
	answers := make(chan error, len(ids))
	for _, id := range ids {
		f(id, func(err error) { answers <- err })
	}
	var failed error
	for range ids {
		select {
		case err := <-answers:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// Sweep deletes the sessions whose time is up at now. held is asked, for a
// session that is claimed, whether a connection holds it; then it saves it
// anew.
func (v *Vault) Sweep(ctx context.Context, now time.Time, held func(id string) bool) error {
	for _, s := range []store.Sessions{v.volatile, v.durable} {
		for more := true; more; {
			ids, err := s.Expired(ctx, now, batch)
			if err != nil {
				return err
			}
			gone := 0
			err = all(ctx, ids, func(id string, done func(error)) {
				if v.due(ctx, s, id, now, held, done) {
					gone++
				}
			})
			if err != nil {
				return err
			}
			more = gone > 0 && len(ids) == batch
		}
	}
	return nil
}

// due deletes a session, unless somebody holds it or is about to: it is
// claimed until the store knows.
func (v *Vault) due(ctx context.Context, s store.Sessions, id string, now time.Time, held func(string) bool, done func(error)) bool {
	release, other := v.claim(id)
	if other != nil {
		done(nil)
		return false
	}
	defer release()
	if !held(id) && v.unwritten(id) == nil {
		if r, err := s.Load(ctx, id); err == nil && Expired(r, now) {
			s.Delete(id, done)
			return true
		}
	}
	done(nil)
	return false
}
