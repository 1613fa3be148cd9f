//go:build linux

package evloop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// door is a group whose connections are tentative at first.
type door struct {
	*testing.T
	g    *Group
	addr string
	met  chan *peer
}

func openDoor(t *testing.T, wait time.Duration, data func(p *peer, b []byte) error) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := NewAcceptor(ln)
	if a == nil {
		t.Fatal("no acceptor")
	}
	d := &door{T: t, g: New(Config{}), addr: ln.Addr().String(), met: make(chan *peer, 8)}
	var running sync.WaitGroup
	running.Go(func() {
		err := a.Run(func(s Socket, from netip.AddrPort) {
			p := &peer{data: data, closed: make(chan error, 1)}
			if !from.Addr().IsLoopback() || from.Port() == 0 || !d.g.Adopt(&p.Conn, s, p, wait) {
				t.Errorf("%v is not adopted", from)
				return
			}
			p.Start(nil)
			d.met <- p
		}, func(err error) { t.Error(err) })
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepting ended with %v", err)
		}
	})
	t.Cleanup(func() {
		a.Close()
		a.Close()
		running.Wait()
		_ = ln.Close()
		d.g.Close()
	})
	return d
}

func (d *door) dial(says string) (net.Conn, *peer) {
	d.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, says); err != nil {
		d.Fatal(err)
	}
	return c, <-d.met
}

// A connection becomes what its first bytes say, with another handler.
func TestBecoming(t *testing.T) {
	d := openDoor(t, 200*time.Millisecond, func(p *peer, b []byte) error {
		then := &peer{closed: make(chan error, 1)}
		then.data = func(_ *peer, b []byte) error { return echo(p, b) }
		p.Become(then)
		return then.Data(b)
	})
	c, p := d.dial("one")
	if got := string(read(t, c, 3)); got != "one" {
		t.Errorf("%q", got)
	}
	timer := time.NewTimer(500 * time.Millisecond) // longer than it might be tentative
	defer timer.Stop()
	<-timer.C
	if _, err := io.WriteString(c, "two"); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, c, 3)); got != "two" {
		t.Errorf("%q", got)
	}
	_ = c.Close()
	select {
	case err := <-p.closed:
		t.Errorf("its first handler was told: %v", err)
	default:
	}
}

// A connection that is detached is net's, with every option as net sets them.
func TestDetaching(t *testing.T) {
	out := make(chan net.Conn, 1)
	d := openDoor(t, patience, func(p *peer, _ []byte) error {
		s, ok := p.Detach()
		if !ok {
			return errors.New("it cannot be detached")
		}
		nc, err := s.Conn()
		if err != nil {
			t.Error(err)
		}
		out <- nc
		return ErrDetached
	})
	c, _ := d.dial("one")
	nc := <-out
	_ = nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline is not kept: %v", err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "two"); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, nc, 3)); got != "two" {
		t.Errorf("%q", got)
	}
	_ = nc.Close()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 { // no other descriptor keeps it open
		t.Errorf("%q, %v", rest, err)
	}
	_ = c.Close()
}

// Sockets are accepted with the options that net sets one by one.
func TestOptionsOfAcceptedSockets(t *testing.T) {
	d := openDoor(t, patience, echo)
	c, p := d.dial("")
	for name, o := range map[string][3]int{
		"no delay": {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, "keep alive": {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"idle": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15}, "interval": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		"probes": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		if got, err := unix.GetsockoptInt(int(p.fd), o[0], o[1]); err != nil || got != o[2] {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	_ = c.Close()
}

// Who says nothing is cut after a while, or by Close, which does not wait for
// it.
func TestTentativeConnectionsEnd(t *testing.T) {
	d := openDoor(t, 100*time.Millisecond, echo)
	c, p := d.dial("")
	if err := <-p.closed; !errors.Is(err, ErrStalled) {
		t.Errorf("ended with %v", err)
	}
	_ = c.Close()
	d = openDoor(t, time.Hour, echo)
	c, p = d.dial("")
	d.g.Close()
	if err := <-p.closed; err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it goes on")
	}
	_ = c.Close()
	if d.g.Adopt(&Conn{}, Socket{-1}, p, time.Hour) {
		t.Error("adopted after Close")
	}
}
