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
	drafts   sync.Pool // of *[]byte, for encoding what nobody knows the size of
	forms    forms
	deflate  *deflater // nil: connections are not compressed
	heads    heads
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
	Compressed                  uint64            // messages and replies that were compressed, each once for all receivers
}

// New returns a server for the sessions of m. Wait ends it.
func New(m *session.Manager, log *slog.Logger) *Server { return newServer(m, log, evloop.Config{}) }

func newServer(m *session.Manager, log *slog.Logger, lines evloop.Config) *Server {
	s := &Server{
		sessions: m, limits: m.Limits, log: cmp.Or(log, slog.Default()), lines: evloop.New(lines),
		forms: newForms(),
	}
	s.batches.New = func() any { return new([]protocol.Incoming) }
	s.drafts.New = func() any { return new([]byte) }
	return s
}

// Compress accepts permessage-deflate (RFC 7692) from clients that offer it.
// What has fewer than from bytes, 0 for the default, is sent as it is. Call it
// before the first Serve.
func (s *Server) Compress(from int) {
	s.deflate = newDeflater(cmp.Or(from, DefaultCompressFrom))
	s.forms.compress(s.deflate)
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	skipped := make(map[string]uint64)
	for i := range s.stats.skipped {
		if p := hub.Pressure(i); p != hub.PressureDisconnect {
			skipped[p.String()] = s.stats.skipped[i].Load()
		}
	}
	var packed uint64
	if s.deflate != nil {
		packed = s.deflate.packed.Load()
	}
	return Stats{
		Skipped: skipped, Compressed: packed,
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.lines.Written(),
		FramesIn: s.stats.framesIn.Load(), Dropped: s.stats.dropped.Load(),
	}
}

// Serve answers a handshake that the session manager has admitted; if nothing
// comes of it, the admission is released. When it returns an error, nothing was
// written and the caller answers with it; otherwise the connection lives on by
// itself and neither w nor r may be used any more.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
	q := requestOf(r.Header)
	var agreed terms
	bad := checkUpgrade(r, &q, w)
	if bad == nil {
		agreed, bad = s.agree(&q)
	}
	if bad != nil {
		s.sessions.Release(info.Address)
		if bad.Code == protocol.NeedsUpgrade.Code {
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		return bad
	}
	nc, early, ok := s.takeOver(w, info.Address)
	if !ok {
		return nil
	}
	s.carry(nc, answer(q.key, agreed), agreed, early, info)
	return nil
}

// takeOver is the function of that name; when it fails, the admission of
// address is released.
func (s *Server) takeOver(w http.ResponseWriter, address string) (nc net.Conn, early []byte, ok bool) {
	nc, early, err := takeOver(w)
	if err != nil {
		s.sessions.Release(address)
		s.log.Info("a handshake broke off", "address", address, "error", err)
	}
	return nc, early, err == nil
}

// agree tells what a handshake and we agree on, or what is wrong with it.
func (s *Server) agree(q *request) (agreed terms, bad *protocol.Error) {
	if agreed, bad = choose(q.protocols); bad == nil && s.deflate != nil {
		agreed.deal, bad = agree(q.extensions)
	}
	return agreed, bad
}

// carry begins a connection. What it says first is hello, the answer to its
// handshake.
func (s *Server) carry(nc net.Conn, hello []byte, agreed terms, early []byte, info session.Info) {
	c := &conn{s: s, form: s.forms.of(agreed.codec, agreed.bits)}
	if err := s.lines.Attach(&c.line, nc, c); err != nil {
		_ = nc.Close() // the server has ended meanwhile
		s.sessions.Release(info.Address)
		return
	}
	s.begin(c, hello, info)
	c.line.Start(early)
}

// begin says hello and opens the session.
func (s *Server) begin(c *conn, hello []byte, info session.Info) {
	info.Transport = "websocket"
	if len(hello) > 0 {
		c.line.Queue(&hello, s.limits.QueueBytes) // it fits: it is the first
	}
	c.session = s.sessions.Accept(c, info)
	c.line.Flush()
}

// frameOf is the function of that name for what may be of any size: it is put
// together aside and takes what it needs.
func (s *Server) frameOf(op byte, body func(dst []byte) []byte) []byte {
	const most = 64 << 10 // larger drafts are rare, and not kept
	draft, _ := s.drafts.Get().(*[]byte)
	*draft = body((*draft)[:0])
	frame := append(appendHeader(make([]byte, 0, maxHeader+len(*draft)), op, len(*draft)), *draft...)
	if cap(*draft) <= most {
		s.drafts.Put(draft)
	}
	return frame
}

// Wait returns when every connection has ended and released what it held. No
// more are served then.
func (s *Server) Wait() { s.lines.Close() }
