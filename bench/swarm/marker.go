package swarm

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// A marker is the part of a payload by which a message is known again: which
// run it belongs to, its number in its topic, and when it was published, in
// nanoseconds of a clock that starts with the run. It is text of a fixed width,
// so that it is found in the frames of any protocol without decoding them.
type marker struct {
	head  []byte
	start time.Time
}

const (
	numberDigits = 10
	timeDigits   = 16 // three months
	runBytes     = 4
	headBytes    = 1 + 2*runBytes
)

// MinSize is the smallest payload that holds a marker.
const MinSize = headBytes + numberDigits + timeDigits

func newMarker() marker {
	run := make([]byte, runBytes)
	_, _ = rand.Read(run) // never fails
	return marker{head: append([]byte("~"), hex.EncodeToString(run)...), start: time.Now()}
}

// appendTo appends a payload of size bytes, which is at least MinSize.
func (m marker) appendTo(dst []byte, number uint64, published time.Time, size int) []byte {
	dst = append(dst, m.head...)
	dst = fmt.Appendf(dst, "%0*d%0*d", numberDigits, number, timeDigits, published.Sub(m.start))
	for range size - MinSize {
		dst = append(dst, 'x')
	}
	return dst
}

// find returns what the first marker in text says, and how long the message has
// taken until now.
func (m marker) find(text []byte, now time.Time) (number uint64, took time.Duration, ok bool) {
	i := bytes.Index(text, m.head)
	if i < 0 || len(text) < i+MinSize {
		return 0, 0, false
	}
	digits := text[i+headBytes : i+MinSize]
	number, numbered := decimal(digits[:numberDigits])
	at, timed := decimal(digits[numberDigits:])
	return number, now.Sub(m.start) - time.Duration(at), numbered && timed
}

// decimal reads a number that takes all of text.
func decimal(text []byte) (n uint64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// after returns the number that follows name in text.
func after(text []byte, name string) (uint64, bool) {
	i := bytes.Index(text, []byte(name))
	if i < 0 {
		return 0, false
	}
	text = text[i+len(name):]
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(text[:end]), 10, 64)
	return n, err == nil
}
