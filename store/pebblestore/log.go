package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/records"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// topicLog is the log part of a database.
type topicLog struct {
	db *DB

	// writing is held by the one who writes, so that what is known of a topic
	// changes in one order in memory and on the disk. Readers do not take it.
	writing sync.Mutex
	nextID  uint64
	marks   uint64
	scratch []byte
	key     []byte

	mu    sync.Mutex
	tails map[string]tail // of topics used lately, by name
}

// tail is what has to be known of a topic to append to it.
type tail struct {
	records.Meta

	last uint64
	end  uint64 // of the last record
	mark uint64 // of the last record; 0 when there is none
	// fresh is how far the producers have got that published behind Checked; nil
	// when that has to be read. It belongs to the one who writes.
	fresh map[string]store.Producer
}

// maxTails bounds the topics remembered; others are looked up on the disk.
const maxTails = 100_000

var _ store.Log = (*topicLog)(nil)

// Log returns the log part.
func (db *DB) Log() store.Log { return db.topics }

func openLog(db *DB) (*topicLog, error) {
	l := &topicLog{db: db, tails: make(map[string]tail)}
	for key, v := range map[string]*uint64{keyIDs: &l.nextID, keyMarks: &l.marks} {
		n, err := db.number(key)
		if err != nil {
			return nil, err
		}
		*v = n
	}
	return l, nil
}

// number returns the number stored under a key, 0 when there is none.
func (db *DB) number(key string) (uint64, error) {
	b, found, err := db.get([]byte(key))
	if err != nil || !found {
		return 0, err
	}
	body, ok := wire.Verified(b)
	if !ok || len(body) != 8 {
		return 0, fmt.Errorf("read %q: %w", key, wire.ErrDamaged)
	}
	return binary.LittleEndian.Uint64(body), nil
}

func numberValue(n uint64) []byte {
	return wire.Sealed(binary.LittleEndian.AppendUint64(nil, n))
}

// get returns a copy of the value under a key.
func (db *DB) get(key []byte) (value []byte, found bool, err error) {
	b, closer, err := db.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte(nil), b...)
	return value, true, closer.Close()
}

// Append is described at store.Log.
func (l *topicLog) Append(entries []store.Entry, sync bool, done func(error)) {
	if !l.db.use() {
		done(store.ErrClosed)
		return
	}
	l.writing.Lock()
	b, tails, err := l.build(entries)
	l.db.unuse()
	if err != nil {
		l.writing.Unlock()
		done(err)
		return
	}
	u := now
	if !sync {
		u = soon
	}
	l.db.commit(b, u, done)
	if l.db.failed() == nil {
		l.remember(tails)
	}
	l.writing.Unlock()
}

// build puts entries into a batch and returns what is known of their topics
// afterwards.
func (l *topicLog) build(entries []store.Entry) (_ *pebble.Batch, tails map[string]tail, err error) {
	b := l.db.pebble.NewBatch()
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	tails = make(map[string]tail, len(entries))
	for i := range entries {
		e := &entries[i]
		t, known := tails[e.Message.Topic]
		if !known {
			if t, _, err = l.tail(e.Message.Topic); err != nil {
				return nil, nil, err
			}
			if t.last >= t.Checked+checkEvery {
				if err := l.check(b, &t, e.Message.Topic, t.last, false); err != nil {
					return nil, nil, err
				}
			}
		}
		if t, err = l.add(b, t, e); err != nil {
			return nil, nil, err
		}
		tails[e.Message.Topic] = t
	}
	return b, tails, nil
}

