package websocket

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
)

// conn is one connection on the portable driver: a goroutine reads, and
// another exists while there is something to write.
type conn struct {
	s       *Server
	nc      net.Conn
	codec   protocol.Codec
	enc     encoder
	session *session.Session
	reader  reader
	batch   []protocol.Incoming

	mu       sync.Mutex
	queue    [][]byte // frames to write, shared ones among them
	queued   int      // bytes in queue and being written
	writing  bool     // a writer exists
	closing  bool     // nothing more is queued
	hurried  bool     // the write deadline stands
	reason   protocol.Reason
	drained  chan struct{} // closed by the writer when closing and all is written or lost
	ready    chan struct{} // closed when queued falls below half of its bound
	answered bool          // the peer's close frame has come
}

var _ session.Conn = (*conn)(nil)

func newConn(s *Server, nc net.Conn, codec protocol.Codec) *conn {
	return &conn{
		s: s, nc: nc, codec: codec, enc: encoderOf(codec), reason: protocol.Lost,
		reader: reader{limit: s.limits.MessageBytes}, drained: make(chan struct{}),
	}
}

// Reply is described at session.Conn.
func (c *conn) Reply(r *parleyv1.Reply) {
	c.enqueue(frameOf(c.enc.op, 256, func(dst []byte) []byte { return c.codec.AppendReply(dst, r) }), false)
}

// Deliver is described at session.Conn.
func (c *conn) Deliver(d *hub.Delivery) { c.enqueue(d.Bytes(c.enc), d.Droppable) }

// Ready is described at session.Conn.
func (c *conn) Ready() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.queued <= c.s.limits.QueueBytes/2 {
		return nil
	}
	if c.ready == nil {
		c.ready = make(chan struct{})
	}
	return c.ready
}

// enqueue adds a frame to what is written next. A receiver that has taken too
// little is first spared what it can do without and then cut.
func (c *conn) enqueue(frame []byte, droppable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	bound := c.s.limits.QueueBytes
	if droppable && c.queued > bound/2 {
		c.s.stats.dropped.Add(1)
		return
	}
	// A frame larger than the bound still goes to a receiver that is not behind.
	if c.queued > 0 && c.queued+len(frame) > bound {
		c.cut()
		return
	}
	c.push(frame)
}

// push appends a frame and sees to it that somebody writes; mu is held.
func (c *conn) push(frame []byte) {
	c.queue = append(c.queue, frame)
	c.queued += len(frame)
	if !c.writing {
		c.writing = true
		c.s.running.Go(c.write)
	}
}

// cut ends a connection whose queue is full: what is queued is given up, and
// the peer gets a moment to be told why. mu is held.
func (c *conn) cut() {
	for _, f := range c.queue {
		c.queued -= len(f)
	}
	c.queue, c.hurried = nil, true
	_ = c.nc.SetWriteDeadline(time.Now().Add(cutTimeout)) // fails only on a closed connection
	c.finish(protocol.SlowConsumer)
}

// finish queues the close frame as the last; mu is held.
func (c *conn) finish(r protocol.Reason) {
	c.reason = r
	c.push(closeFrame(r.Close, r.Code))
	c.closing = true
	c.release()
	_ = c.nc.SetReadDeadline(time.Now().Add(writeTimeout + lingerTimeout)) // fails only on a closed connection
}

func (c *conn) release() {
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
}

// Close is described at session.Conn.
func (c *conn) Close(r protocol.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.finish(r)
	}
}

// Abort is described at session.Conn.
func (c *conn) Abort() {
	_ = c.nc.Close() // the reader notices
}

// write writes until nothing is queued.
func (c *conn) write() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.writing = false
			if c.closing {
				close(c.drained)
				_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails only on a closed connection
			}
			c.mu.Unlock()
			return
		}
		batch, size := net.Buffers(c.queue), 0
		for _, f := range batch {
			size += len(f)
		}
		c.queue = nil
		if !c.hurried {
			_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only on a closed connection
		}
		c.mu.Unlock()
		n, err := batch.WriteTo(c.nc)
		c.s.stats.bytesOut.Add(uint64(n))
		if c.wrote(size, err) {
			return
		}
	}
}

// wrote accounts for a batch; it reports true when the connection is lost.
func (c *conn) wrote(size int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued -= size
	if c.queued <= c.s.limits.QueueBytes/2 {
		c.release()
	}
	if err == nil {
		return false
	}
	if !c.closing {
		c.closing = true
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.reason = protocol.SlowConsumer
		}
		c.release()
	}
	c.queue, c.writing = nil, false
	close(c.drained)
	_ = c.nc.Close() // so that the reader ends too
	return true
}

// serve reads until the connection ends, and releases everything.
func (c *conn) serve(early []byte) {
	err := c.read(early)
	var bad *framingError
	if errors.As(err, &bad) {
		if bad.Close == protocol.TooLarge.Close {
			c.Reply(protocol.TooLarge.Errorf("%s", bad.text).Reply(0))
		}
		c.Close(bad.Reason)
	}
	c.mu.Lock()
	c.closing = true
	c.release()
	writing := c.writing
	if !writing {
		select {
		case <-c.drained:
		default:
			close(c.drained)
		}
	}
	answered := c.answered
	c.mu.Unlock()
	<-c.drained
	if bad != nil && !answered {
		c.linger()
	}
	_ = c.nc.Close() // it may be closed already
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	c.session.End(reason)
}

// linger lets the close frame arrive: closing a socket with unread data makes
// the kernel reset the connection and the frame be lost.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails only on a closed connection
	var sink [512]byte
	for range 1 << 12 {
		if _, err := c.nc.Read(sink[:]); err != nil {
			return
		}
	}
}

// errClosed ends reading after the peer's close frame.
var errClosed = errors.New("the peer closed the connection")

// read feeds what the client sends to the session.
func (c *conn) read(early []byte) error {
	pooled, _ := c.s.buffers.Get().(*[]byte)
	defer c.s.buffers.Put(pooled)
	if len(early) > 0 {
		if err := c.take(early); err != nil {
			return err
		}
	}
	for {
		n, err := c.nc.Read(*pooled)
		if n > 0 {
			if err := c.take((*pooled)[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) take(data []byte) error {
	c.s.stats.bytesIn.Add(uint64(len(data)))
	return c.reader.feed(data, c.handle)
}

// handle takes one message or control frame.
func (c *conn) handle(op byte, payload []byte) error {
	switch op {
	case opPing:
		c.enqueue(frameOf(opPong, len(payload), func(dst []byte) []byte { return append(dst, payload...) }), true)
		return nil
	case opPong:
		return nil
	case opClose:
		return c.peerClosed(payload)
	}
	if (op == opBinary) != c.codec.Binary() {
		return broken(1003, "this connection speaks %s: %s frames only", c.codec.Name(), frameKind(c.codec))
	}
	c.s.stats.framesIn.Add(1)
	c.batch = c.codec.Decode(c.batch[:0], payload)
	c.session.Handle(c.batch)
	clear(c.batch)
	return nil
}

func frameKind(codec protocol.Codec) string {
	if codec.Binary() {
		return "binary"
	}
	return "text"
}

// peerClosed answers a close frame with one like it (RFC 6455 §5.5.1).
func (c *conn) peerClosed(payload []byte) error {
	code, err := checkClose(payload)
	if err != nil {
		return err
	}
	r := protocol.Closed
	r.Close = code
	c.mu.Lock()
	c.answered = true
	if !c.closing {
		c.finish(r)
	}
	c.mu.Unlock()
	return errClosed
}
