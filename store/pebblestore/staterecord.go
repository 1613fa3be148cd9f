package pebblestore

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// The value under a session is a row of frames: the session as it was saved,
// and behind it what changed since, oldest first. A change is written without
// reading the session, as an operand that Pebble appends; when Pebble sorts its
// files anyway it folds a row into one frame. Of three ways to write ten
// thousand cursors at once, this took 0.6 µs each, reading and replacing the
// session 2.7 µs, and a key for each cursor, with a look whether there is such a
// session, 8.9 µs.
//
// A frame is its kind, the length of its body as varint, the body, and a
// CRC-32C of the record's key and all that.
const (
	frameSession = 'S'
	frameAck     = 'A' // filter, topic, epoch, seq
	frameNote    = 'N' // name, value
	frameUnnote  = 'U' // name
)

func appendFrame(buf, key []byte, kind byte, body []byte) []byte {
	start := len(buf)
	buf = append(buf, kind)
	buf = binary.AppendUvarint(buf, uint64(len(body)))
	buf = append(buf, body...)
	return binary.LittleEndian.AppendUint32(buf, checksum(key, buf[start:]))
}

// frame is one that was read: its kind and body, and the whole of it.
type frame struct {
	kind        byte
	body, whole []byte
}

// nextFrame takes the first frame off a row.
func nextFrame(key, row []byte) (f frame, rest []byte, ok bool) {
	if len(row) < 2 {
		return frame{}, nil, false
	}
	n, used := binary.Uvarint(row[1:])
	if used <= 0 || n > uint64(len(row)) {
		return frame{}, nil, false
	}
	end := 1 + used + int(n)
	if len(row) < end+4 || binary.LittleEndian.Uint32(row[end:]) != crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, row[:end]) {
		return frame{}, nil, false
	}
	return frame{row[0], row[1+used : end], row[:end+4]}, row[end+4:], true
}

// frames takes a row apart.
func frames(key, row []byte) (list []frame, sound bool) {
	for len(row) > 0 {
		f, rest, ok := nextFrame(key, row)
		if !ok {
			return nil, false
		}
		list, row = append(list, f), rest
	}
	return list, true
}

// flags of a subscription; its QoS stands above them.
const (
	subPresence = 1 << iota
	subReceipts
	subQoS
)

// sessionBody encodes a session without its id, which is the key.
func sessionBody(s *store.Session) []byte {
	buf := make([]byte, 0, 256)
	buf = appendText(appendText(buf, s.User), s.Device)
	buf = binary.AppendVarint(buf, s.Seen.UnixMilli())
	buf = binary.AppendVarint(buf, milliseconds(s.Expiry))
	buf = binary.AppendUvarint(buf, uint64(len(s.Subscriptions)))
	for i := range s.Subscriptions {
		sub := &s.Subscriptions[i]
		flags := uint64(sub.QoS) * subQoS
		if sub.Presence {
			flags |= subPresence
		}
		if sub.Receipts {
			flags |= subReceipts
		}
		buf = appendText(buf, sub.Filter)
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, flags), sub.Mark)
		buf = binary.AppendUvarint(buf, uint64(len(sub.Acked)))
		for topic, at := range sub.Acked {
			buf = appendAcked(buf, sub.Filter, topic, at)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(s.Notes)))
	for name, value := range s.Notes {
		buf = appendText(buf, name)
		buf = append(binary.AppendUvarint(buf, uint64(len(value))), value...)
	}
	return buf
}

// milliseconds rounds up: nothing is forgotten early.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// appendAcked adds a cursor; a topic that is the filter itself is not repeated.
func appendAcked(buf []byte, filter, topic string, at message.Position) []byte {
	if topic == filter {
		buf = append(buf, 1)
	} else {
		buf = appendText(append(buf, 0), topic)
	}
	return binary.AppendUvarint(appendText(buf, at.Epoch), at.Seq)
}

func (c *cursor) acked(filter string) (topic string, at message.Position) {
	topic = filter
	if c.uvarint() == 0 {
		topic = c.text()
	}
	at.Epoch = c.text()
	at.Seq = c.uvarint()
	return topic, at
}

// decodeSession puts a row of frames together; the session is nil when the row
// does not begin with one. It shares nothing with row.
func decodeSession(key, row []byte) (s *store.Session, sound bool) {
	list, sound := frames(key, row)
	if !sound || len(list) == 0 || list[0].kind != frameSession {
		return nil, sound
	}
	if s, sound = decodeSaved(list[0].body); !sound {
		return nil, false
	}
	s.ID = string(key[1:])
	for _, f := range list[1:] {
		if !change(s, f) {
			return nil, false
		}
	}
	return s, true
}

