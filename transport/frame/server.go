// Package frame speaks the native protocol over plain TCP, for devices: each
// command and reply is a binary frame with a checksum (package protocol/frame).
// Its connections live on the event loops, as WebSockets do, and are sessions
// with the same limits, rights and ends.
package frame

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/protocol/frame"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// name is what sessions and metrics call the transport.
const name = "frame"

var _ transport.Carrier = (*Server)(nil)

// Server carries framed connections for a session manager. Methods may be
// called concurrently.
type Server struct {
	sessions *session.Manager
	limits   session.Limits
	log      *slog.Logger
	lines    *evloop.Group
	batches  sync.Pool // of *[]protocol.Incoming, for decoding
	stats    stats
}

type stats struct {
	dropped, bytesIn, framesIn, broken atomic.Uint64
	skipped                            [hub.Pressures]atomic.Uint64
}

// Stats are counts since the start.
type Stats struct {
	BytesIn, BytesOut, FramesIn uint64
	Broken                      uint64 // connections ended for what was no frame
	Dropped                     uint64 // events left out for receivers under pressure
	Skipped                     map[string]uint64
}

// New returns a server for the sessions of m. Wait ends it.
func New(m *session.Manager, log *slog.Logger) *Server { return newServer(m, log, evloop.Config{}) }

func newServer(m *session.Manager, log *slog.Logger, lines evloop.Config) *Server {
	s := &Server{sessions: m, limits: m.Limits, log: cmp.Or(log, slog.Default()), lines: evloop.New(lines)}
	s.batches.New = func() any { return new([]protocol.Incoming) }
	return s
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	skipped := make(map[string]uint64)
	for i := range s.stats.skipped {
		if n := s.stats.skipped[i].Load(); n > 0 {
			skipped[hub.Pressure(i).String()] = n
		}
	}
	return Stats{
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.lines.Written(), FramesIn: s.stats.framesIn.Load(),
		Broken: s.stats.broken.Load(), Dropped: s.stats.dropped.Load(), Skipped: skipped,
	}
}

// Traffic is described at transport.Carrier.
func (s *Server) Traffic() transport.Traffic {
	st := s.Stats()
	return transport.Traffic{
		Transport: name, BytesIn: st.BytesIn, BytesOut: st.BytesOut, FramesIn: st.FramesIn, Dropped: st.Dropped, Skipped: st.Skipped,
	}
}

// Serve accepts connections until the listener is closed, and returns why it
// stopped: net.ErrClosed then.
func (s *Server) Serve(l net.Listener) error {
	var wait time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			s.open(nc)
		case errors.Is(err, net.ErrClosed):
			return err
		default: // descriptors are short, say: those that are open go on
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.Warn("a connection could not be accepted", "error", err, "again_in", wait)
			<-time.NewTimer(wait).C
		}
	}
}

// open lets a connection in, or says why not.
func (s *Server) open(nc net.Conn) {
	address := nc.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	if err := s.sessions.Admit(address); err != nil {
		s.turnAway(nc, session.ClientError(err))
		return
	}
	c := &conn{s: s}
	if err := s.lines.Attach(&c.line, nc, c); err != nil {
		_ = nc.Close() // the server has ended meanwhile
		s.sessions.Release(address)
		return
	}
	c.session = s.sessions.Accept(c, session.Info{Transport: name, Address: address})
	c.line.Start(nil)
}

// turnAway answers a connection that is not let in. A new connection has room
// for that.
func (s *Server) turnAway(nc net.Conn, e *protocol.Error) {
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second)) // as below
	_, _ = nc.Write(frame.AppendReply(nil, frame.Protobuf, e.Reply(0)))
	_ = nc.Close() // who is not let in is not owed more
}

// Wait returns when every connection has ended and released what it held. No
// more are served then.
func (s *Server) Wait() { s.lines.Close() }
