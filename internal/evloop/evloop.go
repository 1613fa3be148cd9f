// Package evloop carries many connections that are idle most of the time.
//
// A plaintext TCP connection on Linux is a descriptor on one of GOMAXPROCS
// epoll loops: while nothing happens on it, it has no goroutine, no buffer and
// no timer. Every other connection (TLS, a pipe, another system) is served by
// a goroutine that reads it. Both look the same from outside.
//
// Three kinds of goroutines work here, and each has one thing it never does. A
// loop waits for readiness and hands connections on: it never runs a handler. A
// flusher, one a loop, writes what was queued: it never waits for a socket,
// and takes no lock that is held during I/O. A worker reads, and runs
// handlers, which may block: it serves one connection at a time and no
// connection is served by two, so what one peer sends is handled in its order.
package evloop

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/wheel"
)

// ErrStalled is the reason of a connection whose peer took nothing for longer
// than Config.Write.
var ErrStalled = errors.New("the peer has stopped reading")

// ErrFinished is what Handler.Data returns to tell that the peer will send nothing
// more that matters: the connection is closed as soon as what is queued has
// left.
var ErrFinished = errors.New("the peer has finished")

// ErrClosed is returned by Attach after Close.
var ErrClosed = errors.New("evloop: closed")

// ErrDetached is what Handler.Data returns after Conn.Detach.
var ErrDetached = errors.New("evloop: detached")

// Handler is the owner of a connection. It is called by one goroutine at a
// time and may block.
type Handler interface {
	// Data takes what the peer has sent; b is valid, and may be changed, until
	// it returns. After an error no more comes. Unless End or Cut was called,
	// the connection is then closed at once.
	Data(b []byte) error
	// Refill is called when there is room again for what Offer did not take.
	// Unlike the others it may be called at any time until Closed, by who
	// writes: it must not block.
	Refill()
	// Closed is the last call: everything is released. err is nil when both
	// sides had finished.
	Closed(err error)
}

// Config bounds what a connection may hold up. Zero values take the defaults.
type Config struct {
	Write   time.Duration // a peer that takes nothing for that long is gone: 20 s
	Hurried time.Duration // the same for what Cut says last: 500 ms
	Linger  time.Duration // for the peer to finish after we have: 2 s
	Workers int           // handlers running at once: 1,024
	// Portable never uses epoll, as on systems that have none.
	Portable bool
}

func (c Config) withDefaults() Config {
	if c.Write == 0 {
		c.Write = 20 * time.Second
	}
	if c.Hurried == 0 {
		c.Hurried = 500 * time.Millisecond
	}
	if c.Linger == 0 {
		c.Linger = 2 * time.Second
	}
	if c.Workers == 0 {
		c.Workers = 1024
	}
	return c
}

// readBuffer is how much one read takes at most; maxReads how many a
// connection gets before others have their turn.
const (
	readBuffer = 16 << 10
	maxReads   = 16
	tick       = 100 * time.Millisecond
	beat       = 128 * time.Microsecond
)

// Group is a set of loops and the connections on them. Nothing runs before
// the first connection. Methods may be called concurrently.
type Group struct {
	cfg     Config
	wheel   *wheel.Wheel
	workers workers
	buffers sync.Pool // of *[]byte, for reading
	chunks  sync.Pool // of *chunk
	written atomic.Uint64
	began   time.Time

	mu     sync.Mutex
	closed bool
	native poller // nil before the first TCP connection, and where there is none
	cancel context.CancelFunc

	conns   sync.WaitGroup
	running sync.WaitGroup
	stopped sync.Once
}

// poller takes connections that need no goroutine of their own.
type poller interface {
	// adopt takes nc over, if it can; else it leaves it as it is.
	adopt(c *Conn, nc *net.TCPConn) bool
	// take is adopt for a bare socket, and give takes it off again.
	take(c *Conn, s Socket) bool
	give(c *Conn) Socket
	// each calls f with every connection.
	each(f func(c *Conn))
	written() uint64
	close()
}

// New returns a Group without connections.
func New(cfg Config) *Group {
	g := &Group{cfg: cfg.withDefaults(), wheel: wheel.New(tick), began: time.Now()}
	g.workers.max = g.cfg.Workers
	g.workers.turn = g.turn
	g.workers.wheel = g.wheel
	g.buffers.New = func() any {
		b := make([]byte, readBuffer)
		return &b
	}
	g.chunks.New = func() any { return new(chunk) }
	return g
}

// Attach makes c, which must be zero, a connection of the group, and takes nc
// over. c may be written to at once; h is called after Start. The error is
// ErrClosed, and nc is still the caller's then.
func (g *Group) Attach(c *Conn, nc net.Conn, h Handler) error {
	tcp, ok := nc.(*net.TCPConn)
	native, err := g.enter(ok)
	if err != nil {
		return err
	}
	c.handler = h
	if !ok || native == nil || !native.adopt(c, tcp) {
		c.driver = &stream{g: g, nc: nc, settled: make(chan struct{}, 1)}
	}
	return nil
}

// Adopt makes c, which must be zero, a connection of the group, and takes s
// over. c is tentative until Become: its handler gets what comes first within
// wait, and says there what c becomes, or detaches it. A tentative connection is
// aborted when wait is over, and by Close. Adopt reports false, and s is still
// the caller's, after Close and where there are no loops.
func (g *Group) Adopt(c *Conn, s Socket, h Handler, wait time.Duration) bool {
	native, err := g.enter(true)
	if err != nil {
		return false
	}
	c.handler = h
	if native == nil || !native.take(c, s) {
		g.conns.Done()
		return false
	}
	c.mu.Lock()
	c.flags |= tentative
	c.within(wait)
	c.mu.Unlock()
	if g.isClosed() { // and may have seen it too early
		c.Abort()
	}
	return true
}

// enter counts a connection more, and returns the poller, nil without one. tcp
// is whether it is wanted.
func (g *Group) enter(tcp bool) (poller, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	if g.cancel == nil {
		g.start()
	}
	if tcp && g.native == nil && !g.cfg.Portable {
		g.native = newPoller(g)
	}
	g.conns.Add(1)
	return g.native, nil
}

func (g *Group) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// beat counts short stretches of time, roughly that of waking a flusher a few
// times.
func (g *Group) beat() uint32 { return uint32(time.Since(g.began) / beat) }

// start begins what runs for all connections; mu is held.
func (g *Group) start() {
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.running.Go(func() { g.wheel.Run(ctx) })
}

// Written returns the bytes written to all connections since the start.
func (g *Group) Written() uint64 {
	g.mu.Lock()
	native := g.native
	g.mu.Unlock()
	n := g.written.Load()
	if native != nil {
		n += native.written()
	}
	return n
}

// Close refuses new connections, waits until all have ended, and stops what
// runs for them. It ends none itself but those that are tentative (Adopt). It
// may be called twice.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	native := g.native
	g.mu.Unlock()
	if native != nil {
		native.each((*Conn).abortTentative)
	}
	g.conns.Wait()
	g.stopped.Do(func() {
		if g.cancel == nil {
			return // nothing was ever started
		}
		if g.native != nil {
			g.native.close()
		}
		g.workers.close()
		g.cancel()
		g.running.Wait()
	})
}
