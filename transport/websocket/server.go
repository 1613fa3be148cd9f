// Package websocket speaks the native protocol over WebSocket (RFC 6455). It
// turns frames into commands of a session and replies into frames; who the
// client is and what it may do is not its business.
package websocket

import (
	"cmp"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
)

// Timeouts of a connection that is not read, or that ends.
const (
	writeTimeout  = 20 * time.Second       // a peer that takes nothing for that long is gone
	lingerTimeout = 2 * time.Second        // for the peer's answer to a close frame
	cutTimeout    = 500 * time.Millisecond // to tell a slow reader why it is cut
	readBuffer    = 4096
)

// Server opens WebSocket connections for a session manager. Methods may be
// called concurrently.
type Server struct {
	sessions *session.Manager
	limits   session.Limits
	log      *slog.Logger
	buffers  sync.Pool // of *[]byte, for reading
	running  sync.WaitGroup
	stats    stats
}

type stats struct{ dropped, bytesIn, bytesOut, framesIn atomic.Uint64 }

// Stats are counts since the start.
type Stats struct {
	BytesIn, BytesOut, FramesIn uint64
	Dropped                     uint64 // events left out for receivers under pressure
}

// New returns a server for the sessions of m.
func New(m *session.Manager, log *slog.Logger) *Server {
	s := &Server{sessions: m, limits: m.Limits, log: cmp.Or(log, slog.Default())}
	s.buffers.New = func() any {
		b := make([]byte, readBuffer)
		return &b
	}
	return s
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.stats.bytesOut.Load(),
		FramesIn: s.stats.framesIn.Load(), Dropped: s.stats.dropped.Load(),
	}
}

// Serve answers a handshake that the session manager has admitted; if nothing
// comes of it, the admission is released. When it returns an error, nothing was
// written and the caller answers with it; otherwise the connection lives on by
// itself and neither w nor r may be used any more.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
	if bad := check(r, w); bad != nil {
		s.sessions.Release(info.Address)
		if bad.Code == protocol.NeedsUpgrade.Code {
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		return bad
	}
	nc, codec, early, err := upgrade(r, w)
	if err != nil {
		s.sessions.Release(info.Address)
		s.log.Info("a handshake broke off", "address", info.Address, "error", err)
		return nil
	}
	info.Transport = "websocket"
	c := newConn(s, nc, codec)
	c.session = s.sessions.Accept(c, info)
	s.running.Go(func() { c.serve(early) })
	return nil
}

// Wait returns when every connection has ended and released what it held.
func (s *Server) Wait() { s.running.Wait() }

// encoder makes the WebSocket frame of a delivery in one wire form.
type encoder struct {
	codec protocol.Codec
	slot  int
	op    byte
}

func encoderOf(codec protocol.Codec) encoder {
	if codec.Binary() {
		return encoder{codec, 1, opBinary}
	}
	return encoder{codec, 0, opText}
}

// Slot is described at hub.Encoder.
func (e encoder) Slot() int { return e.slot }

// Encode is described at hub.Encoder.
func (e encoder) Encode(d *hub.Delivery) []byte {
	if d.Event != nil {
		return frameOf(e.op, 128, func(dst []byte) []byte { return e.codec.AppendReply(dst, d.Event) })
	}
	return frameOf(e.op, d.Message.Size()+64, func(dst []byte) []byte { return e.codec.AppendMessage(dst, d.Message) })
}
