package socket

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// maxMessage bounds a message of the server, fragments together, and what
// becomes of a compressed one.
const maxMessage = 16 << 20

// ClosedError is the server's close frame.
type ClosedError struct {
	Code   int
	Reason string
}

func (e *ClosedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("closed by the server with %d", e.Code)
	}
	return e.Reason
}

// ViolationError is a frame that RFC 6455 does not allow, and the close code
// that says so.
type ViolationError struct {
	Code ws.StatusCode
	What string
}

func (e *ViolationError) Error() string { return "the server broke the WebSocket protocol: " + e.What }

// frameReader puts messages together from frames.
type frameReader struct {
	r       *bufio.Reader
	text    bool      // messages are text and must be UTF-8
	deflate *deflater // nil: nothing may come compressed
	pong    func(payload []byte)
}

// next returns the next message. Pings are answered on the way; the close
// frame is a *ClosedError.
func (f *frameReader) next() ([]byte, error) {
	var message []byte
	for begun, packed := false, false; ; {
		h, err := ws.ReadHeader(f.r)
		if err != nil {
			return nil, err
		}
		if err := f.check(h, begun, len(message)); err != nil {
			return nil, err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(f.r, payload); err != nil {
			return nil, err
		}
		if h.OpCode.IsControl() {
			if err := f.control(h.OpCode, payload); err != nil {
				return nil, err
			}
			continue
		}
		begun, packed = true, packed || h.Rsv1()
		if message = append(message, payload...); !h.Fin {
			continue
		}
		if packed {
			if message, err = f.deflate.unpack(message); err != nil {
				return nil, err
			}
		}
		if f.text && !utf8.Valid(message) {
			return nil, &ViolationError{ws.StatusInvalidFramePayloadData, "text that is not UTF-8"}
		}
		return message, nil
	}
}

// check refuses headers that have no place here (section 5.2).
func (f *frameReader) check(h ws.Header, begun bool, length int) error {
	opcode := ws.OpText
	if !f.text {
		opcode = ws.OpBinary
	}
	if begun {
		opcode = ws.OpContinuation
	}
	switch {
	case h.Rsv2() || h.Rsv3() || h.Rsv1() && (f.deflate == nil || begun || h.OpCode.IsControl()):
		return &ViolationError{ws.StatusProtocolError, "reserved bits are set"}
	case h.Masked:
		return &ViolationError{ws.StatusProtocolError, "a server must not mask"}
	case h.OpCode.IsControl() && (h.Length > ws.MaxControlFramePayloadSize || !h.Fin):
		return &ViolationError{ws.StatusProtocolError, "a control frame that is long or in parts"}
	case h.OpCode.IsControl():
		return nil
	case h.OpCode != opcode:
		return &ViolationError{ws.StatusProtocolError, fmt.Sprintf("opcode %#x where %#x was due", h.OpCode, opcode)}
	case h.Length > int64(maxMessage-length):
		return &ViolationError{ws.StatusMessageTooBig, fmt.Sprintf("a message over %d bytes", maxMessage)}
	}
	return nil
}

func (f *frameReader) control(op ws.OpCode, payload []byte) error {
	switch op {
	case ws.OpPing:
		f.pong(payload)
	case ws.OpClose:
		e := &ClosedError{Code: int(ws.StatusNoStatusRcvd)}
		if len(payload) >= 2 {
			e.Code, e.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return e
	case ws.OpPong:
	default:
		return &ViolationError{ws.StatusProtocolError, fmt.Sprintf("unknown opcode %#x", op)}
	}
	return nil
}

// rsv1 says on the first frame of a message that it is compressed (RFC 7692,
// section 6).
const rsv1 = 0x40

// appendFrame appends one masked frame; first holds the opcode and reserved
// bits. The payload is masked in place.
func appendFrame(dst []byte, first byte, payload []byte, mask [4]byte) []byte {
	ws.Cipher(payload, mask, 0)
	const fin, masked = 0x80, 0x80
	dst = append(dst, fin|first)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	return append(dst, payload...)
}
