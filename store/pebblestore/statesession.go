package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/frames"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// sessions is the part of a database that keeps sessions. A session takes no
// memory but its share of the cache.
type sessions struct {
	db    *DB
	locks *locks
}

func sessionKey(id string) []byte { return append([]byte{spaceSessions}, id...) }

// Load is described at store.Sessions. A session that cannot be read for damage
// is told from one there is not.
func (s *sessions) Load(_ context.Context, id string) (*store.Session, error) {
	key := sessionKey(id)
	row, found, err := s.db.read(key)
	if err != nil {
		return nil, fmt.Errorf("load session %s: %w", id, err)
	}
	if !found {
		return nil, store.ErrNotFound
	}
	one, sound := frames.Load(key, row)
	if !sound {
		return nil, fmt.Errorf("load session %s: %w", id, wire.ErrDamaged)
	}
	if one == nil {
		return nil, store.ErrNotFound
	}
	return one, nil
}

// dueOf is the millisecond at which a session is to be forgotten, as its record
// says it.
func dueOf(s *store.Session) int64 { return s.Seen.UnixMilli() + frames.Milliseconds(s.Expiry) }

// Save is described at store.Sessions.
func (s *sessions) Save(given *store.Session, done func(error)) {
	key := sessionKey(given.ID)
	row := frames.Save(key, given)
	user, due := textKey(spaceUsers, given.User, given.ID), dueKey(dueOf(given), given.ID)
	s.replace(given.ID, done, func(b *pebble.Batch, old *store.Session) {
		if old != nil {
			s.unlist(b, old)
		}
		_ = b.Set(key, row, nil)
		_ = b.Set(user, nil, nil)
		_ = b.Set(due, nil, nil)
	})
}

// Delete is described at store.Sessions.
func (s *sessions) Delete(id string, done func(error)) {
	s.replace(id, done, func(b *pebble.Batch, old *store.Session) {
		_ = b.Delete(sessionKey(id), nil) // whether it could be read or not
		if old != nil {
			s.unlist(b, old)
		}
	})
}

// unlist takes a session off the indexes.
func (s *sessions) unlist(b *pebble.Batch, old *store.Session) {
	_ = b.Delete(textKey(spaceUsers, old.User, old.ID), nil)
	_ = b.Delete(dueKey(dueOf(old), old.ID), nil)
}

// replace writes what fill makes of a session as it is now, nil when there is
// none or it cannot be read.
func (s *sessions) replace(id string, done func(error), fill func(b *pebble.Batch, old *store.Session)) {
	mu := s.locks.of(id)
	mu.Lock()
	defer mu.Unlock()
	old, err := s.Load(context.Background(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !damaged(err) {
		if done != nil {
			done(err)
		}
		return
	}
	s.db.write(done, func(b *pebble.Batch) { fill(b, old) })
}

// damaged tells damage from other failures to read.
func damaged(err error) bool { return errors.Is(err, wire.ErrDamaged) || pebble.IsCorruptionError(err) }

// Acked is described at store.Sessions. All are written as one, unseen: an
// acknowledgement of a session or subscription that is not there is dropped when
// it is read.
func (s *sessions) Acked(acks []store.Ack) {
	if len(acks) == 0 {
		return
	}
	s.db.write(nil, func(b *pebble.Batch) {
		var key, row []byte
		for i := range acks {
			key = append(append(key[:0], spaceSessions), acks[i].Session...)
			row = frames.Ack(row[:0], key, &acks[i])
			_ = b.Merge(key, row, nil)
		}
	})
}

// Note is described at store.Sessions.
func (s *sessions) Note(id, name string, value []byte, done func(error)) {
	key := sessionKey(id)
	row := frames.Note(key, name, value)
	s.db.write(done, func(b *pebble.Batch) { _ = b.Merge(key, row, nil) })
}

// Of is described at store.Sessions.
func (s *sessions) Of(ctx context.Context, user string) (ids []string, err error) {
	prefix := textKey(spaceUsers, user, "")
	err = s.db.span(ctx, prefix, behind(prefix), func(key, _ []byte) (bool, error) {
		ids = append(ids, string(key[len(prefix):]))
		return true, nil
	})
	return ids, err
}

// span calls f with what stands between two keys, in their order, until f wants
// no more.
func (db *DB) span(ctx context.Context, lower, upper []byte, f func(key, value []byte) (bool, error)) error {
	if !db.use() {
		return store.ErrClosed
	}
	defer db.unuse()
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	more := true
	for ok := it.First(); ok && more && err == nil; ok = it.Next() {
		if more, err = f(it.Key(), it.Value()); err == nil {
			err = ctx.Err()
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Expired is described at store.Sessions.
func (s *sessions) Expired(ctx context.Context, now time.Time, limit int) (ids []string, err error) {
	var stale []string
	err = s.db.span(ctx, []byte{spaceDue}, dueKey(now.UnixMilli()+1, ""), func(key, _ []byte) (bool, error) {
		if len(ids) >= limit {
			return false, nil
		}
		due, id := splitDueKey(key)
		if s.due(id, due) {
			ids = append(ids, id)
		} else {
			stale = append(stale, string(key))
		}
		return true, nil
	})
	for _, key := range stale {
		s.tidy([]byte(key))
	}
	return ids, err
}

// due tells whether a session is to be forgotten at that time. Its place in the
// order of expiry may say so wrongly only after the session was found damaged.
// The database is open.
func (s *sessions) due(id string, at int64) bool {
	key := sessionKey(id)
	row, found, err := s.db.get(key)
	if err != nil || !found {
		return err != nil && !damaged(err)
	}
	one, sound := frames.Load(key, row)
	return sound && one != nil && dueOf(one) == at
}

// tidy removes a place in the order of expiry that belongs to no session, so
// that a damaged one does not come up for ever.
func (s *sessions) tidy(key []byte) {
	due, id := splitDueKey(key)
	mu := s.locks.of(id)
	mu.Lock()
	defer mu.Unlock()
	if one, err := s.Load(context.Background(), id); err == nil && dueOf(one) == due {
		return // it was saved meanwhile
	}
	s.db.write(nil, func(b *pebble.Batch) { _ = b.Delete(key, nil) })
}
