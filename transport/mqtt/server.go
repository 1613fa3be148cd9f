// Package mqtt speaks MQTT 3.1.1 and 5 (OASIS, 2014 and 2019). It turns packets
// into commands of a session and what a session says into packets; what the two
// sides owe each other meanwhile is in the packages packet and flight.
//
// One topic space: what an MQTT client publishes reaches the clients of every
// other transport, and the other way round. A client identifier is a device of
// its user, the password is the token that says who that is.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/internal/wheel"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// Config says how a Server behaves. The zero Config is fine.
type Config struct {
	// ReceiveMaximum is how many messages of QoS 1 and 2 a client may have under
	// way to the server: 128.
	ReceiveMaximum uint16
	// TopicAliases is how many aliases a client may use: 64. As many are used
	// towards a client that allows it.
	TopicAliases uint16
	// KeepAlive is the longest keep alive of clients: those of MQTT 5 that ask
	// for more, or for none, are told to use it. 0: what they ask for.
	KeepAlive time.Duration
	// Redirect is the server that clients of MQTT 5 are told to use while this
	// one is shutting down, such as other.example.com:1883; "" for none.
	Redirect string
	Log      *slog.Logger // nil: slog.Default
}

// tick is how exact keep alive and the delay of wills are.
const tick = 100 * time.Millisecond

// Server opens MQTT connections for a session manager. Methods may be called
// concurrently.
type Server struct {
	Config

	sessions *session.Manager
	limits   session.Limits
	lines    *evloop.Group
	wheel    *wheel.Wheel
	frames   frames
	wills    wills
	batches  sync.Pool // of *[1]protocol.Incoming
	stats    stats
	conns    sync.WaitGroup
	stop     context.CancelFunc
	running  sync.WaitGroup
	stopped  sync.Once
}

type stats struct {
	open                        atomic.Int64
	bytesIn, packetsIn, dropped atomic.Uint64
	skipped                     [hub.Pressures]atomic.Uint64
}

// Stats are counts since the start, but for Open.
type Stats struct {
	Open                         int
	BytesIn, BytesOut, PacketsIn uint64
	Dropped                      uint64            // events left out for receivers under pressure
	Skipped                      map[string]uint64 // messages, by the policy of their topic
}

// New returns a server for the sessions of m. Wait ends it.
func New(m *session.Manager, c Config) *Server { return newServer(m, c, evloop.Config{}) }

func newServer(m *session.Manager, c Config, lines evloop.Config) *Server {
	c.ReceiveMaximum = cmp.Or(c.ReceiveMaximum, 128)
	c.TopicAliases = cmp.Or(c.TopicAliases, 64)
	c.KeepAlive = min(c.KeepAlive, math.MaxUint16*time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
	s := &Server{Config: c, sessions: m, limits: m.Limits, lines: evloop.New(lines), wheel: wheel.New(tick), frames: newFrames()}
	s.batches.New = func() any { return new([1]protocol.Incoming) }
	s.wills.pending = make(map[string]*delayedWill)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.wheel.Run(ctx) })
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
		Open: int(s.stats.open.Load()), BytesIn: s.stats.bytesIn.Load(), BytesOut: s.lines.Written(),
		PacketsIn: s.stats.packetsIn.Load(), Dropped: s.stats.dropped.Load(), Skipped: skipped,
	}
}

// Serve accepts connections until l is closed. What it returns is then
// net.ErrClosed. The connections live on by themselves.
func (s *Server) Serve(l net.Listener) error {
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(nc)
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		default: // no descriptors are left, or the peer has gone already: that passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.Log.Warn("a connection could not be accepted", "error", err, "again_in", pause)
			<-time.NewTimer(pause).C
		}
	}
}

// socket is a connection on a socket of its own.
type socket struct {
	evloop.Conn

	conn conn
}

// accept begins a connection, unless the node has enough.
func (s *Server) accept(nc net.Conn) {
	address := nc.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	if s.sessions.Admit(address) != nil { // there is no packet to say why before its CONNECT
		_ = nc.Close()
		return
	}
	k := &socket{}
	if err := s.lines.Attach(&k.Conn, nc, &k.conn); err != nil {
		_ = nc.Close() // the server has ended meanwhile
		s.sessions.Release(address)
		return
	}
	s.begin(&k.conn, &k.Conn, session.Info{Transport: "mqtt", Address: address, Quiet: true, ByDevice: true})
	k.Start(nil)
}

// Open begins a connection over a stream that somebody else carries, such as a
// WebSocket, and that the session manager has admitted. Its bytes go to what is
// returned.
func (s *Server) Open(stream transport.Stream, info session.Info) evloop.Handler {
	c := &conn{}
	info.Transport, info.Quiet, info.ByDevice = "mqtt+websocket", true, true
	s.begin(c, stream, info)
	return c
}

func (s *Server) begin(c *conn, stream transport.Stream, info session.Info) {
	s.conns.Add(1)
	s.stats.open.Add(1)
	c.s, c.stream = s, stream
	c.session = s.sessions.Accept(c, info)
}

// Wait returns when every connection has ended and released what it held. No
// more are served then. It is called when all sessions have been ended.
func (s *Server) Wait() {
	s.stopped.Do(func() {
		s.lines.Close()
		s.conns.Wait()
		s.stop()
		s.running.Wait()
		s.wills.flush()
	})
}
