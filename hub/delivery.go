package hub

import (
	"sync/atomic"

	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// MaxEncoders is how many different encodings one delivery can have.
const MaxEncoders = 14

// Encoder turns what is delivered into the bytes of one wire form. Slot tells
// it from all others and is less than MaxEncoders. Encode may be called
// concurrently and must give equal bytes for equal input.
type Encoder interface {
	Slot() int
	Encode(d *Delivery) []byte
}

// Delivery is one thing on its way to many receivers: a message, or an event
// about a topic. It is encoded once for each wire form, by the first receiver
// that needs it, and shared by all. Nobody may change it.
type Delivery struct {
	Message *message.Message // nil for an event
	Event   *parleyv1.Reply  // joined, left, ping …
	// Droppable marks what a receiver under pressure can do without.
	Droppable bool
	// Kept tells that the history of its topic has the message: who cannot take
	// it now finds it there.
	Kept bool
	// Shape is how a message is queued; nil as usual. Only messages have one.
	Shape *Shape

	encoded [MaxEncoders]atomic.Pointer[[]byte]
}

// Frame returns the encoding of d by e. It is shared: nobody may change it.
func (d *Delivery) Frame(e Encoder) *[]byte {
	slot := &d.encoded[e.Slot()]
	if b := slot.Load(); b != nil {
		return b
	}
	b := e.Encode(d)
	slot.Store(&b) // two receivers may race here; both encodings are equal
	return &b
}
