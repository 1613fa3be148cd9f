package client

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	connectTimeout = 15 * time.Second // from the dial to `connected`
	requestTimeout = 10 * time.Second
	writeTimeout   = 10 * time.Second
	farewell       = time.Second // for what is written at the end
	pingGrace      = 10 * time.Second
	maxUnwritten   = 16 << 20 // a server that reads nothing is gone
)

var errUnwritten = errors.New("the server does not read what it is sent")

// link is one WebSocket from its opening to its end. The run loop reads it;
// one goroutine writes.
type link struct {
	conn    net.Conn
	codec   protocol.ClientCodec
	frames  frameReader
	silence time.Duration // the longest that the server may be silent; 0: for ever

	// The client's lock guards these.
	asks       map[uint64]*ask
	retryAfter time.Duration // the server wants us to stay away for so long
	leaving    string
	refused    *Error    // the answer to connect
	since      time.Time // when it was answered; zero before

	mu      sync.Mutex // guards what follows; taken after the client's lock
	out     []byte
	acks    map[string]uint64
	failed  error
	wake    chan struct{}
	timer   time.Duration // what the writer's alarm is to be set to; 0: leave it
	armed   bool          // the alarm is set
	ctx     context.Context
	stop    context.CancelFunc
	writing sync.WaitGroup
}

// ask is a command that ends with its connection.
type ask struct {
	answer answer
	until  time.Time
}

// newLink takes conn over, and r, which holds what was read beyond the
// handshake. expire is called when an ask may have waited too long.
func newLink(ctx context.Context, conn net.Conn, r *bufio.Reader, codec protocol.ClientCodec, expire func(*link)) *link {
	if r == nil {
		r = bufio.NewReader(conn)
	}
	l := &link{
		conn: conn, codec: codec, silence: connectTimeout,
		asks: make(map[uint64]*ask), acks: make(map[string]uint64), wake: make(chan struct{}, 1),
	}
	l.frames = frameReader{r: r, text: !codec.Binary(), pong: func(p []byte) { l.write(ws.OpPong, p) }}
	l.ctx, l.stop = context.WithCancel(ctx)
	l.writing.Go(func() { l.writeLoop(expire) })
	return l
}

// read returns the next replies. Only the run loop calls it.
func (l *link) read() ([]*parleyv1.Reply, error) {
	if l.silence > 0 {
		if err := l.conn.SetReadDeadline(time.Now().Add(l.silence)); err != nil {
			return nil, err
		}
	}
	frame, err := l.frames.next()
	if err != nil {
		return nil, err
	}
	return l.codec.DecodeReplies(frame)
}

// send queues a command.
func (l *link) send(c *parleyv1.Command) {
	op := ws.OpText
	if l.codec.Binary() {
		op = ws.OpBinary
	}
	l.write(op, l.codec.AppendCommand(nil, c))
}

// write queues a frame; it takes payload over.
func (l *link) write(op ws.OpCode, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.out)+len(payload) > maxUnwritten {
		l.failed = errUnwritten
		l.stop()
		return
	}
	l.out = appendFrame(l.out, op, payload, newMask())
	l.rouse()
}

// newMask is as unpredictable as RFC 6455, section 5.3 wants it.
func newMask() (mask [4]byte) {
	_, _ = rand.Read(mask[:]) // never fails
	return mask
}

// ack acknowledges everything of topic up to seq, together with whatever is
// acknowledged until the next write.
func (l *link) ack(topic string, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks[topic] = seq
	l.rouse()
}

func (l *link) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// expect sets the alarm for asks that waited too long, unless it is set: all
// have the same patience, so the first alarm is the earliest.
func (l *link) expect(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed {
		l.timer, l.armed = d, true
		l.rouse()
	}
}

// rang notes that the alarm went off.
func (l *link) rang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
}

// take returns what is to be written now.
func (l *link) take() (frames []byte, acks map[string]uint64, timer time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames, l.out = l.out, nil
	if len(l.acks) > 0 {
		acks, l.acks = l.acks, make(map[string]uint64)
	}
	timer, l.timer = l.timer, 0
	return frames, acks, timer
}

func (l *link) writeLoop(expire func(*link)) {
	defer l.conn.Close()
	timer := time.NewTimer(requestTimeout)
	defer timer.Stop()
	for {
		frames, acks, wait := l.take()
		if wait > 0 {
			timer.Reset(wait)
		}
		if len(acks) > 0 {
			frames = l.appendAcks(frames, acks)
		}
		if len(frames) > 0 {
			if err := l.flush(frames, writeTimeout); err != nil {
				l.fail(err)
				return
			}
			continue
		}
		select {
		case <-l.wake:
		case <-timer.C:
			l.rang()
			expire(l)
		case <-l.ctx.Done():
			if frames, _, _ := l.take(); len(frames) > 0 {
				l.fail(l.flush(frames, farewell))
			}
			return
		}
	}
}

func (l *link) appendAcks(dst []byte, acks map[string]uint64) []byte {
	op := ws.OpText
	if l.codec.Binary() {
		op = ws.OpBinary
	}
	for topic, seq := range acks {
		c := &parleyv1.Command{Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: topic, Seq: seq}}}
		dst = appendFrame(dst, op, l.codec.AppendCommand(nil, c), newMask())
	}
	return dst
}

func (l *link) flush(frames []byte, limit time.Duration) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := l.conn.Write(frames)
	return err
}

func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// end closes the connection, after what was queued, and returns when the
// writer has ended. why is the reason for the server, if it should hear one.
func (l *link) end(why ws.StatusCode) error {
	if why != 0 {
		l.write(ws.OpClose, ws.NewCloseFrameBody(why, ""))
	}
	l.stop()
	_ = l.conn.SetWriteDeadline(time.Now().Add(farewell)) // a write under way must not hold us up
	l.writing.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}
