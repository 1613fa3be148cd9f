package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/bench/record"
)

// narrowBuffer is the receive buffer of a laggard, in bytes. The system may
// take more; what it holds for the client the server has got rid of.
const narrowBuffer = 4096

// Laggard is a client that takes what it is sent slowly, as a phone on a bad
// line does. It counts for itself: what it gets is neither delivered nor lost.
// Its methods may be called by one goroutine at a time, Take by any.
type Laggard struct {
	swarm *Swarm
	peer  *Peer
	conn  *handshaken

	mu  sync.Mutex
	lag Lag
}

// Lag is what one or several laggards went through.
type Lag struct {
	Received int64 // bytes
	Skipped  int64 // messages of which the server said that it left them out
	// Ended counts connections that the server ended, by the close code; those
	// it ended without one under "reset".
	Ended map[string]int64
}

// Add adds other to l.
func (l *Lag) Add(other Lag) {
	l.Received += other.Received
	l.Skipped += other.Skipped
	if l.Ended == nil {
		l.Ended = map[string]int64{}
	}
	for how, n := range other.Ended {
		l.Ended[how] += n
	}
}

// Laggard makes a client that will subscribe to topic. It is not connected.
func (s *Swarm) Laggard(topic string) *Laggard {
	l := &Laggard{swarm: s, peer: s.Peer(topic)}
	l.peer.buffer = narrowBuffer
	l.peer.shard = &shard{swarm: s, latency: record.NewHistogram()}
	l.peer.wire = l
	return l
}

// Connect opens the connection. After one that the server ended it goes on
// where that was when back is true, and else begins anew.
func (l *Laggard) Connect(ctx context.Context, back bool) error {
	l.peer.Returns = back
	l.swarm.prepare(l.peer)
	conn, err := l.swarm.dial(ctx, l.peer)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return errors.Join(err, conn.Close())
	}
	l.conn = conn
	return nil
}

// Read takes pace bytes a second, or all there are when pace is 0, and returns
// when ctx or the connection ends. The connection is closed then.
func (l *Laggard) Read(ctx context.Context, pace int) {
	const steps, fast = 10, 64 << 10 // a second
	cut := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	defer cut()
	defer l.conn.Close()
	buf := make([]byte, fast)
	var step *time.Ticker
	if pace > 0 {
		buf = buf[:min(max(pace/steps, 1), fast)]
		step = time.NewTicker(time.Second * time.Duration(len(buf)) / time.Duration(pace))
		defer step.Stop()
	}
	err := l.take(l.conn.rest)
	for err == nil {
		if step != nil {
			select {
			case <-step.C:
			case <-ctx.Done():
				return
			}
		}
		var n int
		if n, err = l.conn.Read(buf); n > 0 {
			err = errors.Join(err, l.take(buf[:n]))
		}
	}
	if ctx.Err() == nil {
		l.ended(err)
	}
}

// take is told what came.
func (l *Laggard) take(data []byte) error {
	l.mu.Lock()
	l.lag.Received += int64(len(data))
	l.mu.Unlock()
	err := l.peer.frames.feed(data, func(op byte, payload []byte) error {
		if op == opClose && len(payload) >= 2 {
			return closedError(binary.BigEndian.Uint16(payload))
		}
		return l.peer.understand(op, payload)
	})
	l.mu.Lock()
	l.lag.Skipped += int64(l.peer.skipped)
	l.mu.Unlock()
	l.peer.skipped = 0
	return err
}

// closedError is the code of the server's close frame.
type closedError uint16

func (c closedError) Error() string { return strconv.Itoa(int(c)) }

func (l *Laggard) ended(err error) {
	how := "reset"
	if code, ok := errors.AsType[closedError](err); ok {
		how = code.Error()
	} else if errors.Is(err, io.EOF) {
		how = "closed without a code"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lag.Add(Lag{Ended: map[string]int64{how: 1}})
}

// Take returns what the laggard went through since the last Take.
func (l *Laggard) Take() Lag {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.lag
	l.lag = Lag{}
	return taken
}

func (l *Laggard) write(frame []byte) error {
	const patience = time.Second
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := l.conn.Write(frame)
	return err
}

func (l *Laggard) close(Ending) { _ = l.conn.Close() }
