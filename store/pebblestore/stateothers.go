package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/frames"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// receipts is the part of a database that keeps how far people have got.
type receipts struct {
	db    *DB
	locks *locks
}

func countKey(topic string) []byte { return append([]byte{spaceCounts}, topic...) }

// Receipts is described at store.Receipts.
func (r *receipts) Receipts(ctx context.Context, topic, after string, limit int) (list []store.Receipt, all int, err error) {
	n, err := r.count(topic)
	if err != nil {
		return nil, 0, err
	}
	prefix := textKey(spaceReceipts, topic, "")
	lower := prefix
	if after != "" {
		lower = append(textKey(spaceReceipts, topic, after), 0)
	}
	err = r.db.span(ctx, lower, behind(prefix), func(key, value []byte) (bool, error) {
		if len(list) >= limit {
			return false, nil
		}
		one, err := frames.LoadReceipt(topic, string(key[len(prefix):]), value)
		list = append(list, one)
		return true, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the receipts of %s: %w", topic, err)
	}
	return list, int(n), nil
}

func (r *receipts) count(topic string) (uint64, error) {
	if !r.db.use() {
		return 0, store.ErrClosed
	}
	defer r.db.unuse()
	return r.db.number(string(countKey(topic)))
}

// Receipt is described at store.Receipts.
func (r *receipts) Receipt(_ context.Context, topic, user string) (store.Receipt, error) {
	value, found, err := r.db.read(textKey(spaceReceipts, topic, user))
	if err != nil || !found {
		return store.Receipt{}, err
	}
	return frames.LoadReceipt(topic, user, value)
}

// Advance is described at store.Receipts.
func (r *receipts) Advance(rs []store.Receipt) {
	byTopic := make(map[string][]*store.Receipt)
	for i := range rs {
		byTopic[rs[i].Topic] = append(byTopic[rs[i].Topic], &rs[i])
	}
	for topic, list := range byTopic {
		r.advance(topic, list)
	}
}

// advance writes receipts of one topic, and how many there are when that
// changed.
func (r *receipts) advance(topic string, list []*store.Receipt) {
	mu := r.locks.of(topic)
	mu.Lock()
	defer mu.Unlock()
	fresh := make(map[string]struct{})
	for _, one := range list {
		_, found, err := r.db.read(textKey(spaceReceipts, topic, one.User))
		if err == nil && !found {
			fresh[one.User] = struct{}{}
		}
	}
	n, err := r.count(topic)
	if errors.Is(err, wire.ErrDamaged) {
		n = r.recount(topic)
	}
	r.db.write(nil, func(b *pebble.Batch) {
		for _, one := range list {
			_ = b.Set(textKey(spaceReceipts, topic, one.User), frames.Receipt(one), nil)
		}
		if len(fresh) > 0 {
			_ = b.Set(countKey(topic), numberValue(n+uint64(len(fresh))), nil)
		}
	})
}

// recount counts the receipts of a topic whose count was lost.
func (r *receipts) recount(topic string) (n uint64) {
	prefix := textKey(spaceReceipts, topic, "")
	_ = r.db.span(context.Background(), prefix, behind(prefix), func(_, _ []byte) (bool, error) { // what can be counted is
		n++
		return true, nil
	})
	return n
}

// groups is the part of a database that keeps groups of consumers.
type groups struct{ db *DB }

// Groups is described at store.Groups.
func (g *groups) Groups(ctx context.Context, name string) (list []store.Group, err error) {
	prefix := textKey(spaceGroups, name, "")
	err = g.db.span(ctx, prefix, behind(prefix), func(key, value []byte) (bool, error) {
		one, err := frames.LoadGroup(name, string(key[len(prefix):]), value)
		list = append(list, one)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the group %s: %w", name, err)
	}
	return list, nil
}

// SaveGroup is described at store.Groups.
func (g *groups) SaveGroup(one *store.Group, done func(error)) {
	key, value := textKey(spaceGroups, one.Name, one.Topic), frames.Group(one)
	g.db.write(done, func(b *pebble.Batch) { _ = b.Set(key, value, nil) })
}

// DeleteGroup is described at store.Groups.
func (g *groups) DeleteGroup(name string, done func(error)) {
	prefix := textKey(spaceGroups, name, "")
	g.db.write(done, func(b *pebble.Batch) { _ = b.DeleteRange(prefix, behind(prefix), nil) })
}
