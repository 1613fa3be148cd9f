package sse

import (
	"bytes"
	"strconv"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport"
)

// form writes what is delivered as an event without its id, which is all that
// its receivers share.
type form struct{}

var _ hub.Encoder = form{}

// Slot is described at hub.Encoder.
func (form) Slot() int { return transport.SlotSSE }

// Encode is described at hub.Encoder.
func (form) Encode(d *hub.Delivery) []byte {
	if d.Event != nil {
		return appendEvent(nil, d.Event)
	}
	return messageEvent(d.Message)
}

// What stands around a message in JSON, and as an event.
const (
	nativeHead = `{"message":`
	dataHead   = "data: "
	eventTail  = "\n\n"
)

// messageEvent is a message as an event of the type that browsers assume:
// message.
func messageEvent(m *message.Message) []byte {
	b := protocol.JSON{}.AppendMessage(make([]byte, 0, m.Size()+64), m)
	b = b[len(nativeHead)-len(dataHead):]
	copy(b, dataHead)
	b = b[:len(b)-1] // the end of what nativeHead begins
	oneLine(b)
	return append(b, eventTail...)
}

// inner returns the JSON of a messageEvent.
func inner(event []byte) []byte { return event[len(dataHead) : len(event)-len(eventTail)] }

// appendEvent appends any other reply: its name is the event's type, and what
// it says the data. An error has another name, for browsers use that one for
// errors of the connection.
func appendEvent(dst []byte, r *parleyv1.Reply) []byte {
	name, said := split(r)
	if name == "error" {
		name = "refused"
	}
	dst = append(append(append(dst, "event: "...), name...), '\n')
	start := len(dst)
	dst = append(append(dst, dataHead...), said...)
	oneLine(dst[start:])
	return append(dst, eventTail...)
}

// split takes {"name":said} apart.
func split(r *parleyv1.Reply) (name string, said []byte) {
	text := protocol.JSON{}.AppendReply(nil, r)
	key, rest, _ := bytes.Cut(text[len(`{"`):], []byte(`":`))
	return string(key), rest[:len(rest)-1]
}

// oneLine makes the line breaks that JSON allows between its parts harmless:
// within a string there are none, and in an event they would end the line.
func oneLine(b []byte) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			b[i] = ' '
		}
	}
}

// appendRetry appends how long a browser waits before it comes back.
func appendRetry(dst []byte, wait time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, wait.Milliseconds(), 10)
	return append(dst, '\n')
}
