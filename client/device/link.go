package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	writeTimeout = 10 * time.Second
	pingGrace    = 10 * time.Second
)

var errLost = errors.New("the connection was lost before the answer came")

// link is one connection.
type link struct {
	conn   net.Conn
	form   frame.Form
	reader frame.Reader
	got    []*parleyv1.Reply // read and not yet dealt with

	writing sync.Mutex // held while a frame is written

	mu   sync.Mutex
	asks map[uint64]chan *parleyv1.Reply // nil once the connection is lost
}

func newLink(conn net.Conn, c *config) *link {
	return &link{conn: conn, form: c.form, reader: frame.Reader{Limit: c.limit}, asks: make(map[uint64]chan *parleyv1.Reply)}
}

// close ends the connection; whoever reads it notices.
func (l *link) close() { _ = l.conn.Close() } // it may be closed already

// send writes one command. When that fails the connection is over.
func (l *link) send(c *parleyv1.Command) error {
	data := frame.AppendCommand(nil, l.form, c)
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := l.conn.Write(data); err != nil {
		l.close()
		return err
	}
	return nil
}

// ask sends a command and waits for its answer.
func (l *link) ask(ctx context.Context, c *parleyv1.Command) (*parleyv1.Reply, error) {
	answer := make(chan *parleyv1.Reply, 1)
	l.mu.Lock()
	if l.asks == nil {
		l.mu.Unlock()
		return nil, errLost
	}
	l.asks[c.GetId()] = answer
	l.mu.Unlock()
	defer l.forget(c.GetId())
	if err := l.send(c); err != nil {
		return nil, errLost
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return nil, errLost
		case r.GetError() != nil:
			return nil, errorOf(r.GetError())
		}
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asks, id)
}

// answer hands a reply to who asked for it.
func (l *link) answer(r *parleyv1.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ch := l.asks[r.GetId()]; ch != nil {
		delete(l.asks, r.GetId())
		ch <- r // it has room for one
	}
}

// lose fails what was asked and not answered.
func (l *link) lose() {
	l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ch := range l.asks {
		close(ch)
	}
	l.asks = nil
}

// next reads the next reply, or fails when nothing was heard for silence, 0
// for patience without end. Only one goroutine calls it.
func (l *link) next(silence time.Duration, buf []byte) (*parleyv1.Reply, error) {
	for len(l.got) == 0 {
		var until time.Time
		if silence > 0 {
			until = time.Now().Add(silence)
		}
		if err := l.conn.SetReadDeadline(until); err != nil {
			return nil, err
		}
		n, err := l.conn.Read(buf)
		if n > 0 {
			if bad := l.reader.Feed(buf[:n], l.take); bad != nil {
				return nil, bad
			}
		}
		if err != nil && len(l.got) == 0 {
			return nil, err
		}
	}
	r := l.got[0]
	l.got = l.got[1:]
	return r, nil
}

func (l *link) take(f frame.Frame) error {
	r, err := f.Reply()
	if err != nil {
		return fmt.Errorf("the server sent a frame that is no reply: %w", err)
	}
	l.got = append(l.got, r)
	return nil
}

// final reports whether err is a refusal that will not change by waiting.
func final(err error) bool {
	refused, ok := errors.AsType[*client.Error](err)
	return ok && refused.Retry == protocol.RetryNever
}

// stays tells by the reason of an end whether it is for good.
func stays(reason string) bool {
	for _, r := range protocol.Reasons() {
		if r.Code == reason {
			return r.Retry == protocol.RetryNever
		}
	}
	return false
}
