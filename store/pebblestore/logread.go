package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/records"
	"github.com/parleyhq/parley/topic"
)

// Read is described at store.Log.
func (l *topicLog) Read(_ context.Context, name topic.Name, r store.Range) (store.Records, error) {
	if !l.db.use() {
		return store.Records{}, store.ErrClosed
	}
	defer l.db.unuse()
	t, found, err := l.tail(string(name))
	if err != nil || !found {
		return store.Records{}, err
	}
	s := scan{db: l.db, name: string(name), meta: t.Meta, backward: r.Newest, limit: r.Limit, bytes: r.Bytes}
	s.low, s.high = max(r.After, t.Floor)+1, t.last
	if r.Before != 0 {
		s.high = min(s.high, r.Before-1)
	}
	if s.low > s.high {
		return store.Records{}, nil
	}
	if err := s.run(); err != nil {
		return store.Records{}, fmt.Errorf("read %s: %w", name, err)
	}
	if s.backward {
		slices.Reverse(s.out.Messages)
	}
	if len(s.missing) > 0 {
		// What was trimmed since is not damaged.
		t, _, err = l.tail(string(name))
		s.out.Damaged = err != nil || t.ID != s.meta.ID || slices.Max(s.missing) > t.Floor
	}
	return s.out, nil
}

// scan reads the messages from low to high, or the other way round, around
// what cannot be read.
type scan struct {
	db        *DB
	name      string
	meta      records.Meta
	low, high uint64
	backward  bool
	limit     int
	bytes     int

	out     store.Records
	size    int
	missing []uint64 // the highest number of each stretch that is missing
}

// run scans until the limit or the end.
func (s *scan) run() error {
	for s.low <= s.high && !s.out.More {
		err := s.pass()
		if err == nil {
			return nil
		}
		if !pebble.IsCorruptionError(err) {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) iter(low, high uint64) (*pebble.Iterator, error) {
	return s.db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(nil, spaceLog, s.meta.ID, low), UpperBound: seqKey(nil, spaceLog, s.meta.ID, high+1),
	})
}