// add puts one entry into a batch.
func (l *topicLog) add(b *pebble.Batch, t tail, e *store.Entry) (tail, error) {
	m := e.Message
	fresh := t.Epoch != m.Epoch
	if fresh {
		if err := l.begin(b, &t, m.Epoch); err != nil {
			return t, err
		}
	}
	if m.Seq != t.last+1 {
		return t, fmt.Errorf("message %d of %s cannot follow %d", m.Seq, m.Topic, t.last)
	}
	if e.Keep != nil {
		t.Keep = *e.Keep
	}
	if fresh || e.Keep != nil {
		l.put(b, nameKey(l.key[:0], spaceTopics, m.Topic), func(buf, _ []byte) []byte { return records.AppendMeta(buf, t.Meta) })
	}
	l.put(b, seqKey(l.key[:0], spaceLog, t.ID, m.Seq), func(buf, key []byte) []byte {
		buf, t.end = records.AppendMessage(buf, key, m, t.end)
		return buf
	})
	if e.KeyUntil != 0 {
		l.put(b, seqKey(l.key[:0], spaceKeys, t.ID, m.Seq), func(buf, _ []byte) []byte { return records.AppendUse(buf, m.From, m.Key, e.KeyUntil) })
	}
	if m.Producer != "" && t.fresh != nil {
		t.fresh[m.Producer] = store.Producer{Producer: m.Producer, Epoch: m.ProducerEpoch, N: m.N, Seq: m.Seq}
	}
	for _, p := range e.Forget {
		l.key = producerKey(l.key[:0], t.ID, p)
		_ = b.Delete(l.key, nil)
	}
	switch {
	case e.Retain && len(m.Payload) > 0:
		l.put(b, nameKey(l.key[:0], spaceRetained, m.Topic), func(buf, key []byte) []byte { return records.AppendRetained(buf, key, m) })
	case e.Retain:
		l.key = nameKey(l.key[:0], spaceRetained, m.Topic)
		_ = b.Delete(l.key, nil)
	}
	t.last, t.mark = m.Seq, m.Mark
	return t, nil
}

// put adds a key and the value that encode makes, in memory that is used again.
// A batch refuses nothing: it only grows.
func (l *topicLog) put(b *pebble.Batch, key []byte, encode func(buf, key []byte) []byte) {
	l.key = key
	l.scratch = encode(l.scratch[:0], key)
	_ = b.Set(key, l.scratch, nil)
}

// begin gives a topic a new id for a new epoch, and deletes what it had.
func (l *topicLog) begin(b *pebble.Batch, t *tail, epoch string) error {
	if t.ID != 0 {
		for _, space := range []byte{spaceLog, spaceKeys, spaceProducers} {
			lower := seqKey(nil, space, t.ID, 0)[:9]
			if err := b.DeleteRange(lower, behind(lower), nil); err != nil {
				return err
			}
		}
	}
	l.nextID++
	*t = tail{Meta: records.Meta{ID: l.nextID, Epoch: epoch, Keep: t.Keep}, fresh: make(map[string]store.Producer)}
	return b.Set([]byte(keyIDs), numberValue(l.nextID), nil)
}

// tail returns what is known of a topic; nothing when there is none.
func (l *topicLog) tail(name string) (t tail, found bool, err error) {
	l.mu.Lock()
	t, found = l.tails[name]
	l.mu.Unlock()
	if found {
		return t, true, nil
	}
	b, found, err := l.db.get(nameKey(nil, spaceTopics, name))
	if err != nil || !found {
		return tail{}, false, err
	}
	if t.Meta, err = records.DecodeMeta(b); err != nil {
		return tail{}, false, fmt.Errorf("read what is known of %s: %w", name, err)
	}
	if err = l.findLast(&t); err != nil {
		return tail{}, false, fmt.Errorf("read the end of %s: %w", name, err)
	}
	return t, true, nil
}

// findLast finds the last record of a topic.
func (l *topicLog) findLast(t *tail) error {
	t.last, t.end = t.Floor, t.FloorEnd
	lower := seqKey(nil, spaceLog, t.ID, 0)
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: behind(lower[:9])})
	if err != nil {
		return err
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		t.last = max(t.last, seqOf(it.Key())) // damaged or not, the number is used
		if h, err := records.ReadHeader(it.Key(), it.Value()); err == nil {
			t.end, t.mark = h.End, h.Mark
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// remember keeps what is known of topics that were written.
func (l *topicLog) remember(tails map[string]tail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.tails, tails)
	for name := range l.tails { // in random order
		if len(l.tails) <= maxTails {
			break
		}
		if _, fresh := tails[name]; !fresh {
			delete(l.tails, name)
		}
	}
}

// Reserve is described at store.Log.
func (l *topicLog) Reserve(ctx context.Context, n uint64) (uint64, error) {
	if !l.db.use() {
		return 0, store.ErrClosed
	}
	b := l.db.pebble.NewBatch()
	l.db.unuse()
	l.writing.Lock()
	l.marks += n
	marks := l.marks
	_ = b.Set([]byte(keyMarks), numberValue(marks), nil)
	written := make(chan error, 1)
	l.db.commit(b, now, func(err error) { written <- err })
	l.writing.Unlock()
	select {
	case err := <-written:
		return marks, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