func decodeSaved(body []byte) (s *store.Session, sound bool) {
	c := cursor{rest: append([]byte(nil), body...)}
	s = &store.Session{User: c.text(), Device: c.text()}
	s.Seen = time.UnixMilli(c.varint())
	s.Expiry = time.Duration(c.varint()) * time.Millisecond
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		sub := store.Subscription{Filter: c.text()}
		flags := c.uvarint()
		sub.QoS, sub.Presence, sub.Receipts = uint32(flags/subQoS), flags&subPresence != 0, flags&subReceipts != 0
		sub.Mark = c.uvarint()
		for k := c.uvarint(); k > 0 && !c.bad; k-- {
			topic, at := c.acked(sub.Filter)
			acked(&sub, topic, at)
		}
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		name := c.text()
		note(s, name, c.bytes())
	}
	return s, !c.bad && len(c.rest) == 0
}

func acked(sub *store.Subscription, topic string, at message.Position) {
	if sub.Acked == nil {
		sub.Acked = make(map[string]message.Position)
	}
	sub.Acked[topic] = at
}

func note(s *store.Session, name string, value []byte) {
	if s.Notes == nil {
		s.Notes = make(map[string][]byte)
	}
	s.Notes[name] = value
}

// change applies a frame to a session; false when it is none that can be.
func change(s *store.Session, f frame) bool {
	c := cursor{rest: append([]byte(nil), f.body...)}
	switch f.kind {
	case frameAck:
		filter := c.text()
		topic, at := c.acked(filter)
		for i := range s.Subscriptions {
			if sub := &s.Subscriptions[i]; sub.Filter == filter {
				acked(sub, topic, at)
			}
		}
	case frameNote:
		name := c.text()
		note(s, name, c.rest)
	case frameUnnote:
		delete(s.Notes, c.text())
	default:
		return false
	}
	return !c.bad
}

// mergerName is written into the database, which is opened with no other.
const mergerName = "parley.frames"

// merger tells Pebble how rows of frames are put together.
func merger() *pebble.Merger {
	return &pebble.Merger{Name: mergerName, Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		return &rows{key: slices.Clone(key), list: [][]byte{slices.Clone(value)}}, nil
	}}
}

// rows is one merge under way. It never fails: a merge that did would stop
// Pebble from sorting its files for good. What is damaged stays as it is and is
// told to those who read it.
type rows struct {
	key  []byte
	list [][]byte // oldest first
}

// MergeNewer is described at pebble.ValueMerger.
func (r *rows) MergeNewer(value []byte) error {
	r.list = append(r.list, slices.Clone(value))
	return nil
}

// MergeOlder is described at pebble.ValueMerger.
func (r *rows) MergeOlder(value []byte) error {
	r.list = slices.Insert(r.list, 0, slices.Clone(value))
	return nil
}

// Finish is described at pebble.ValueMerger. whole tells that there is nothing
// older: changes without a session are of one that was deleted, and nothing is
// left of them but an empty row. (Pebble could delete the key as well, but with
// pebble.DeletableValueMerger it forgets deletions of what lies deeper.)
func (r *rows) Finish(whole bool) ([]byte, io.Closer, error) {
	row := slices.Concat(r.list...)
	if list, sound := frames(r.key, row); sound && len(list) > 0 && list[0].kind != frameSession {
		if whole {
			return nil, nil, nil
		}
		return newest(row, list), nil, nil
	}
	if s, sound := decodeSession(r.key, row); sound && s != nil {
		row = appendFrame(nil, r.key, frameSession, sessionBody(s))
	}
	return row, nil, nil
}

// newest leaves out of a row of changes those that a later one replaces.
func newest(row []byte, list []frame) []byte {
	seen := make(map[string]bool, len(list))
	var keep [][]byte
	for _, f := range slices.Backward(list) {
		what, ok := subject(f)
		if !ok {
			return row
		}
		if !seen[what] {
			seen[what] = true
			keep = append(keep, f.whole)
		}
	}
	slices.Reverse(keep)
	return slices.Concat(keep...)
}

// subject is what a change changes.
func subject(f frame) (string, bool) {
	c := cursor{rest: f.body}
	switch f.kind {
	case frameAck:
		filter := c.text()
		topic, _ := c.acked(filter)
		return "A" + filter + "\x00" + topic, !c.bad
	case frameNote, frameUnnote:
		return "N" + c.text(), !c.bad
	}
	return "", false
}
