package websocket

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/protocol"
)

// Opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	maxControl = 125 // RFC 6455 §5.5
	maxHeader  = 14  // two bytes, eight of length, four of mask
)

// framingError is a frame that RFC 6455 or our limits forbid. It always ends
// the connection, with Close as the code.
type framingError struct {
	protocol.Reason
	text string
}

func (e *framingError) Error() string { return e.text }

func broken(code int, format string, args ...any) *framingError {
	r := protocol.BadProtocol
	if code == 1009 {
		r = protocol.TooLarge
	}
	r.Close = code
	return &framingError{r, fmt.Sprintf(format, args...)}
}

// reader turns the bytes a client sends into frames, however they are cut.
// It holds memory only while a frame or a fragmented message is incomplete.
type reader struct {
	limit   int       // bytes of a message
	deflate *deflater // nil: compression was not agreed on
	rest    []byte    // of a frame whose end has not come
	message []byte    // of a fragmented message so far
	kind    byte      // opcode of that message; 0 when there is none
	packed  bool      // that message is compressed
}

// feed takes the next bytes and calls handle for every complete message and
// control frame. The payload is valid only during the call, and data is
// changed in place. The error is a *framingError or handle's.
func (r *reader) feed(data []byte, handle func(op byte, payload []byte) error) error {
	if len(r.rest) > 0 {
		r.rest = append(r.rest, data...)
		data = r.rest
	}
	before := len(data)
	for len(data) > 0 {
		h, size, err := r.header(data)
		if err != nil {
			return err
		}
		if size == 0 || len(data) < size+h.length {
			break
		}
		payload := data[size : size+h.length]
		ws.Cipher(payload, h.mask, 0)
		data = data[size+h.length:]
		if err := r.frame(h, payload, handle); err != nil {
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

// incomplete reports whether the reader holds a part of a frame or message.
func (r *reader) incomplete() bool { return r.kind != 0 || len(r.rest) > 0 }

type header struct {
	fin    bool
	packed bool // RSV1, with which a compressed message begins
	op     byte
	mask   [4]byte
	length int
}

// header reads and checks a frame's header. size is 0 while it is incomplete.
func (r *reader) header(b []byte) (h header, size int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.fin, h.packed, h.op = b[0]&0x80 != 0, b[0]&rsv1 != 0, b[0]&0x0f
	if err := checkFirst(b[0], b[1], r.deflate != nil); err != nil {
		return h, 0, err
	}
	size = 2
	length := uint64(b[1] & 0x7f)
	switch length {
	case 126:
		if len(b) < 4 {
			return h, 0, nil
		}
		length, size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return h, 0, nil
		}
		length, size = binary.BigEndian.Uint64(b[2:]), 10
	}
	if h.op < opClose && length > uint64(r.bound(h)-len(r.message)) {
		return h, 0, broken(1009, "the message has more than %d bytes: send it in parts, or ask for a higher limit", r.limit)
	}
	h.length = int(length)
	if len(b) < size+4 {
		return h, 0, nil
	}
	copy(h.mask[:], b[size:])
	return h, size + 4, nil
}

// bound is how many bytes the fragments of a message may have on the wire. A
// compressed one that does not shrink is a little larger than the message.
func (r *reader) bound(h header) int {
	if h.packed || r.packed {
		return r.limit + r.limit/64 + 64
	}
	return r.limit
}

// checkFirst checks what the first two bytes alone can break.
func checkFirst(a, b byte, deflate bool) error {
	op, fin, length := a&0x0f, a&0x80 != 0, b&0x7f
	switch {
	case a&rsv1 != 0 && deflate && (op == opContinuation || op >= opClose):
		return broken(1002, "only the first frame of a message may be marked as compressed")
	case a&0x70 != 0 && (!deflate || a&0x30 != 0):
		return broken(1002, "a reserved bit is set that no extension was agreed on for")
	case op > opBinary && op < opClose, op > opPong:
		return broken(1002, "opcode %#x is reserved", op)
	case b&0x80 == 0:
		return broken(1002, "the frame is not masked, as every frame of a client must be")
	case op >= opClose && !fin:
		return broken(1002, "a control frame is fragmented")
	case op >= opClose && length > maxControl:
		return broken(1002, "a control frame has more than %d bytes", maxControl)
	}
	return nil
}

// frame puts fragments together and hands complete messages on.
func (r *reader) frame(h header, payload []byte, handle func(op byte, payload []byte) error) error {
	if h.op >= opClose {
		return handle(h.op, payload)
	}
	switch {
	case h.op == opContinuation && r.kind == 0:
		return broken(1002, "a continuation without a message to continue")
	case h.op != opContinuation && r.kind != 0:
		return broken(1002, "a new message before the last fragmented one ended")
	}
	if h.op != opContinuation {
		if h.fin {
			return r.whole(h.op, h.packed, payload, handle)
		}
		r.kind, r.packed = h.op, h.packed
	}
	r.message = append(r.message, payload...)
	if !h.fin {
		return nil
	}
	kind, packed, message := r.kind, r.packed, r.message
	r.kind, r.packed, r.message = 0, false, nil
	return r.whole(kind, packed, message, handle)
}

// whole hands a complete message on.
func (r *reader) whole(op byte, packed bool, message []byte, handle func(op byte, payload []byte) error) error {
	if packed {
		return r.deflate.unpack(message, r.limit, func(plain []byte) error { return checked(op, plain, handle) })
	}
	return checked(op, message, handle)
}

func checked(op byte, message []byte, handle func(op byte, payload []byte) error) error {
	if op == opText && !utf8.Valid(message) {
		return broken(1007, "a text message is not valid UTF-8")
	}
	return handle(op, message)
}

// checkClose reads the payload of a close frame (RFC 6455 §5.5.1, §7.4).
func checkClose(payload []byte) (code int, err error) {
	if len(payload) == 0 {
		return 1000, nil
	}
	if len(payload) == 1 {
		return 0, broken(1002, "a close frame with half a code")
	}
	code = int(binary.BigEndian.Uint16(payload))
	switch {
	case code < 1000, code == 1004, code == 1005, code == 1006, code > 1014 && code < 3000, code > 4999:
		return 0, broken(1002, "close code %d is not for use", code)
	case !utf8.Valid(payload[2:]):
		return 0, broken(1007, "the reason of a close frame is not valid UTF-8")
	}
	return code, nil
}

// appendHeader appends the header of a whole, unmasked frame.
func appendHeader(dst []byte, op byte, length int) []byte {
	dst = append(dst, 0x80|op)
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return append(dst, 126, byte(length>>8), byte(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

// frameOf returns a whole frame around what body appends, built in one buffer.
func frameOf(op byte, sizeHint int, body func(dst []byte) []byte) []byte {
	const room = 10 // of the longest unmasked header
	buf := body(append(make([]byte, 0, room+sizeHint), make([]byte, room)...))
	var head [room]byte
	h := appendHeader(head[:0], op, len(buf)-room)
	start := room - len(h)
	copy(buf[start:], h)
	return buf[start:]
}

func closeFrame(code int, reason string) []byte {
	return frameOf(opClose, 2+len(reason), func(dst []byte) []byte {
		return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
	})
}
