package swarm

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	fin, reserved, control = 0x80, 0x70, 0x8
	masked                 = 0x80
	maxFrame               = 16 << 20 // a server that says more is broken
)

// appendFrame appends one client frame. The mask is zero, which leaves the
// payload as it is: masks exist to protect proxies from pages of strangers
// (section 10.3), and a load tool speaks for itself and should cost little.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, fin|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}

// frames cuts what comes from a server into frames. What is incomplete is kept
// until the rest comes, so an idle connection holds nothing.
type frames struct {
	rest    []byte // of a frame
	message []byte // of a message in several frames
	op      byte   // its opcode; 0 when none is open
}

// feed calls each with every message and control frame in data, in their
// order. The payload is valid during the call.
func (f *frames) feed(data []byte, each func(op byte, payload []byte) error) error {
	pending := len(f.rest) > 0
	if pending {
		f.rest = append(f.rest, data...)
		data = f.rest
	}
	for {
		op, final, payload, size, err := cut(data)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		data = data[size:]
		if err := f.join(op, final, payload, each); err != nil {
			return err
		}
	}
	switch {
	case len(data) == 0:
		f.rest = nil
	case pending:
		f.rest = f.rest[:copy(f.rest, data)]
	default:
		f.rest = append(f.rest, data...)
	}
	return nil
}

// join puts the parts of a message together.
func (f *frames) join(op byte, final bool, payload []byte, each func(op byte, payload []byte) error) error {
	switch {
	case op >= control, op != opContinuation && final && f.op == 0:
		return each(op, payload)
	case op == opContinuation && f.op == 0, op != opContinuation && f.op != 0:
		return fmt.Errorf("the server sent opcode %#x in the wrong place", op)
	case op != opContinuation:
		f.op = op
	}
	if len(f.message)+len(payload) > maxFrame {
		return fmt.Errorf("the server sent a message over %d bytes", maxFrame)
	}
	if f.message = append(f.message, payload...); !final {
		return nil
	}
	op, message := f.op, f.message
	f.op, f.message = 0, nil
	return each(op, message)
}

// cut takes the first frame off data; its size is 0 when it is not whole.
func cut(data []byte) (op byte, final bool, payload []byte, size int, err error) {
	if len(data) < 2 {
		return 0, false, nil, 0, nil
	}
	if data[0]&reserved != 0 || data[1]&masked != 0 {
		return 0, false, nil, 0, fmt.Errorf("the server sent a frame that begins with %#x %#x", data[0], data[1])
	}
	head, length := 2, uint64(data[1])
	switch {
	case length == 126 && len(data) >= 4:
		head, length = 4, uint64(binary.BigEndian.Uint16(data[2:]))
	case length == 127 && len(data) >= 10:
		head, length = 10, binary.BigEndian.Uint64(data[2:])
	case length >= 126:
		return 0, false, nil, 0, nil
	}
	if length > maxFrame {
		return 0, false, nil, 0, fmt.Errorf("the server sent a frame of %d bytes, more than %d", length, maxFrame)
	}
	size = head + int(length)
	if len(data) < size {
		return 0, false, nil, 0, nil
	}
	return data[0] & 0x0f, data[0]&fin != 0, data[head:size], size, nil
}
