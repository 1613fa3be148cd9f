package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/parleyhq/parley/protocol"
)

// Error is a frame that cannot be one. What follows it cannot be read either:
// the connection ends with its reason.
type Error struct {
	protocol.Reason

	Text string
	Form Form // of the frame, or the one to answer in
}

func (e *Error) Error() string { return e.Text }

// Reader turns the bytes of a connection into frames, however they are cut or
// joined. It holds memory only while a frame is incomplete, and never more than
// has come.
type Reader struct {
	Limit int // bytes of a payload
	rest  []byte
}

// Incomplete reports whether a part of a frame has come.
func (r *Reader) Incomplete() bool { return len(r.rest) > 0 }

// Feed takes the next bytes and calls handle for every whole frame, which is
// valid only during the call; data is changed in place. The error is an *Error
// or handle's, and no more may be fed after one.
func (r *Reader) Feed(data []byte, handle func(Frame) error) error {
	if len(r.rest) > 0 {
		r.rest = append(r.rest, data...)
		data = r.rest
	}
	before := len(data)
	for len(data) > 0 {
		size, err := r.check(data)
		if err != nil {
			return err
		}
		if size == 0 || len(data) < size {
			break
		}
		raw := data[:size]
		data = data[size:]
		if err := verify(raw); err != nil {
			return err
		}
		if err := handle(Frame{Form: Form(raw[2]), ID: raw[3], raw: raw}); err != nil {
			return err
		}
	}
	switch {
	case len(data) == 0:
		r.rest = nil
	case len(data) < before || len(r.rest) == 0:
		r.rest = append([]byte(nil), data...)
	default: // nothing was complete: rest has it all, so that a frame in many pieces is copied once
	}
	return nil
}

// check looks at as much of a header as has come, and returns the size of the
// frame once that is known.
func (r *Reader) check(b []byte) (size int, err error) {
	form := Protobuf
	if len(b) > 2 && Form(b[2]).Known() {
		form = Form(b[2])
	}
	for i := range min(len(b), 2) {
		if b[i] != Magic>>8 { // both bytes are the same
			return 0, &Error{protocol.BadProtocol, fmt.Sprintf("a frame begins with 5a5a, byte %d is %02x", i, b[i]), form}
		}
	}
	if len(b) > 2 && !Form(b[2]).Known() {
		return 0, &Error{protocol.BadProtocol, fmt.Sprintf("version %02x is not spoken here: use 01 (Protobuf) or 81 (JSON)", b[2]), form}
	}
	if len(b) < HeaderSize {
		return 0, nil
	}
	length := binary.BigEndian.Uint32(b[4:])
	if uint64(length) > uint64(r.Limit) {
		return 0, &Error{protocol.TooLarge, fmt.Sprintf("the payload has %d bytes, at most %d are taken", length, r.Limit), form}
	}
	return HeaderSize + int(length) + TrailerSize, nil
}

func verify(raw []byte) error {
	end := len(raw) - TrailerSize
	got, want := binary.BigEndian.Uint32(raw[end:]), crc32.ChecksumIEEE(raw[:end])
	if got != want {
		return &Error{protocol.BadProtocol, fmt.Sprintf("the checksum is %08x, of what came it is %08x", got, want), Form(raw[2])}
	}
	return nil
}
