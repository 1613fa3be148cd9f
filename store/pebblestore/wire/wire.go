// Package wire puts values into bytes and takes them out again: numbers as
// varints, texts behind their length, and checksums over both.
package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// ErrDamaged tells that bytes are not what was written.
var ErrDamaged = errors.New("the record is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendText adds a text behind its length.
func AppendText(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

// Checksum is the CRC-32C of a key and what is kept under it: a record in the
// wrong place is damaged too.
func Checksum(key, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rest)
}

// Reader takes values out of bytes.
type Reader struct {
	// Rest is what was not read yet.
	Rest []byte
	// Bad tells that something could not be read; zeros were returned.
	Bad bool
}

// Uvarint reads a number.
func (c *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(c.Rest)
	if n <= 0 {
		c.Bad, c.Rest = true, nil
		return 0
	}
	c.Rest = c.Rest[n:]
	return v
}

// Varint reads a number that may be below zero.
func (c *Reader) Varint() int64 {
	v, n := binary.Varint(c.Rest)
	if n <= 0 {
		c.Bad, c.Rest = true, nil
		return 0
	}
	c.Rest = c.Rest[n:]
	return v
}

// Bytes returns a part of Rest, which nobody may append to.
func (c *Reader) Bytes() []byte {
	n := c.Uvarint()
	if n > uint64(len(c.Rest)) {
		c.Bad, c.Rest = true, nil
		return nil
	}
	b := c.Rest[:n:n]
	c.Rest = c.Rest[n:]
	return b
}

// Text reads a text.
func (c *Reader) Text() string { return string(c.Bytes()) }

// Seal adds a checksum of what stands behind start.
func Seal(buf []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// Sealed adds a checksum to a value.
func Sealed(b []byte) []byte { return Seal(b, 0) }

// Verified returns b without the checksum at its end, if that is right and
// something is left.
func Verified(b []byte) ([]byte, bool) {
	n := len(b) - 4
	if n < 1 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, false
	}
	return b[:n], true
}
