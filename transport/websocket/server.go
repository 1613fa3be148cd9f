// Package websocket speaks the native protocol over WebSocket (RFC 6455). It
// turns frames into commands of a session and replies into frames; who the
// client is and what it may do is not its business.
package websocket

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
)

// Server opens WebSocket connections for a session manager. Methods may be
// called concurrently.
type Server struct {
	sessions *session.Manager
	limits   session.Limits
	log      *slog.Logger
	lines    *evloop.Group
	batches  sync.Pool // of *[]protocol.Incoming, for decoding
	forms    [2]form
	stats    stats
}

type stats struct {
	dropped, bytesIn, framesIn atomic.Uint64
	skipped                    [hub.Pressures]atomic.Uint64
}

// Stats are counts since the start.
type Stats struct {
	BytesIn, BytesOut, FramesIn uint64
	Dropped                     uint64            // events left out for receivers under pressure
	Skipped                     map[string]uint64 // messages, by the policy of their topic
}

// New returns a server for the sessions of m. Wait ends it.
func New(m *session.Manager, log *slog.Logger) *Server { return newServer(m, log, evloop.Config{}) }

func newServer(m *session.Manager, log *slog.Logger, lines evloop.Config) *Server {
	s := &Server{
		sessions: m, limits: m.Limits, log: cmp.Or(log, slog.Default()), lines: evloop.New(lines),
		forms: [2]form{{protocol.JSON{}, 0, opText}, {protocol.Protobuf{}, 1, opBinary}},
	}
	s.batches.New = func() any { return new([]protocol.Incoming) }
	return s
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	skipped := make(map[string]uint64)
	for i := range s.stats.skipped {
		if p := hub.Pressure(i); p != hub.PressureDisconnect {
			skipped[p.String()] = s.stats.skipped[i].Load()
		}
	}
	return Stats{
		Skipped: skipped,
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.lines.Written(),
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
	s.carry(nc, codec, early, info)
	return nil
}

// carry begins a connection whose handshake is done.
func (s *Server) carry(nc net.Conn, codec protocol.Codec, early []byte, info session.Info) {
	info.Transport = "websocket"
	c := &conn{s: s, form: s.formOf(codec)}
	if err := s.lines.Attach(&c.line, nc, c); err != nil {
		_ = nc.Close() // the server has ended meanwhile
		s.sessions.Release(info.Address)
		return
	}
	c.session = s.sessions.Accept(c, info)
	c.line.Start(early)
}

// Wait returns when every connection has ended and released what it held. No
// more are served then.
func (s *Server) Wait() { s.lines.Close() }

func (s *Server) formOf(codec protocol.Codec) *form {
	if codec.Binary() {
		return &s.forms[1]
	}
	return &s.forms[0]
}

// form is a wire form in WebSocket frames.
type form struct {
	codec protocol.Codec
	slot  int
	op    byte
}

func (f *form) kind() string {
	if f.op == opBinary {
		return "binary"
	}
	return "text"
}

// Slot is described at hub.Encoder.
func (f *form) Slot() int { return f.slot }

// Encode is described at hub.Encoder.
func (f *form) Encode(d *hub.Delivery) []byte {
	if d.Event != nil {
		return frameOf(f.op, 128, func(dst []byte) []byte { return f.codec.AppendReply(dst, d.Event) })
	}
	return frameOf(f.op, d.Message.Size()+64, func(dst []byte) []byte { return f.codec.AppendMessage(dst, d.Message) })
}
