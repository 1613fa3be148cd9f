package socket

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

const (
	// compressFrom is the size in bytes from which a message is compressed.
	// What is smaller leaves in one packet either way.
	compressFrom = 512
	// maxStreams bounds how often one message may say that it is over and go on
	// (RFC 7692, section 7.2.3.4); real senders do it once.
	maxStreams = 8
)

// tail is how a flush ends. It is cut off what is sent and put back to what
// came (sections 7.2.1 and 7.2.2).
func tail() string { return "\x00\x00\xff\xff" }

var errTooBig = fmt.Errorf("more than %d bytes when decompressed", maxMessage)

// Offer is what a handshake asks for when messages are to be compressed:
// permessage-deflate (RFC 7692) in which neither side keeps a context, so that
// nothing is held for a connection between its messages.
func Offer() []httphead.Option {
	return []httphead.Option{wsflate.Parameters{ServerNoContextTakeover: true, ClientNoContextTakeover: true}.Option()}
}

// Agreed reports whether the server took the offer. An answer that does not fit
// it is an error (section 7.1: the connection must not be used).
func Agreed(answer []httphead.Option) (bool, error) {
	if len(answer) == 0 {
		return false, nil
	}
	var p wsflate.Parameters
	if len(answer) > 1 || !bytes.Equal(answer[0].Name, wsflate.ExtensionNameBytes) || p.Parse(answer[0]) != nil ||
		!p.ServerNoContextTakeover || p.ClientMaxWindowBits.Defined() {
		var said strings.Builder
		_, _ = httphead.WriteOptions(&said, answer) // a builder takes everything
		return false, fmt.Errorf("the server answered the offer of compression with %q, which was not offered", &said)
	}
	return true, nil
}

// deflater compresses and decompresses messages, each on its own. What that
// takes, most of a megabyte to compress, is pooled, so it goes when nothing is
// sent for a while.
type deflater struct {
	packers   sync.Pool // of *flate.Writer
	inflaters sync.Pool // of io.ReadCloser, a flate.Resetter too
}

// pack returns a message's compressed form, or nil when it is not worth it.
func (d *deflater) pack(message []byte) []byte {
	if len(message) < compressFrom {
		return nil
	}
	var out bytes.Buffer
	w, _ := d.packers.Get().(*flate.Writer)
	if w == nil {
		w, _ = flate.NewWriter(&out, flate.BestSpeed) // fails only for a level that there is not
	} else {
		w.Reset(&out)
	}
	defer d.packers.Put(w)
	_, err := w.Write(message)
	if err := errors.Join(err, w.Flush()); err != nil { // a buffer takes everything
		return nil
	}
	if packed := bytes.TrimSuffix(out.Bytes(), []byte(tail())); len(packed) < len(message) {
		return packed
	}
	return nil
}

// unpack returns the plain form of a message that came compressed. The error
// is a *ViolationError.
func (d *deflater) unpack(packed []byte) ([]byte, error) {
	in := make([]byte, 0, len(packed)+2*len(tail())+1)
	in = append(append(in, packed...), tail()...)
	in = append(in, "\x01\x00\x00\xff\xff"...) // the last block of all: the reader's end
	src := bytes.NewReader(in)
	r, _ := d.inflaters.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(src)
	}
	defer d.inflaters.Put(r)
	var out bytes.Buffer
	err := inflate(&out, r, src)
	switch {
	case errors.Is(err, errTooBig):
		return nil, &ViolationError{ws.StatusMessageTooBig, "a message with " + err.Error()}
	case err != nil:
		return nil, &ViolationError{ws.StatusInvalidFramePayloadData, "a compressed message that cannot be read: " + err.Error()}
	}
	return out.Bytes(), nil
}

// inflate writes all streams in src to out.
func inflate(out *bytes.Buffer, r io.Reader, src *bytes.Reader) error {
	resetter, _ := r.(flate.Resetter)
	for range maxStreams {
		if err := resetter.Reset(src, nil); err != nil {
			return err
		}
		if _, err := out.ReadFrom(io.LimitReader(r, int64(maxMessage-out.Len()+1))); err != nil {
			return err
		}
		if out.Len() > maxMessage {
			return errTooBig
		}
		if src.Len() == 0 {
			return nil
		}
	}
	return fmt.Errorf("it ends more than %d times", maxStreams)
}
