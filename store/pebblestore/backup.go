package pebblestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/frames"
	"github.com/parleyhq/parley/store/pebblestore/records"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// Backup writes the database as it is now into the folder dir, which must not
// exist, while it goes on. On the same disk it takes little time and space:
// tables do not change, so both share them.
func (db *DB) Backup(dir string) error {
	if !db.use() {
		return store.ErrClosed
	}
	defer db.unuse()
	if err := db.pebble.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("back up the store: %w", err)
	}
	return nil
}

// renewal gives every topic a new epoch.
type renewal struct {
	db    *DB
	ctx   context.Context
	batch *pebble.Batch
	moved map[string][2]string // old and new epoch, by topic
}

// epochLeap is how many numbers of producers may have been given away after the
// backup was made.
const epochLeap = 1 << 20

// Renew begins a new epoch in every topic and keeps what is in it. It belongs to
// a database that does not know all that was acknowledged, because it is from a
// backup or was damaged: what it numbers from now on must not be taken for what
// had these numbers before. Cursors are moved along, as what they point at is
// there. Nobody else may use the database, which has to be opened anew afterwards.
func (db *DB) Renew(ctx context.Context) error {
	b := db.batch()
	if b == nil {
		return store.ErrClosed
	}
	r := &renewal{db: db, ctx: ctx, batch: b, moved: map[string][2]string{}}
	for _, step := range []func() error{r.topics, r.sessions, r.receipts, r.groups, r.producers} {
		if err := step(); err != nil {
			return errors.Join(fmt.Errorf("begin new epochs: %w", err), r.batch.Close())
		}
	}
	return r.flush()
}

// each gives every record of a space to f.
func (r *renewal) each(space byte, f func(key, value []byte) error) error {
	return r.db.span(r.ctx, []byte{space}, []byte{space + 1}, func(key, value []byte) (bool, error) {
		if err := f(key, value); err != nil || r.batch.Len() < 4<<20 {
			return true, err
		}
		return true, r.flush()
	})
}

// flush writes what was gathered.
func (r *renewal) flush() error {
	done := make(chan error, 1)
	b := r.batch
	if r.batch = r.db.batch(); r.batch == nil {
		return errors.Join(store.ErrClosed, b.Close())
	}
	_ = b.LogData(nil, nil)
	r.db.commit(b, now, func(err error) { done <- err })
	return <-done
}

func (r *renewal) topics() error {
	err := r.each(spaceTopics, func(key, value []byte) error {
		m, err := records.DecodeMeta(value)
		if err != nil {
			return nil //nolint:nilerr // what is damaged stays so, and is told to whoever reads it
		}
		name, old := string(key[1:]), m.Epoch
		m.Epoch = rand.Text()[:16]
		r.moved[name] = [2]string{old, m.Epoch}
		return r.batch.Set(key, records.AppendMeta(nil, m), nil)
	})
	if err != nil {
		return err
	}
	return r.each(spaceRetained, func(key, value []byte) error {
		m, err := records.DecodeRetained(key, value)
		if err != nil || !r.move(m.Topic, &m.Epoch) {
			return nil //nolint:nilerr // as above
		}
		return r.batch.Set(key, records.AppendRetained(nil, key, m), nil)
	})
}

// move replaces an epoch of a topic if it is the one before.
func (r *renewal) move(topic string, epoch *string) bool {
	m, ok := r.moved[topic]
	if ok = ok && m[0] == *epoch; ok {
		*epoch = m[1]
	}
	return ok
}

func (r *renewal) sessions() error {
	return r.each(spaceSessions, func(key, value []byte) error {
		s, sound := frames.Load(key, value)
		if !sound || s == nil {
			return nil
		}
		for i := range s.Subscriptions {
			for topic, at := range s.Subscriptions[i].Acked {
				if r.move(topic, &at.Epoch) {
					s.Subscriptions[i].Acked[topic] = at
				}
			}
		}
		return r.batch.Set(key, frames.Save(key, s), nil)
	})
}

// splitTextKey takes a key apart that textKey made.
func splitTextKey(key []byte) (text, rest string) {
	c := wire.Reader{Rest: key[1:]}
	text = c.Text()
	return text, string(c.Rest)
}

func (r *renewal) receipts() error {
	return r.each(spaceReceipts, func(key, value []byte) error {
		topic, user := splitTextKey(key)
		one, err := frames.LoadReceipt(topic, user, value)
		if err != nil || !r.move(topic, &one.Epoch) {
			return nil //nolint:nilerr // as above
		}
		return r.batch.Set(key, frames.Receipt(&one), nil)
	})
}

func (r *renewal) groups() error {
	return r.each(spaceGroups, func(key, value []byte) error {
		name, topic := splitTextKey(key)
		g, err := frames.LoadGroup(name, topic, value)
		if err != nil || !r.move(topic, &g.Done.Epoch) {
			return nil //nolint:nilerr // as above
		}
		return r.batch.Set(key, frames.Group(&g), nil)
	})
}

func (r *renewal) producers() error {
	n, err := r.db.number(keyEpochs)
	if err != nil {
		return err
	}
	return r.batch.Set([]byte(keyEpochs), numberValue(n+epochLeap), nil)
}
