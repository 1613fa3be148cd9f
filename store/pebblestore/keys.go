package pebblestore

import (
	"encoding/binary"
	"strings"

	"github.com/parleyhq/parley/topic"
)

// Keys of the log part, with numbers in eight bytes, the highest first, so that
// they sort as numbers do:
//
//	g marks            the first mark nobody may have used
//	g ids              the first id no topic has
//	t <name>           what is known of a topic: meta
//	l <id> <seq>       a message: record
//	k <id> <seq>       the key that message was published with
//	p <id> <producer>  how far a producer has got on the topic
//	r <name>           the topic's last value: a record behind its position
//
// A topic has its id for one epoch: a new epoch is a new id, and what stands
// under the old one is deleted in one go.
const (
	spaceLog       = 'l'
	spaceKeys      = 'k'
	spaceProducers = 'p'
	spaceTopics    = 't'
	spaceRetained  = 'r'
	keyMarks       = "gmarks"
	keyIDs         = "gids"
)

func seqKey(buf []byte, space byte, id, seq uint64) []byte {
	buf = append(buf, space)
	buf = binary.BigEndian.AppendUint64(buf, id)
	return binary.BigEndian.AppendUint64(buf, seq)
}

// seqOf returns the number in a key that seqKey made.
func seqOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[9:]) }

func producerKey(buf []byte, id uint64, producer string) []byte {
	buf = append(buf, spaceProducers)
	buf = binary.BigEndian.AppendUint64(buf, id)
	return append(buf, producer...)
}

func nameKey(buf []byte, space byte, name string) []byte {
	return append(append(buf, space), name...)
}

// nameBounds returns the keys between which all names stand that f matches and
// that come after from.
func nameBounds(space byte, f topic.Filter, from topic.Name) (lower, upper []byte) {
	switch {
	case f == "":
		lower = []byte{space}
		upper = behind(lower)
	case !f.Wildcard():
		lower = nameKey(nil, space, string(f))
		upper = append(nameKey(nil, space, string(f)), 0)
	default:
		prefix := string(f)[:strings.IndexAny(string(f), "+#")]
		lower = nameKey(nil, space, prefix)
		upper = behind(lower)
		if rest := string(f)[len(prefix):]; rest == "#" && prefix != "" {
			lower = lower[:len(lower)-1] // "a/#" matches "a" as well, which sorts before "a/"
		}
	}
	if from != "" {
		if next := append(nameKey(nil, space, string(from)), 0); string(next) > string(lower) {
			lower = next
		}
	}
	return lower, upper
}

// behind returns the first key behind all those with a prefix.
func behind(prefix []byte) []byte {
	next := append([]byte(nil), prefix...)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}
