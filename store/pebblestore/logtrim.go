package pebblestore

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/records"
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
		_ = b.DeleteRange(seqKey(nil, spaceKeys, t.ID, 0), seqKey(nil, spaceKeys, t.ID, trim.KeysBelow), nil)
	}
	if floor > t.Floor {
		if t.FloorEnd, err = l.endOf(t, floor); err != nil {
			return store.Head{}, errors.Join(err, b.Close())
		}
		if floor > t.Checked {
			if err := l.check(b, &t, string(name), floor, true); err != nil {
				return store.Head{}, errors.Join(err, b.Close())
			}
		}
		_ = b.DeleteRange(seqKey(nil, spaceLog, t.ID, t.Floor), seqKey(nil, spaceLog, t.ID, floor+1), nil)
		if t.Floor = floor; t.Floor == t.last {
			t.mark = 0
		}
		_ = b.Set(nameKey(nil, spaceTopics, string(name)), records.AppendMeta(nil, t.Meta), nil)
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
	floor := t.Floor
	if n := t.last - t.Floor; trim.Count > 0 && n > trim.Count {
		floor = t.last - trim.Count
	}
	if trim.Bytes > 0 && t.end-t.FloorEnd > uint64(trim.Bytes) {
		n, err := l.search(t, func(h records.Header) bool { return t.end-h.End <= uint64(trim.Bytes) })
		if err != nil {
			return 0, err
		}
		floor = max(floor, min(t.Floor+n+1, t.last-1))
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
		LowerBound: seqKey(nil, spaceLog, t.ID, floor+1), UpperBound: seqKey(nil, spaceLog, t.ID, t.last+1),
	})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if h, err := records.ReadHeader(it.Key(), it.Value()); err == nil && h.Time >= before {
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
		LowerBound: seqKey(nil, spaceLog, t.ID, t.Floor+1), UpperBound: seqKey(nil, spaceLog, t.ID, seq+1),
	})
	if err != nil {
		return 0, err
	}
	end := t.FloorEnd
	for ok := it.Last(); ok; ok = it.Prev() {
		if h, err := records.ReadHeader(it.Key(), it.Value()); err == nil {
			end = h.End
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil && !pebble.IsCorruptionError(err) {
		return 0, err
	}
	return end, nil
}
