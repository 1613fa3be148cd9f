// Package frames is how a session is kept: as it was saved, and behind that what
// changed since.
package frames

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/wire"
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
	return binary.LittleEndian.AppendUint32(buf, wire.Checksum(key, buf[start:]))
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
	if len(row) < end+4 || binary.LittleEndian.Uint32(row[end:]) != wire.Checksum(key, row[:end]) {
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
	buf = wire.AppendText(wire.AppendText(buf, s.User), s.Device)
	buf = binary.AppendVarint(buf, s.Seen.UnixMilli())
	buf = binary.AppendVarint(buf, Milliseconds(s.Expiry))
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
		buf = wire.AppendText(buf, sub.Filter)
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, flags), sub.Mark)
		buf = binary.AppendUvarint(buf, uint64(len(sub.Acked)))
		for topic, at := range sub.Acked {
			buf = appendAcked(buf, sub.Filter, topic, at)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(s.Notes)))
	for name, value := range s.Notes {
		buf = wire.AppendText(buf, name)
		buf = append(binary.AppendUvarint(buf, uint64(len(value))), value...)
	}
	return buf
}

// Milliseconds rounds up: nothing is forgotten early.
func Milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// appendAcked adds a cursor; a topic that is the filter itself is not repeated.
func appendAcked(buf []byte, filter, topic string, at message.Position) []byte {
	if topic == filter {
		buf = append(buf, 1)
	} else {
		buf = wire.AppendText(append(buf, 0), topic)
	}
	return binary.AppendUvarint(wire.AppendText(buf, at.Epoch), at.Seq)
}

func readAcked(c *wire.Reader, filter string) (topic string, at message.Position) {
	topic = filter
	if c.Uvarint() == 0 {
		topic = c.Text()
	}
	at.Epoch = c.Text()
	at.Seq = c.Uvarint()
	return topic, at
}

// Load puts a row of frames together. key is a byte and the id of the session.
// The session is nil when the row does not begin with one, and shares nothing
// with row. sound is false when a frame is damaged.
func Load(key, row []byte) (s *store.Session, sound bool) {
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
	c := wire.Reader{Rest: append([]byte(nil), body...)}
	s = &store.Session{User: c.Text(), Device: c.Text()}
	s.Seen = time.UnixMilli(c.Varint())
	s.Expiry = time.Duration(c.Varint()) * time.Millisecond
	for n := c.Uvarint(); n > 0 && !c.Bad; n-- {
		sub := store.Subscription{Filter: c.Text()}
		flags := c.Uvarint()
		sub.QoS, sub.Presence, sub.Receipts = uint32(flags/subQoS), flags&subPresence != 0, flags&subReceipts != 0
		sub.Mark = c.Uvarint()
		for k := c.Uvarint(); k > 0 && !c.Bad; k-- {
			topic, at := readAcked(&c, sub.Filter)
			acked(&sub, topic, at)
		}
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	for n := c.Uvarint(); n > 0 && !c.Bad; n-- {
		name := c.Text()
		note(s, name, c.Bytes())
	}
	return s, !c.Bad && len(c.Rest) == 0
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
	c := wire.Reader{Rest: append([]byte(nil), f.body...)}
	switch f.kind {
	case frameAck:
		filter := c.Text()
		topic, at := readAcked(&c, filter)
		for i := range s.Subscriptions {
			if sub := &s.Subscriptions[i]; sub.Filter == filter {
				acked(sub, topic, at)
			}
		}
	case frameNote:
		name := c.Text()
		note(s, name, c.Rest)
	case frameUnnote:
		delete(s.Notes, c.Text())
	default:
		return false
	}
	return !c.Bad
}

// mergerName is written into the database, which is opened with no other.
const mergerName = "parley.frames"

// Save is the row of a session that is as s.
func Save(key []byte, s *store.Session) []byte {
	return appendFrame(nil, key, frameSession, sessionBody(s))
}

// Ack adds the change that an acknowledgement is.
func Ack(buf, key []byte, a *store.Ack) []byte {
	return appendFrame(buf, key, frameAck, appendAcked(wire.AppendText(nil, a.Filter), a.Filter, a.Topic, a.Position))
}

// Note is the change of one note; a nil value removes it.
func Note(key []byte, name string, value []byte) []byte {
	kind := byte(frameNote)
	if value == nil {
		kind = frameUnnote
	}
	return appendFrame(nil, key, kind, append(wire.AppendText(nil, name), value...))
}

// Merger tells Pebble how rows of frames are put together.
func Merger() *pebble.Merger {
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
	if s, sound := Load(r.key, row); sound && s != nil {
		row = Save(r.key, s)
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
	c := wire.Reader{Rest: f.body}
	switch f.kind {
	case frameAck:
		filter := c.Text()
		topic, _ := readAcked(&c, filter)
		return "A" + filter + "\x00" + topic, !c.Bad
	case frameNote, frameUnnote:
		return "N" + c.Text(), !c.Bad
	}
	return "", false
}
