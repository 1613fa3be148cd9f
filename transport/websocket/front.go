package websocket

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/session"
)

// FrontConfig is what Server.Front needs to know.
type FrontConfig struct {
	Path string        // of the handshakes: plain, as /ws
	Wait time.Duration // how long a client may take to send anything
	// Admit is asked who a client is that nobody has identified, and whether its
	// page may connect. What it lets in was admitted by the session manager; what
	// it does not is left to net/http, whose handler says why.
	Admit func(address, host, origin string) (session.Info, bool)
	// Taken is told of each handshake after it was answered; nil for nobody.
	Taken func(address string, took time.Duration)
}

// Front stands before net/http on l: it answers plain handshakes for one path
// on the loops, and returns the listener that everything else comes from,
// untouched. What is plain says head: a handshake without cookie, token,
// ticket or proxy that Serve would answer with yes. Where there are no loops for
// l's connections it returns l.
func (s *Server) Front(l net.Listener, c FrontConfig) net.Listener {
	a := evloop.NewAcceptor(l)
	if a == nil {
		return l
	}
	f := &front{
		Listener: l, FrontConfig: c, s: s, acceptor: a, first: firstLine(c.Path),
		others: make(chan net.Conn), closed: make(chan struct{}),
	}
	f.running.Go(f.run)
	return f
}

// front is a listener for net/http.
type front struct {
	net.Listener
	FrontConfig

	s        *Server
	acceptor *evloop.Acceptor
	first    string
	others   chan net.Conn
	running  sync.WaitGroup

	once   sync.Once
	closed chan struct{}
	failed error // why nothing is accepted any more; set before closed is closed
}

func (f *front) run() {
	f.end(f.acceptor.Run(f.meet, func(err error) {
		f.s.log.Warn("no connection can be accepted: too few descriptors or memory", "error", err)
	}))
}

func (f *front) end(err error) {
	f.once.Do(func() {
		f.failed = err
		close(f.closed)
	})
	f.acceptor.Close()
}

// meet puts a new connection on a loop, until it says what it is.
func (f *front) meet(s evloop.Socket, peer netip.AddrPort) {
	c := &conn{s: f.s}
	if !f.s.lines.Adopt(&c.line, s, &opening{front: f, conn: c, peer: peer.Addr()}, f.Wait) {
		f.pass(s, nil)
		return
	}
	c.line.Start(nil)
}

// pass hands a connection to net/http, with what was read of it.
func (f *front) pass(s evloop.Socket, read []byte) {
	nc, err := s.Conn()
	if err != nil {
		f.s.log.Warn("a connection was given up", "error", err)
		return
	}
	if tcp, ok := nc.(*net.TCPConn); ok && len(read) > 0 {
		nc = &begun{TCPConn: tcp, read: append([]byte(nil), read...)}
	}
	select {
	case f.others <- nc:
	case <-f.closed:
		_ = nc.Close()
	}
}

// Accept is described at net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case nc := <-f.others:
		return nc, nil
	case <-f.closed:
		return nil, f.failed
	}
}

// Close is described at net.Listener.
func (f *front) Close() error {
	f.end(net.ErrClosed)
	f.running.Wait()
	return f.Listener.Close()
}

// opening is a connection that has said nothing yet.
type opening struct {
	*front

	conn *conn
	peer netip.Addr
}

// Data decides, by what comes first, whose the connection is.
func (o *opening) Data(data []byte) error {
	began := time.Now()
	var h head
	if rest, ok := h.parse(o.first, data); ok && o.take(&h, began) {
		if len(rest) == 0 {
			return nil
		}
		return o.conn.Data(rest)
	}
	s, ok := o.conn.line.Detach()
	if !ok {
		return nil
	}
	o.pass(s, data)
	return evloop.ErrDetached
}

// take makes the connection a WebSocket, if everything about its handshake is
// right.
func (o *opening) take(h *head, began time.Time) bool {
	if h.check() != nil || !o.peer.IsValid() {
		return false
	}
	agreed, bad := o.s.agree(&h.request)
	if bad != nil {
		return false
	}
	info, ok := o.Admit(o.peer.String(), h.host, h.origin)
	if !ok {
		return false
	}
	c := o.conn
	c.form = o.s.forms.of(agreed.codec, agreed.bits)
	c.line.Become(c)
	o.s.begin(c, answer(h.key, agreed), info)
	if o.Taken != nil {
		o.Taken(info.Address, time.Since(began))
	}
	return true
}

// Refill is described at evloop.Handler; nothing is offered here.
func (o *opening) Refill() {}

// Closed is described at evloop.Handler; there is nothing to release.
func (o *opening) Closed(error) {}

// begun is a connection of which something was read already. It can all that a
// TCP connection can, for net/http makes use of that.
type begun struct {
	*net.TCPConn

	read []byte
}

// Read is described at net.Conn. One goroutine reads at a time.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.TCPConn.Read(p)
	}
	n := copy(p, b.read)
	if b.read = b.read[n:]; len(b.read) == 0 {
		b.read = nil
	}
	return n, nil
}

// WriteTo is described at io.WriterTo.
func (b *begun) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.read)
	b.read = b.read[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := b.TCPConn.WriteTo(w)
	return int64(n) + m, err
}

// bare returns the connection itself, which the loops can hold, and what was
// read of it, of which the caller has had early.
func bare(nc net.Conn, early []byte) (net.Conn, []byte) {
	if b, ok := nc.(*begun); ok {
		return b.TCPConn, append(early, b.read...)
	}
	return nc, early
}
