// Package socket is the client's end of one WebSocket: messages in, messages
// out, written together where they come together.
package socket

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	writeTimeout = 10 * time.Second
	farewell     = time.Second // for what is written at the end
	maxUnwritten = 16 << 20    // a server that reads nothing is gone
)

var errUnwritten = errors.New("the server does not read what it is sent")

// Config is what a Socket is made of.
type Config struct {
	Conn    net.Conn
	Reader  *bufio.Reader // holds what was read beyond the handshake; nil: nothing was
	Binary  bool          // messages are binary frames rather than text
	Deflate bool          // messages may be compressed: the handshake agreed on it
	// More returns messages to write along with what is queued, and nil when
	// there are none. Alarm is called after a wait that Remind asked for.
	// Both run on the socket's goroutine.
	More  func() [][]byte
	Alarm func()
}

// Socket reads on the caller's goroutine and writes on its own. Everything but
// Read may be called concurrently.
type Socket struct {
	config  Config
	op      ws.OpCode
	frames  frameReader
	deflate *deflater // nil: messages are not compressed
	ctx     context.Context
	stop    context.CancelFunc
	wake    chan struct{}

	mu     sync.Mutex
	out    []byte
	failed error
	timer  time.Duration // what the alarm is to be set to; 0: leave it
	armed  bool

	writing sync.WaitGroup
}

// New takes the connection over. It ends with ctx, or with End.
func New(ctx context.Context, c Config) *Socket {
	s := &Socket{config: c, op: ws.OpText, wake: make(chan struct{}, 1)}
	if c.Binary {
		s.op = ws.OpBinary
	}
	r := c.Reader
	if r == nil {
		r = bufio.NewReader(c.Conn)
	}
	if c.Deflate {
		s.deflate = &deflater{}
	}
	s.frames = frameReader{r: r, text: !c.Binary, deflate: s.deflate, pong: func(p []byte) { s.write(byte(ws.OpPong), p) }}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.writing.Go(s.run)
	return s
}

// Read returns the next message, or an error when nothing was heard for
// silence, which is 0 for patience without end.
func (s *Socket) Read(silence time.Duration) ([]byte, error) {
	var until time.Time
	if silence > 0 {
		until = time.Now().Add(silence)
	}
	if err := s.config.Conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	return s.frames.next()
}

// Send queues a message and takes its bytes over.
func (s *Socket) Send(message []byte) { s.write(s.packed(message)) }

// packed returns how a message is sent: the first byte of its frame, and its
// payload.
func (s *Socket) packed(message []byte) (first byte, payload []byte) {
	if s.deflate != nil {
		if packed := s.deflate.pack(message); packed != nil {
			return byte(s.op) | rsv1, packed
		}
	}
	return byte(s.op), message
}

// Goodbye queues a close frame.
func (s *Socket) Goodbye(code ws.StatusCode) {
	s.write(byte(ws.OpClose), ws.NewCloseFrameBody(code, ""))
}

func (s *Socket) write(first byte, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out)+len(payload) > maxUnwritten {
		s.failed = errUnwritten
		s.stop()
		return
	}
	s.out = appendFrame(s.out, first, payload, newMask())
	s.Rouse()
}

// newMask is as unpredictable as RFC 6455, section 5.3 wants it.
func newMask() (mask [4]byte) {
	_, _ = rand.Read(mask[:]) // never fails
	return mask
}

// Rouse makes the socket ask for More.
func (s *Socket) Rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Remind sets the alarm, unless it is set.
func (s *Socket) Remind(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		s.timer, s.armed = d, true
		s.Rouse()
	}
}

// Done is closed when the socket ends.
func (s *Socket) Done() <-chan struct{} { return s.ctx.Done() }

// Context ends with the socket.
func (s *Socket) Context() context.Context { return s.ctx }

// Stop begins the end: what is queued is written, then the connection closed.
func (s *Socket) Stop() { s.stop() }

// End closes the connection after what was queued and returns when that is
// done. A code other than 0 is sent as the reason. The error tells why writing
// failed, if it did.
func (s *Socket) End(code ws.StatusCode) error {
	if code != 0 {
		s.Goodbye(code)
	}
	s.stop()
	// A write under way must not hold us up.
	_ = s.config.Conn.SetWriteDeadline(time.Now().Add(farewell))
	s.writing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// run writes until the end.
func (s *Socket) run() {
	defer s.config.Conn.Close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		frames, wait := s.take()
		if wait > 0 {
			timer.Reset(wait)
		}
		for _, m := range s.config.More() {
			first, payload := s.packed(m)
			frames = appendFrame(frames, first, payload, newMask())
		}
		if len(frames) > 0 {
			if err := s.flush(frames, writeTimeout); err != nil {
				s.fail(err)
				return
			}
			continue
		}
		select {
		case <-s.wake:
		case <-timer.C:
			s.rang()
			s.config.Alarm()
		case <-s.ctx.Done():
			if frames, _ := s.take(); len(frames) > 0 {
				s.fail(s.flush(frames, farewell))
			}
			return
		}
	}
}

// take returns what is to be written, and what the alarm is to be set to.
func (s *Socket) take() (frames []byte, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, s.out = s.out, nil
	wait, s.timer = s.timer, 0
	return frames, wait
}

func (s *Socket) rang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
}

func (s *Socket) flush(frames []byte, limit time.Duration) error {
	if err := s.config.Conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := s.config.Conn.Write(frames)
	return err
}

func (s *Socket) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}
