// Package records puts what the log keeps into bytes: messages, what is known
// of a topic, and who published what.
package records

import (
	"encoding/binary"
	"slices"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// A record is one message as it is stored:
//
//	version  1 byte
//	checksum 4 bytes: CRC-32C of the record's key and of all that follows
//	end      8 bytes: the bytes of all records of the topic up to this one
//	mark     8 bytes
//	time     8 bytes
//	flags    1 byte
//	then, each as varint or behind its length: [producer, its epoch, its number],
//	seq-prev, [expires], id, type, from, [except], [headers], payload
//
// Numbers are little-endian. The topic, its epoch and the seq are in the key
// and in what is known of the topic. The key of the publish is in an index of
// its own. How far producers have got is there, too, up to Meta.Checked, and
// behind that in the records: an index that is written with every message
// would double the work.
//
// Pebble verifies each block it reads. The checksum here covers the way between:
// a bit that flips in memory is compacted into a block with a right checksum, and
// a record in the wrong place is no damage to Pebble at all.
const (
	recordVersion = 1
	headerSize    = 1 + 4 + 8 + 8 + 8 + 1
	maxHeaders    = 1 << 16
)

const (
	flagBinary = 1 << iota
	flagRetain
	flagExpires
	flagExcept
	flagHeaders
	flagProducer
)

// AppendMessage adds m's record, which stands under key, to buf; before is the end
// of the record before it. It returns this one's.
func AppendMessage(buf, key []byte, m *message.Message, before uint64) (_ []byte, end uint64) {
	start := len(buf)
	flags := byte(0)
	set := func(on bool, flag byte) {
		if on {
			flags |= flag
		}
	}
	set(m.Binary, flagBinary)
	set(m.Retain, flagRetain)
	set(m.ExpiresAt != 0, flagExpires)
	set(m.Except != "", flagExcept)
	set(len(m.Headers) > 0, flagHeaders)
	set(m.Producer != "", flagProducer)

	buf = append(buf, recordVersion, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // checksum and end are known below
	buf = binary.LittleEndian.AppendUint64(buf, m.Mark)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(m.Time))
	buf = append(buf, flags)
	if m.Producer != "" {
		buf = wire.AppendText(buf, m.Producer)
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, m.ProducerEpoch), m.N)
	}
	buf = binary.AppendUvarint(buf, m.Seq-m.Prev)
	if m.ExpiresAt != 0 {
		buf = binary.AppendVarint(buf, m.ExpiresAt)
	}
	buf = wire.AppendText(buf, m.ID)
	buf = wire.AppendText(buf, m.Type)
	buf = wire.AppendText(buf, m.From)
	if m.Except != "" {
		buf = wire.AppendText(buf, m.Except)
	}
	if len(m.Headers) > 0 {
		buf = binary.AppendUvarint(buf, uint64(len(m.Headers)))
		for k, v := range m.Headers {
			buf = wire.AppendText(wire.AppendText(buf, k), v)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(m.Payload)))
	buf = append(buf, m.Payload...)

	record := buf[start:]
	end = before + uint64(len(record))
	binary.LittleEndian.PutUint64(record[5:], end)
	binary.LittleEndian.PutUint32(record[1:], wire.Checksum(key, record[5:]))
	return buf, end
}

// Header is the part of a record that can be read without the rest.
type Header struct {
	// End is the bytes of all records of the topic up to this one.
	End, Mark uint64
	Time      int64
	flags     byte
}

// ReadHeader verifies a record and returns its header.
func ReadHeader(key, record []byte) (Header, error) {
	if len(record) < headerSize || record[0] != recordVersion ||
		binary.LittleEndian.Uint32(record[1:]) != wire.Checksum(key, record[5:]) {
		return Header{}, wire.ErrDamaged
	}
	return Header{
		End:  binary.LittleEndian.Uint64(record[5:]),
		Mark: binary.LittleEndian.Uint64(record[13:]),
		Time: int64(binary.LittleEndian.Uint64(record[21:])), flags: record[29],
	}, nil
}

// DecodeMessage returns the message of a record without its topic, epoch and
// seq; prev is how far behind. The message shares nothing with record.
func DecodeMessage(key, record []byte) (m *message.Message, behind uint64, err error) {
	h, err := ReadHeader(key, record)
	if err != nil {
		return nil, 0, err
	}
	m = &message.Message{Mark: h.Mark, Time: h.Time, Binary: h.flags&flagBinary != 0, Retain: h.flags&flagRetain != 0}
	c := wire.Reader{Rest: append([]byte(nil), record[headerSize:]...)}
	if h.flags&flagProducer != 0 {
		_, _, _ = c.Bytes(), c.Uvarint(), c.Uvarint() // ReadProducer is for these
	}
	behind = c.Uvarint()
	if h.flags&flagExpires != 0 {
		m.ExpiresAt = c.Varint()
	}
	m.ID, m.Type, m.From = c.Text(), c.Text(), c.Text()
	if h.flags&flagExcept != 0 {
		m.Except = c.Text()
	}
	if h.flags&flagHeaders != 0 {
		n := c.Uvarint()
		if n > maxHeaders {
			return nil, 0, wire.ErrDamaged
		}
		m.Headers = make(map[string]string, n)
		for range n {
			k := c.Text()
			m.Headers[k] = c.Text()
		}
	}
	m.Payload = c.Bytes()
	if c.Bad || len(c.Rest) > 0 {
		return nil, 0, wire.ErrDamaged
	}
	return m, behind, nil
}

