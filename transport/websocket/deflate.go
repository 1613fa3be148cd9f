package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/flate"

	"github.com/parleyhq/parley/protocol"
)

// DefaultCompressFrom is the size, in bytes, from which messages are
// compressed unless something else was asked for: what is smaller leaves in
// one packet either way, and saves less than a packet's own headers and time.
const DefaultCompressFrom = 512

const (
	rsv1 = 0x40 // "compressed", on the first frame of a message (RFC 7692 §6)
	// maxStreams bounds how often one message may say that it is over and go on
	// (§7.2.3.4); real senders do it once.
	maxStreams = 8
	keptBuffer = 128 << 10 // larger ones are left to the garbage collector
)

// errBomb tells that a message is larger than it may be.
var errBomb = errors.New("the message is too large when decompressed")

// deflater compresses and decompresses messages, each on its own: neither side
// keeps a context (RFC 7692 §7.1.1), so that what is compressed once can go to
// everybody, and a connection holds nothing for it.
type deflater struct {
	from      int       // bytes from which compressing is worth it
	inflaters sync.Pool // of *inflater
	packed    atomic.Uint64
}

func newDeflater(from int) *deflater {
	d := &deflater{from: from}
	d.inflaters.New = func() any { return &inflater{flate: flate.NewReader(&bytes.Reader{})} }
	return d
}

// pack compresses a whole, unmasked frame of ours. It returns plain itself
// when that is not larger.
func (d *deflater) pack(op byte, plain []byte) []byte {
	d.packed.Add(1)
	payload := plain[headerSize(plain):]
	out := frameOf(op|rsv1, len(payload)/2, func(dst []byte) []byte {
		return deflate(dst, payload)
	})
	if len(out) >= len(plain) {
		return plain
	}
	return out
}

// deflate appends a message's compressed form. There is no state to keep, not
// even a pooled one: a compressor with a window of its own is most of a
// megabyte.
func deflate(dst, message []byte) []byte {
	if len(message) == 0 {
		return append(dst, 0) // an empty stored block (§7.2.3.6)
	}
	s := sink{dst}
	_ = flate.StatelessDeflate(&s, message, false, nil) // fails only when the sink does
	return s.out[:len(s.out)-len(flushed())]
}

// flushed is how a flush ends; it is cut off and put back (§7.2.1, §7.2.2).
func flushed() string { return "\x00\x00\xff\xff" }

type sink struct{ out []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), nil
}

// unpack decompresses a message and calls use with it; the bytes are valid
// only during the call. The error is use's, or a *framingError.
func (d *deflater) unpack(message []byte, limit int, use func(plain []byte) error) error {
	z, _ := d.inflaters.Get().(*inflater)
	defer func() {
		z.trim()
		d.inflaters.Put(z)
	}()
	err := z.inflate(message, limit)
	switch {
	case errors.Is(err, errBomb):
		return broken(protocol.TooLarge.Close, "the message has more than %d bytes when decompressed: send it in parts, or ask for a higher limit", limit)
	case err != nil:
		return broken(1007, "a compressed message cannot be read: %v", err)
	}
	return use(z.out)
}

// inflater decompresses one message after the other. It is held only
// meanwhile.
type inflater struct {
	flate io.Reader // a flate.Resetter too
	src   bytes.Reader
	in    []byte
	out   []byte
}

// inflate leaves the plain message in z.out.
func (z *inflater) inflate(message []byte, limit int) error {
	z.in = append(append(z.in[:0], message...), flushed()...)
	z.in = append(z.in, "\x01\x00\x00\xff\xff"...) // the last block of all: the reader's end
	z.src.Reset(z.in)
	z.out = z.out[:0]
	resetter, _ := z.flate.(flate.Resetter)
	for range maxStreams {
		if err := resetter.Reset(&z.src, nil); err != nil {
			return err
		}
		if err := z.fill(limit); err != nil {
			return err
		}
		if z.src.Len() == 0 {
			return nil
		}
	}
	return fmt.Errorf("it ends more than %d times", maxStreams)
}

// fill reads to the end of one stream, or a byte beyond the limit.
func (z *inflater) fill(limit int) error {
	for {
		if len(z.out) == cap(z.out) {
			z.out = append(z.out, 0)[:len(z.out)]
		}
		n, err := z.flate.Read(z.out[len(z.out):min(cap(z.out), limit+1)])
		z.out = z.out[:len(z.out)+n]
		switch {
		case len(z.out) > limit:
			return errBomb
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// trim lets go of what is too large to keep, and of the message.
func (z *inflater) trim() {
	z.src.Reset(nil)
	if cap(z.in) > keptBuffer {
		z.in = nil
	}
	if cap(z.out) > keptBuffer {
		z.out = nil
	}
}

// headerSize is the size of an unmasked frame's header.
func headerSize(frame []byte) int {
	switch frame[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}
