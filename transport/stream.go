package transport

import "github.com/parleyhq/parley/internal/evloop"

// Stream carries the bytes of a connection: a socket, or the messages of a
// WebSocket taken as a stream. Its owner is an evloop.Handler. The methods are
// those of evloop.Conn, which is one.
type Stream interface {
	SendParts(p evloop.Parts, room int) bool
	Keeps(size, room int) bool
	End(last []byte)
	Cut(last []byte)
	Abort()
}

var _ Stream = (*evloop.Conn)(nil)
