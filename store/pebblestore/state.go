package pebblestore

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// Keys of the state part; <u…> is a text behind its length as varint:
//
//	S <id>             a session and what changed since it was saved: frames
//	U <uuser> <id>     a session of this user
//	X <due> <id>       a session that is to be forgotten at that millisecond
//	R <utopic> <user>  how far this person has got
//	N <topic>          how many have a receipt there
//	G <uname> <topic>  how far this group has got
//	E epochs           the last epoch of producers that may be in use
const (
	spaceSessions = 'S'
	spaceUsers    = 'U'
	spaceDue      = 'X'
	spaceReceipts = 'R'
	spaceCounts   = 'N'
	spaceGroups   = 'G'
	keyEpochs     = "Eepochs"
)

var _ store.Store = (*DB)(nil)

// Sessions is described at store.Store.
func (db *DB) Sessions() store.Sessions { return &sessions{db: db, locks: db.locks} }

// Receipts is described at store.Store.
func (db *DB) Receipts() store.Receipts { return &receipts{db: db, locks: db.locks} }

// Groups is described at store.Store.
func (db *DB) Groups() store.Groups { return &groups{db} }

// Producers is described at store.Store.
func (db *DB) Producers() store.Producers { return db.epochs }

// locks keep changes of one record in order that have to read it first. A
// change is made in memory: the disk is waited for outside.
type locks struct {
	seed maphash.Seed
	mus  [64]sync.Mutex
}

func newLocks() *locks { return &locks{seed: maphash.MakeSeed()} }

// of returns the lock of a record.
func (l *locks) of(name string) *sync.Mutex {
	return &l.mus[maphash.String(l.seed, name)%uint64(len(l.mus))]
}

// batch returns an empty batch, or nil when the database is closed.
func (db *DB) batch() *pebble.Batch {
	if !db.use() {
		return nil
	}
	defer db.unuse()
	return db.pebble.NewBatch()
}

// write writes what fill puts into a batch: before done is called when there is
// a done, and soon otherwise.
func (db *DB) write(done func(error), fill func(*pebble.Batch)) {
	b := db.batch()
	if b == nil {
		if done != nil {
			done(store.ErrClosed)
		}
		return
	}
	fill(b)
	db.commit(b, urgencyOf(done), done)
}

func urgencyOf(done func(error)) urgency {
	if done == nil {
		return soon
	}
	return now
}

// read returns a copy of the value under a key, also to those who do not keep
// the database open.
func (db *DB) read(key []byte) (value []byte, found bool, err error) {
	if !db.use() {
		return nil, false, store.ErrClosed
	}
	defer db.unuse()
	return db.get(key)
}

// textKey is a key of a space whose first part is a text, so that no such part
// is the beginning of another.
func textKey(space byte, text, rest string) []byte {
	buf := make([]byte, 0, 3+len(text)+len(rest))
	return append(wire.AppendText(append(buf, space), text), rest...)
}

// epochBlock is how many epochs are reserved with one write.
const epochBlock = 1000

// epochs are the numbers of all producers: one row of numbers, which grows for
// each producer too and takes no record for any.
type epochs struct {
	db *DB

	mu         sync.Mutex
	next, last uint64        // what may be given away without a write: above next, up to last
	reserving  chan struct{} // closed when a reservation has ended; nil when none is under way
	failure    error         // of the last reservation
}

func openEpochs(db *DB) (*epochs, error) {
	n, err := db.number(keyEpochs)
	return &epochs{db: db, next: n, last: n}, err
}

// NextEpoch is described at store.Producers.
func (e *epochs) NextEpoch(ctx context.Context, _ string) (uint64, error) {
	for {
		n, reserved, err := e.take()
		if reserved == nil {
			return n, err
		}
		select {
		case <-reserved:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// take returns the next number, or what ends when there are more.
func (e *epochs) take() (n uint64, reserved <-chan struct{}, _ error) {
	if !e.db.use() {
		return 0, nil, store.ErrClosed
	}
	e.db.unuse()
	e.mu.Lock()
	if e.next < e.last {
		e.next++
		n = e.next
		e.mu.Unlock()
		return n, nil, nil
	}
	if err := e.failure; err != nil {
		e.failure = nil // whoever comes next tries again
		e.mu.Unlock()
		return 0, nil, err
	}
	if reserved = e.reserving; reserved != nil {
		e.mu.Unlock()
		return 0, reserved, nil
	}
	ended, last := make(chan struct{}), e.last+epochBlock
	e.reserving = ended
	e.mu.Unlock()
	done := func(err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.failure = err; err == nil {
			e.last = last
		}
		e.reserving = nil
		close(ended)
	}
	e.db.write(done, func(b *pebble.Batch) { _ = b.Set([]byte(keyEpochs), numberValue(last), nil) })
	return 0, ended, nil
}

// dueKey is the place of a session in the order of expiry. The sign bit is
// turned so that times before 1970 sort first.
func dueKey(due int64, id string) []byte {
	buf := binary.BigEndian.AppendUint64([]byte{spaceDue}, uint64(due)^(1<<63))
	return append(buf, id...)
}

func splitDueKey(key []byte) (due int64, id string) {
	return int64(binary.BigEndian.Uint64(key[1:]) ^ (1 << 63)), string(key[9:])
}
