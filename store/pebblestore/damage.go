package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/frames"
	"github.com/parleyhq/parley/store/pebblestore/records"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// Report is what was found in a database.
type Report struct {
	Topics, Messages, Sessions int
	// Damage says what is lost, a line each, in the words of those who run a
	// server.
	Damage []string
}

// inspection reads all of a database.
type inspection struct {
	db   *DB
	ctx  context.Context
	keep func(key, value []byte) error
	out  Report

	topics map[uint64]topicOf // by id
	id     uint64             // of the topic whose messages are read
	next   uint64             // the number that should come
}

type topicOf struct {
	records.Meta

	name string
}

// Inspect reads everything and reports what is damaged. Every sound record is
// given to keep, which may be nil; key and value are its own only until it
// returns.
func (db *DB) Inspect(ctx context.Context, keep func(key, value []byte) error) (Report, error) {
	if !db.use() {
		return Report{}, store.ErrClosed
	}
	defer db.unuse()
	if keep == nil {
		keep = func(_, _ []byte) error { return nil }
	}
	in := &inspection{db: db, ctx: ctx, keep: keep, topics: map[uint64]topicOf{}}
	t := []byte{spaceTopics}
	for _, part := range [][2][]byte{{t, behind(t)}, {nil, t}, {behind(t), {0xff}}} { // messages are told by what is known of topics
		if err := in.walk(part[0], part[1]); err != nil {
			return in.out, err
		}
	}
	return in.out, nil
}

// walk reads from one key to another around what cannot be read.
func (in *inspection) walk(lower, upper []byte) error {
	for {
		last, err := in.pass(lower, upper)
		if err == nil || !pebble.IsCorruptionError(err) {
			return err
		}
		from := lower
		if last != nil {
			from = append(bytes.Clone(last), 0)
		}
		if lower, err = in.readable(from, upper); err != nil {
			return err
		}
		if from[0] != spaceLog || lower[0] != spaceLog { // holes in topics are found by their numbers
			in.damagef("what is kept between the keys %q and %q cannot be read", from, lower)
		}
	}
}

func (in *inspection) damagef(format string, args ...any) {
	in.out.Damage = append(in.out.Damage, fmt.Sprintf(format, args...))
}

// pass reads with one iterator and returns the last key it saw.
func (in *inspection) pass(lower, upper []byte) (last []byte, err error) {
	it, err := in.db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		last = append(last[:0], it.Key()...)
		if in.judge(it.Key(), it.Value()) {
			err = in.keep(it.Key(), it.Value())
		}
		err = errors.Join(err, in.ctx.Err())
	}
	return last, errors.Join(err, it.Error(), it.Close())
}

// readable returns the first key, about, from which reading goes on: it halves
// the way between one from which it does not and one from which it does.
func (in *inspection) readable(low, high []byte) ([]byte, error) {
	const precision = 32 // bytes of a key
	number := func(key []byte) *big.Int {
		return new(big.Int).SetBytes(append(bytes.Clone(key), make([]byte, precision)...)[:precision])
	}
	bad, good := number(low), number(high)
	for two := big.NewInt(2); ; {
		middle := new(big.Int).Add(bad, good)
		if middle.Quo(middle, two); middle.Cmp(bad) == 0 {
			return bytes.TrimRight(good.FillBytes(make([]byte, precision)), "\x00"), nil
		}
		it, err := in.db.pebble.NewIter(&pebble.IterOptions{LowerBound: middle.FillBytes(make([]byte, precision)), UpperBound: high})
		if err != nil {
			return nil, err
		}
		it.First()
		switch err := errors.Join(it.Error(), it.Close()); {
		case err == nil:
			good = middle
		case pebble.IsCorruptionError(err):
			bad = middle
		default:
			return nil, err
		}
	}
}

// judge counts a record and reports whether it is sound.
func (in *inspection) judge(key, value []byte) bool {
	rest := string(key[1:])
	switch key[0] {
	case spaceTopics:
		m, err := records.DecodeMeta(value)
		if err == nil {
			in.out.Topics++
			in.topics[m.ID] = topicOf{m, rest}
		}
		return in.sound(err == nil, "topic %s: what is known of it, and with that all of its messages", rest)
	case spaceLog:
		return in.message(key, value)
	case spaceSessions:
		s, sound := frames.Load(key, value)
		if s != nil {
			in.out.Sessions++
		}
		return in.sound(sound, "session %s", rest)
	case spaceRetained:
		_, err := records.DecodeRetained(key, value)
		return in.sound(err == nil, "the last value of topic %s", rest)
	case spaceUsers, spaceDue:
		return true // they have no value
	default:
		_, sound := wire.Verified(value)
		return in.sound(sound, "a receipt, group, key, producer or counter: %q", key)
	}
}

func (in *inspection) sound(ok bool, format string, args ...any) bool {
	if !ok {
		in.damagef(format, args...)
	}
	return ok
}

// message judges one message, and the hole before it.
func (in *inspection) message(key, value []byte) bool {
	if len(key) != 17 {
		return in.sound(false, "a message with the key %q", key)
	}
	id, seq := binary.BigEndian.Uint64(key[1:]), seqOf(key)
	t, known := in.topics[id]
	if !known {
		if in.id != id {
			in.id = id
			in.damagef("messages of a topic of which nothing else is known")
		}
		return false
	}
	if in.id != id {
		in.id, in.next = id, t.Floor+1
	}
	_, err := records.ReadHeader(key, value)
	first, last := in.next, seq-1
	if err != nil {
		last = seq
	}
	if seq > t.Floor && first <= last {
		in.damagef("topic %s, epoch %s: messages %d to %d", t.name, t.Epoch, first, last)
	}
	in.next = max(in.next, seq+1)
	if err == nil {
		in.out.Messages++
	}
	return err == nil
}

// Salvage puts every sound record of db into the new database in the folder to,
// which begins new epochs.
func (db *DB) Salvage(ctx context.Context, to string, o Options) (report Report, err error) {
	saved, err := Open(to, o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, saved.Close(context.WithoutCancel(ctx))) }()
	b := saved.batch()
	write := func() error {
		done := make(chan error, 1)
		saved.commit(b, now, func(err error) { done <- err })
		b = saved.batch()
		return <-done
	}
	report, err = db.Inspect(ctx, func(key, value []byte) error {
		if bytes.HasPrefix(key, []byte(keyAnchors)) || string(key) == keyLedger {
			return nil // the new one has its own
		}
		if err := b.Set(key, value, nil); err != nil || b.Len() < 4<<20 {
			return err
		}
		return write()
	})
	_ = b.LogData(nil, nil)
	if err := errors.Join(err, write(), b.Close()); err != nil {
		return report, err
	}
	return report, saved.Renew(ctx)
}
