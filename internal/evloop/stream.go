package evloop

import (
	"errors"
	"net"
	"os"
	"time"
)

// stream drives a connection that the loops cannot: a goroutine reads it, and
// another exists while there is something to write.
type stream struct {
	g       *Group
	nc      net.Conn
	settled chan struct{} // something has changed that may end the connection
}

func (s *stream) group() *Group { return s.g }

func (s *stream) read(_ *Conn, buf []byte) (int, error) { return s.nc.Read(buf) }

func (s *stream) start(c *Conn) { s.g.running.Go(func() { s.serve(c) }) }

func (s *stream) dirty(c *Conn) { s.g.running.Go(func() { s.write(c) }) }

// settle interrupts the reader when there is nothing left to read for.
func (s *stream) settle(c *Conn) {
	if c.flags&dead != 0 {
		_ = s.nc.Close() // it may be closed already
	}
	select {
	case s.settled <- struct{}{}:
	default:
	}
}

func (s *stream) shut(*Conn) {
	if half, ok := s.nc.(interface{ CloseWrite() error }); ok {
		s.g.running.Go(func() { _ = half.CloseWrite() }) // TLS has something to say first, and may block
	}
}

func (s *stream) release(*Conn) { _ = s.nc.Close() } // it may be closed already

// serve reads until the connection is over.
func (s *stream) serve(c *Conn) {
	buf, _ := s.g.buffers.Get().(*[]byte)
	defer s.g.buffers.Put(buf)
	data, err := c.takeEarly(), error(nil)
	for {
		if c.deliver(data, err) {
			return
		}
		if c.finished() {
			break
		}
		n, failed := s.read(c, *buf)
		data, err = (*buf)[:n], failed
	}
	for !c.close() {
		<-s.settled
	}
}

// finished reports whether there is nothing to read any more.
func (c *Conn) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flags&(inputOver|dead) != 0
}

// write writes until nothing is queued.
func (s *stream) write(c *Conn) {
	for {
		c.mu.Lock()
		if c.queue.empty() || c.flags&dead != 0 {
			c.flags &^= dirty
			c.mu.Unlock()
			return
		}
		q := c.queue
		c.queue = queue{}
		c.flags |= writing
		c.mu.Unlock()
		n, err := s.writeSome(&q)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrStalled
		}
		c.mu.Lock()
		c.wrote(q, n, false, err)
		refill := c.refills()
		c.mu.Unlock()
		if refill {
			c.handler.Refill()
		}
	}
}

// writeSome makes one call, so that what a blocked socket keeps from beginning
// can still be given up.
func (s *stream) writeSome(q *queue) (int, error) {
	scratch, _ := s.g.buffers.Get().(*[]byte)
	defer s.g.buffers.Put(scratch)
	_ = s.nc.SetWriteDeadline(time.Now().Add(s.g.cfg.Write)) // fails only on a closed connection
	n, err := s.nc.Write(q.next(*scratch))
	q.advance(n, &s.g.chunks)
	s.g.written.Add(uint64(n))
	return n, err
}
