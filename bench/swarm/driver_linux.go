package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// loops is the driver for plain connections on Linux: one epoll loop for each
// shard, no goroutine and no buffer for a connection.
type loops struct{ all []*loop }

// loop reads the sockets of one shard.
type loop struct {
	shard *shard
	epoll int
	end   int           // an eventfd that ends the loop
	conns map[int]*Peer // by descriptor; guarded by the shard's lock
	done  chan struct{}
	err   error // why it ended; valid once done is closed
}

func newDriver(s *Swarm) (driver, error) {
	d := &loops{}
	for _, h := range s.shards {
		l, err := newLoop(h)
		if err != nil {
			return nil, errors.Join(err, d.stop())
		}
		h.driven = l
		d.all = append(d.all, l)
		go l.run()
	}
	return d, nil
}

func newLoop(h *shard) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(epoll))
	}
	l := &loop{shard: h, epoll: epoll, end: end, conns: map[int]*Peer{}, done: make(chan struct{})}
	if err := l.watch(end); err != nil {
		return nil, errors.Join(err, unix.Close(end), unix.Close(epoll))
	}
	return l, nil
}

func (l *loop) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (d *loops) adopt(p *Peer, c *handshaken) error {
	l, ok := p.shard.driven.(*loop)
	if !ok {
		return errors.New("the peer's shard has no loop")
	}
	fd, err := detach(c.Conn)
	if err != nil {
		return err
	}
	if err := l.watch(fd); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	l.conns[fd] = p
	p.wire = &socket{l, fd}
	return nil
}

// detach takes the descriptor of a connection out of the runtime's hands.
func detach(conn net.Conn) (fd int, err error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, fmt.Errorf("%T is no TCP connection", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	if dupErr != nil {
		return 0, fmt.Errorf("another descriptor for a connection: %w", dupErr)
	}
	_ = conn.Close() // the copy lives on
	return fd, nil
}

func (d *loops) stop() error {
	var errs []error
	for _, l := range d.all {
		one := make([]byte, 8)
		binary.NativeEndian.PutUint64(one, 1)
		if _, err := unix.Write(l.end, one); err != nil {
			errs = append(errs, err)
			continue
		}
		<-l.done
		errs = append(errs, l.err, unix.Close(l.end), unix.Close(l.epoll))
	}
	d.all = nil
	return errors.Join(errs...)
}

func (l *loop) run() {
	defer close(l.done)
	events := make([]unix.EpollEvent, 128)
	buf := make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.err = fmt.Errorf("epoll: %w", err)
			return
		}
		if !l.batch(events[:max(n, 0)], buf) {
			return
		}
	}
}

// batch reads what is there once from each socket. It reports false when the
// loop is to end.
func (l *loop) batch(events []unix.EpollEvent, buf []byte) bool {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	defer l.shard.publish()
	for _, e := range events {
		if int(e.Fd) == l.end {
			return false
		}
		p := l.conns[int(e.Fd)]
		if p == nil { // dropped after the event
			continue
		}
		n, err := unix.Read(int(e.Fd), buf)
		switch {
		case n > 0:
			if !p.take(buf[:n]) {
				p.fell()
			}
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		default:
			p.fell()
		}
	}
	return true
}

// socket is a descriptor that a loop reads.
type socket struct {
	loop *loop
	fd   int
}

func (w *socket) write(frame []byte) error {
	n, err := unix.Write(w.fd, frame)
	if err == nil && n < len(frame) {
		return errors.New("the server does not read what it is sent")
	}
	return err
}

func (w *socket) close(how Ending) {
	delete(w.loop.conns, w.fd)
	if how == Abort {
		// Without it the end is milder.
		_ = unix.SetsockoptLinger(w.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(w.fd) // leaves the epoll set too
}
