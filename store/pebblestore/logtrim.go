package pebblestore

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// Trim is described at store.Log.
func (l *topicLog) Trim(_ context.Context, name topic.Name, trim store.Trim) (store.Head, error) {
	if !l.db.use() {
		return store.Head{}, store.ErrClosed
	}
	defer l.db.unuse()
	if err := l.db.failed(); err != nil {
		return store.Head{}, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	t, found, err := l.tail(string(name))
	if err != nil || !found {
		return store.Head{}, err
	}
	floor, err := l.floor(t, trim)
	if err != nil {
		return store.Head{}, err
	}
	b := l.db.pebble.NewBatch()
	if trim.KeysBelow > 0 {
		_ = b.DeleteRange(seqKey(nil, spaceKeys, t.id, 0), seqKey(nil, spaceKeys, t.id, trim.KeysBelow), nil)
	}
	if floor > t.floor {
		if t.floorEnd, err = l.endOf(t, floor); err != nil {
			return store.Head{}, errors.Join(err, b.Close())
		}
		_ = b.DeleteRange(seqKey(nil, spaceLog, t.id, t.floor), seqKey(nil, spaceLog, t.id, floor+1), nil)
		if t.floor = floor; t.floor == t.last {
			t.mark = 0
		}
		_ = b.Set(nameKey(nil, spaceTopics, string(name)), appendMeta(nil, t.meta), nil)
	}
	if b.Empty() {
		return t.head(string(name)), b.Close()
	}
	if err := l.db.apply(b, false); err != nil {
		return store.Head{}, err
	}
	l.db.dirty.Store(true)
	l.remember(map[string]tail{string(name): t})
	return t.head(string(name)), b.Close()
}

// floor returns the highest number that trim has to go.
func (l *topicLog) floor(t tail, trim store.Trim) (uint64, error) {
	floor := t.floor
	if n := t.last - t.floor; trim.Count > 0 && n > trim.Count {
		floor = t.last - trim.Count
	}
	if trim.Bytes > 0 && t.end-t.floorEnd > uint64(trim.Bytes) {
		n, err := l.search(t, func(h header) bool { return t.end-h.end <= uint64(trim.Bytes) })
		if err != nil {
			return 0, err
		}
		floor = max(floor, min(t.floor+n+1, t.last-1))
	}
	if trim.Before > 0 {
		aged, err := l.aged(t, floor, trim.Before)
		if err != nil {
			return 0, err
		}
		floor = aged
	}
	return floor, nil
}

// aged returns the highest number above floor up to which all messages are
// older than a time.
func (l *topicLog) aged(t tail, floor uint64, before int64) (uint64, error) {
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(nil, spaceLog, t.id, floor+1), UpperBound: seqKey(nil, spaceLog, t.id, t.last+1),
	})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if h, err := readHeader(it.Key(), it.Value()); err == nil && h.time >= before {
			break
		}
		floor = seqOf(it.Key())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil && !pebble.IsCorruptionError(err) {
		return 0, err
	}
	return floor, nil
}

// endOf returns the end of a record, or of the nearest sound one before it.
func (l *topicLog) endOf(t tail, seq uint64) (uint64, error) {
	if seq == t.last {
		return t.end, nil
	}
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(nil, spaceLog, t.id, t.floor+1), UpperBound: seqKey(nil, spaceLog, t.id, seq+1),
	})
	if err != nil {
		return 0, err
	}
	end := t.floorEnd
	for ok := it.Last(); ok; ok = it.Prev() {
		if h, err := readHeader(it.Key(), it.Value()); err == nil {
			end = h.end
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil && !pebble.IsCorruptionError(err) {
		return 0, err
	}
	return end, nil
}
