package sse

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/parleyhq/parley/message"
)

// An id, the text that a client sends back to go on where it was, is the
// unpadded base64url of
//
//	version    1 byte, 1
//	epochs     count, then each as length and bytes
//	places     count, then each as 6 bytes of the topic's hash, the index of its
//	           epoch, and its seq
//
// with counts, lengths, indexes and seqs as unsigned varints. Topics are hashed,
// so that an id stays short and fits any set of topics: what a request does not
// ask for is left out, and what an id does not have begins from now. It is not
// signed, for it can say nothing but where to begin.
const (
	cursorVersion = 1
	hashSize      = 6
	maxEpoch      = 64
	// maxID is far more than the places of maxTopics take, and less than what
	// proxies allow one header.
	maxID = 6 << 10
)

type topicHash [hashSize]byte

func hashOf(topic string) (out topicHash) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(topic)) // never fails
	var sum [8]byte
	copy(out[:], h.Sum(sum[:0]))
	return out
}

// place is how far a stream has got in one topic.
type place struct {
	hash  topicHash
	epoch int // index in cursor.epochs
	seq   uint64
}

// cursor is how far a stream has got in all of its topics. It is not safe for
// concurrent use.
type cursor struct {
	epochs []string
	places []place
	index  map[string]int // in places, of the topics that were set by name
	plain  []byte         // scratch
}

// set notes that everything of a topic up to p was sent. Without an epoch it is
// that of before.
func (c *cursor) set(topic string, p message.Position) {
	i, known := c.index[topic]
	if !known {
		if c.index == nil {
			c.index = make(map[string]int)
		}
		i = len(c.places)
		c.index[topic] = i
		c.places = append(c.places, place{hash: hashOf(topic)})
	}
	at := &c.places[i]
	switch {
	case !known || p.Epoch != "" && c.epochs[at.epoch] != p.Epoch:
		at.epoch, at.seq = c.epoch(p.Epoch), p.Seq
	default:
		at.seq = max(at.seq, p.Seq)
	}
}

// epoch returns the index of an epoch. Most topics share one; those that none
// is in any more are forgotten when there are too many.
func (c *cursor) epoch(name string) int {
	if i := slices.Index(c.epochs, name); i >= 0 {
		return i
	}
	if len(c.epochs) > 2*len(c.places)+2 {
		c.tidy()
	}
	c.epochs = append(c.epochs, name)
	return len(c.epochs) - 1
}

func (c *cursor) tidy() {
	old := c.epochs
	c.epochs = nil
	for i := range c.places {
		at := &c.places[i]
		j := slices.Index(c.epochs, old[at.epoch])
		if j < 0 {
			j = len(c.epochs)
			c.epochs = append(c.epochs, old[at.epoch])
		}
		at.epoch = j
	}
}

// position returns the place of a topic, which may come from an id.
func (c *cursor) position(topic string) (message.Position, bool) {
	h := hashOf(topic)
	for i := range c.places {
		if at := &c.places[i]; at.hash == h {
			return message.Position{Epoch: c.epochs[at.epoch], Seq: at.seq}, true
		}
	}
	return message.Position{}, false
}

// appendID appends the id to dst.
func (c *cursor) appendID(dst []byte) []byte {
	b := c.plain[:0]
	b = append(b, cursorVersion)
	b = binary.AppendUvarint(b, uint64(len(c.epochs)))
	for _, e := range c.epochs {
		b = binary.AppendUvarint(b, uint64(len(e)))
		b = append(b, e...)
	}
	b = binary.AppendUvarint(b, uint64(len(c.places)))
	for i := range c.places {
		at := &c.places[i]
		b = append(b, at.hash[:]...)
		b = binary.AppendUvarint(b, uint64(at.epoch))
		b = binary.AppendUvarint(b, at.seq)
	}
	c.plain = b
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

var errID = errors.New("it is no id of this server")

// parseID reads an id. What it holds is as trustworthy as the client.
func parseID(text string) (*cursor, error) {
	if len(text) > maxID || strings.ContainsAny(text, "\r\n") { // which base64 skips
		return nil, errID
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 || raw[0] != cursorVersion {
		return nil, errID
	}
	r := reader{raw[1:], true}
	c := &cursor{}
	for range r.count(1) {
		e := r.bytes(r.number())
		if len(e) > maxEpoch {
			return nil, errID
		}
		c.epochs = append(c.epochs, string(e))
	}
	for range r.count(hashSize + 2) {
		var at place
		copy(at.hash[:], r.bytes(hashSize))
		epoch := r.number()
		at.seq = r.number()
		if !r.good || epoch >= uint64(len(c.epochs)) {
			return nil, errID
		}
		at.epoch = int(epoch)
		c.places = append(c.places, at)
	}
	if !r.good || len(r.rest) > 0 {
		return nil, errID
	}
	return c, nil
}

// reader takes the parts of an id off its front; good is false once one was
// missing.
type reader struct {
	rest []byte
	good bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.good, r.rest = false, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads how many parts follow, each of which takes some bytes at least.
func (r *reader) count(each int) uint64 {
	n := r.number()
	if n > uint64(len(r.rest)/each) {
		r.good, r.rest = false, nil
		return 0
	}
	return n
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.good, r.rest = false, nil
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}