// pass reads with one iterator, and moves low or high behind what it has seen.
func (s *scan) pass() error {
	it, err := s.iter(s.low, s.high)
	if err != nil {
		return err
	}
	first, next := it.First, it.Next
	if s.backward {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		if s.full() {
			s.out.More = true
			break
		}
		s.take(it.Key(), it.Value())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	if !s.out.More && s.low <= s.high {
		s.missing = append(s.missing, s.high)
	}
	return nil
}

func (s *scan) full() bool {
	n := len(s.out.Messages)
	return s.limit > 0 && n >= s.limit || s.bytes > 0 && n > 0 && s.size >= s.bytes
}

// take adds one record, if it is sound, and moves on.
func (s *scan) take(key, record []byte) {
	seq := seqOf(key)
	if s.backward {
		if seq < s.high {
			s.missing = append(s.missing, s.high)
		}
		s.high = seq - 1
	} else {
		if seq > s.low {
			s.missing = append(s.missing, seq-1)
		}
		s.low = seq + 1
	}
	m, behind, err := records.DecodeMessage(key, record)
	if err != nil {
		s.missing = append(s.missing, seq)
		return
	}
	m.Topic, m.Epoch, m.Seq, m.Prev = s.name, s.meta.Epoch, seq, seq-behind
	s.size += len(record)
	s.out.Messages = append(s.out.Messages, m)
}

// skip moves low or high over records that cannot be read because the block
// they are in is damaged: it doubles the step until something is readable and
// then halves the stretch in which the damage ends.
func (s *scan) skip() error {
	readable := func(step uint64) (bool, error) {
		low, high := s.low+step, s.high
		if s.backward {
			low, high = s.low, s.high-step
		}
		it, err := s.iter(low, high)
		if err != nil {
			return false, err
		}
		found := s.backward && it.Last() || !s.backward && it.First()
		if err := errors.Join(it.Error(), it.Close()); err != nil && !pebble.IsCorruptionError(err) {
			return false, err
		}
		return found, nil
	}
	var failure error
	all := s.high - s.low + 1
	step := uint64(1)
	for ; step < all; step *= 2 {
		if ok, err := readable(step); ok || err != nil {
			failure = err
			break
		}
	}
	step = min(step, all)
	step -= uint64(sort.Search(int(step/2), func(i int) bool {
		ok, err := readable(step - uint64(i) - 1)
		failure = errors.Join(failure, err)
		return !ok
	}))
	if s.backward {
		s.missing = append(s.missing, s.high)
		s.high -= step
	} else {
		s.low += step
		s.missing = append(s.missing, s.low-1)
	}
	return failure
}

// Topics is described at store.Log.
func (l *topicLog) Topics(ctx context.Context, f topic.Filter, q store.TopicQuery) ([]store.Head, error) {
	if !l.db.use() {
		return nil, store.ErrClosed
	}
	defer l.db.unuse()
	if f != "" && !f.Wildcard() {
		return l.one(string(f), q)
	}
	lower, upper := nameBounds(spaceTopics, f, q.From)
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	var out []store.Head
	for ok := it.First(); ok && err == nil && (q.Limit == 0 || len(out) < q.Limit); ok = it.Next() {
		name := string(it.Key()[1:])
		if f != "" && !f.Matches(topic.Name(name)) {
			continue
		}
		var found []store.Head
		if found, err = l.one(name, q); err == nil {
			out = append(out, found...)
			err = ctx.Err()
		}
	}
	return out, errors.Join(err, it.Error(), it.Close())
}

// one returns the head of one topic, if there is one and q wants it.
func (l *topicLog) one(name string, q store.TopicQuery) ([]store.Head, error) {
	if topic.Name(name) <= q.From {
		return nil, nil
	}
	t, found, err := l.tail(name)
	if err != nil || !found || q.News && t.mark <= q.Mark {
		return nil, err
	}
	h := t.head(name)
	if h.After, err = l.marked(t, q.Mark); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return []store.Head{h}, nil
}

func (t tail) head(name string) store.Head {
	return store.Head{
		Topic: topic.Name(name), Epoch: t.Epoch, First: t.Floor + 1, Last: t.last,
		Bytes: int64(t.end - t.FloorEnd), Mark: t.mark, Keep: t.Keep,
	}
}

// marked returns the number behind which all messages of a topic have a mark
// above mark. Marks of a topic grow with its numbers.
func (l *topicLog) marked(t tail, mark uint64) (uint64, error) {
	if mark == 0 {
		return t.Floor, nil
	}
	n, err := l.search(t, func(h records.Header) bool { return h.Mark > mark })
	return t.Floor + n, err
}

// search returns how many of the oldest messages of a topic come before the
// first that is wanted, which all behind it are too. A damaged one counts as
// wanted: nothing behind it is skipped.
func (l *topicLog) search(t tail, wanted func(records.Header) bool) (uint64, error) {
	var failure error
	n := sort.Search(int(t.last-t.Floor), func(i int) bool {
		key := seqKey(nil, spaceLog, t.ID, t.Floor+uint64(i)+1)
		b, found, err := l.db.get(key)
		if err != nil && !pebble.IsCorruptionError(err) {
			failure = err
		}
		if err != nil || !found {
			return true
		}
		h, err := records.ReadHeader(key, b)
		return err != nil || wanted(h)
	})
	return uint64(n), failure
}

// Recall is described at store.Log.
func (l *topicLog) Recall(_ context.Context, name topic.Name, keys int) (store.Publishers, error) {
	var out store.Publishers
	if !l.db.use() {
		return out, store.ErrClosed
	}
	defer l.db.unuse()
	t, found, err := l.tail(string(name))
	if err != nil || !found {
		return out, err
	}
	err = l.db.each(spaceKeys, t.ID, true, func(key, value []byte) (bool, error) {
		if len(out.Keys) >= keys {
			return false, nil
		}
		k, err := records.DecodeUse(value)
		k.Seq = seqOf(key)
		out.Keys = append(out.Keys, k)
		return true, err
	})
	slices.Reverse(out.Keys)
	if err == nil {
		out.Producers, err = l.producers(t)
	}
	if err != nil {
		return store.Publishers{}, fmt.Errorf("read who published to %s: %w", name, err)
	}
	return out, nil
}

// each calls f with what stands under an id until f wants no more.
func (db *DB) each(space byte, id uint64, backward bool, f func(key, value []byte) (bool, error)) error {
	lower := seqKey(nil, space, id, 0)[:9]
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: behind(lower)})
	if err != nil {
		return err
	}
	first, next := it.First, it.Next
	if backward {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok && err == nil; {
		if ok, err = f(it.Key(), it.Value()); ok {
			ok = next()
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Retained is described at store.Log.
func (l *topicLog) Retained(ctx context.Context, f topic.Filter) ([]*message.Message, error) {
	if !l.db.use() {
		return nil, store.ErrClosed
	}
	defer l.db.unuse()
	lower, upper := nameBounds(spaceRetained, f, "")
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	var out []*message.Message
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if !f.Matches(topic.Name(it.Key()[1:])) {
			continue
		}
		var m *message.Message
		if m, err = records.DecodeRetained(it.Key(), it.Value()); err == nil {
			out = append(out, m)
			err = ctx.Err()
		}
	}
	return out, errors.Join(err, it.Error(), it.Close())
}
