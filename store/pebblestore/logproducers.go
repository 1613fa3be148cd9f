package pebblestore

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/records"
)

// checkEvery is after how many messages of a topic its producers are brought
// into their index. So many records are read again when a topic is loaded.
const checkEvery = 512

// numbered returns how far the producers of the messages from behind Checked up to
// upTo have got. A damaged record is passed over: its message is lost, and may be
// published again. The error tells that more could not be read.
func (l *topicLog) numbered(t tail, upTo uint64) (map[string]store.Producer, error) {
	it, err := l.db.pebble.NewIter(&pebble.IterOptions{
		LowerBound: seqKey(nil, spaceLog, t.ID, t.Checked+1), UpperBound: seqKey(nil, spaceLog, t.ID, upTo+1),
	})
	if err != nil {
		return nil, err
	}
	found := make(map[string]store.Producer)
	take := func() {
		p, some, err := records.ReadProducer(it.Key(), it.Value())
		if p.Seq = seqOf(it.Key()); some && err == nil && p.Seq > found[p.Producer].Seq {
			found[p.Producer] = p
		}
	}
	for ok := it.First(); ok; ok = it.Next() {
		take()
	}
	damage := it.Error()
	if pebble.IsCorruptionError(damage) { // what is behind it is newer
		for ok := it.Last(); ok; ok = it.Prev() {
			take()
		}
	}
	return found, errors.Join(damage, it.Error(), it.Close())
}

// check brings the producers of the messages up to upTo into their index. Where a
// part of the disk is damaged, that waits until these messages have to go: their
// topic goes on.
func (l *topicLog) check(b *pebble.Batch, t *tail, name string, upTo uint64, going bool) error {
	found, err := t.fresh, error(nil)
	if found == nil || upTo < t.last {
		found, err = l.numbered(*t, upTo)
	}
	damaged := pebble.IsCorruptionError(err)
	if err != nil && !damaged {
		return fmt.Errorf("read who published to %s: %w", name, err)
	}
	if damaged && !going {
		return nil
	}
	for _, p := range found {
		l.put(b, producerKey(l.key[:0], t.ID, p.Producer), func(buf, _ []byte) []byte { return records.AppendProducer(buf, p.Epoch, p.N, p.Seq) })
	}
	if t.Checked = upTo; upTo == t.last {
		t.fresh = make(map[string]store.Producer)
	}
	l.put(b, nameKey(l.key[:0], spaceTopics, name), func(buf, _ []byte) []byte { return records.AppendMeta(buf, t.Meta) })
	return nil
}

// producers returns all producers of a topic, from the index and from the
// records behind it.
func (l *topicLog) producers(t tail) ([]store.Producer, error) {
	known := make(map[string]store.Producer)
	err := l.db.each(spaceProducers, t.ID, false, func(key, value []byte) (bool, error) {
		p, err := records.DecodeProducer(value)
		p.Producer = string(key[9:])
		known[p.Producer] = p
		return true, err
	})
	if err != nil {
		return nil, err
	}
	later, err := l.numbered(t, t.last)
	if err != nil && !pebble.IsCorruptionError(err) {
		return nil, err
	}
	maps.Copy(known, later)
	return slices.Collect(maps.Values(known)), nil
}