// ReadProducer returns who numbered the message of a record, and how; false when
// nobody did. The seq is in the key.
func ReadProducer(key, record []byte) (p store.Producer, numbered bool, err error) {
	h, err := ReadHeader(key, record)
	if err != nil || h.flags&flagProducer == 0 {
		return p, false, err
	}
	c := wire.Reader{Rest: record[headerSize:]}
	p = store.Producer{Producer: c.Text(), Epoch: c.Uvarint(), N: c.Uvarint()}
	if c.Bad {
		return store.Producer{}, false, wire.ErrDamaged
	}
	return p, true, nil
}

// Meta is what is known of a topic beside its messages.
type Meta struct {
	// ID is the number under which the topic's records stand.
	ID    uint64
	Epoch string
	// Floor is the highest seq that was forgotten, and FloorEnd the end of its
	// record.
	Floor, FloorEnd uint64
	// Checked is the seq up to which producers are in their index; those of later
	// messages are in their records.
	Checked uint64
	Keep    store.Keep
}

const metaVersion = 1

// AppendMeta adds what is known of a topic to buf.
func AppendMeta(buf []byte, m Meta) []byte {
	start := len(buf)
	buf = append(buf, metaVersion)
	for _, v := range []uint64{m.ID, m.Floor, m.FloorEnd, m.Checked, m.Keep.Count, uint64(m.Keep.Bytes), uint64(m.Keep.Age)} {
		buf = binary.AppendUvarint(buf, v)
	}
	buf = wire.AppendText(buf, m.Epoch)
	return wire.Seal(buf, start)
}

// DecodeMeta reads what AppendMeta wrote.
func DecodeMeta(b []byte) (Meta, error) {
	body, ok := wire.Verified(b)
	if !ok || body[0] != metaVersion {
		return Meta{}, wire.ErrDamaged
	}
	c := wire.Reader{Rest: body[1:]}
	m := Meta{ID: c.Uvarint(), Floor: c.Uvarint(), FloorEnd: c.Uvarint(), Checked: c.Uvarint()}
	m.Keep = store.Keep{Count: c.Uvarint(), Bytes: int64(c.Uvarint()), Age: int64(c.Uvarint())}
	if m.Epoch = c.Text(); c.Bad {
		return Meta{}, wire.ErrDamaged
	}
	return m, nil
}

// AppendUse is the value under a key: who used which until when.
func AppendUse(buf []byte, from, key string, until int64) []byte {
	start := len(buf)
	buf = binary.AppendVarint(buf, until)
	buf = wire.AppendText(wire.AppendText(buf, from), key)
	return wire.Seal(buf, start)
}

// DecodeUse reads what AppendUse wrote. The seq is in the key.
func DecodeUse(b []byte) (k store.Key, err error) {
	body, ok := wire.Verified(b)
	if !ok {
		return k, wire.ErrDamaged
	}
	c := wire.Reader{Rest: body}
	k.Until, k.From, k.Key = c.Varint(), c.Text(), c.Text()
	if c.Bad {
		return k, wire.ErrDamaged
	}
	return k, nil
}

// AppendProducer is the value under a producer: how far it has got.
func AppendProducer(buf []byte, epoch, n, seq uint64) []byte {
	start := len(buf)
	buf = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(buf, epoch), n), seq)
	return wire.Seal(buf, start)
}

// DecodeProducer reads what AppendProducer wrote. The name is in the key.
func DecodeProducer(b []byte) (p store.Producer, err error) {
	body, ok := wire.Verified(b)
	if !ok {
		return p, wire.ErrDamaged
	}
	c := wire.Reader{Rest: body}
	p.Epoch, p.N, p.Seq = c.Uvarint(), c.Uvarint(), c.Uvarint()
	if c.Bad {
		return p, wire.ErrDamaged
	}
	return p, nil
}

// AppendRetained is a last value: a record behind its position.
func AppendRetained(buf, key []byte, m *message.Message) []byte {
	start := len(buf)
	buf = binary.LittleEndian.AppendUint64(buf, m.Seq)
	buf = wire.AppendText(buf, m.Epoch)
	buf, _ = AppendMessage(buf, slices.Concat(key, buf[start:]), m, 0)
	return buf
}

// DecodeRetained reads what AppendRetained wrote. The topic is in the key.
func DecodeRetained(key, b []byte) (*message.Message, error) {
	if len(b) < 8 {
		return nil, wire.ErrDamaged
	}
	seq := binary.LittleEndian.Uint64(b)
	c := wire.Reader{Rest: b[8:]}
	epoch := c.Text()
	if c.Bad {
		return nil, wire.ErrDamaged
	}
	m, behind, err := DecodeMessage(slices.Concat(key, b[:len(b)-len(c.Rest)]), c.Rest)
	if err != nil {
		return nil, err
	}
	m.Topic, m.Epoch, m.Seq, m.Prev = string(key[1:]), epoch, seq, seq-behind
	return m, nil
}
