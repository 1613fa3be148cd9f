package evloop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is an accepted TCP connection that nobody reads: a bare descriptor,
// without what net holds for each. It goes to Group.Adopt, or to Conn, or is
// closed.
type Socket struct{ fd int }

// Conn gives the socket to Go's own poller; it is not the caller's any more,
// even when that fails.
func (s Socket) Conn() (net.Conn, error) {
	f := os.NewFile(uintptr(s.fd), "tcp")
	defer func() { _ = f.Close() }() // net has a descriptor of its own
	return net.FileConn(f)
}

// Acceptor accepts the connections of a listener as bare sockets.
type Acceptor struct {
	file *os.File // a second descriptor of the listener
	quit chan struct{}
	once sync.Once
}

// NewAcceptor returns an acceptor for l, nil when there is none for its kind.
// Nothing else may accept from l then. Close ends it, and leaves l open.
func NewAcceptor(l net.Listener) *Acceptor {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	file, err := tcp.File()
	if err != nil {
		return nil
	}
	if raw, err := file.SyscallConn(); err != nil || raw.Control(prepare) != nil {
		_ = file.Close()
		return nil
	}
	return &Acceptor{file: file, quit: make(chan struct{})}
}

// prepare sets on a listener what net sets on each connection: the kernel hands
// it down to those that are accepted. What fails costs no more than that.
func prepare(fd uintptr) {
	const idle, interval, probes = 15, 15, 9 // seconds; those of net
	for _, o := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, interval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
	} {
		_ = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
	}
}

// Run calls take with every connection until Close, and returns net.ErrClosed
// then, or why no more can be accepted. While the process has no descriptors
// left it tries again now and then; short is called each time.
func (a *Acceptor) Run(take func(s Socket, peer netip.AddrPort), short func(error)) error {
	raw, err := a.file.SyscallConn()
	if err != nil {
		return net.ErrClosed
	}
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool { // ends when the file is closed
			failed = a.acceptAll(int(fd), take)
			return failed != nil
		})
		switch {
		case err != nil:
			return net.ErrClosed
		case errors.Is(failed, net.ErrClosed):
			return failed
		case !scarce(failed):
			return os.NewSyscallError("accept4", failed)
		}
		short(failed)
		if !a.pause() {
			return net.ErrClosed
		}
	}
}

// pause reports false when Close was called meanwhile.
func (a *Acceptor) pause() bool {
	const pause = 100 * time.Millisecond
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.quit:
		return false
	}
}

// acceptAll accepts until there is nobody left, and returns nil then.
func (a *Acceptor) acceptAll(listener int, take func(s Socket, peer netip.AddrPort)) error {
	for {
		select {
		case <-a.quit:
			return net.ErrClosed
		default:
		}
		fd, from, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			take(Socket{fd}, addrOf(from))
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		default:
			return err
		}
	}
}

// scarce reports whether accepting fails for want of something that others
// give back.
func scarce(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// addrOf returns the zero address for one that it does not know how to tell,
// such as one of a zone.
func addrOf(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		if a.ZoneId == 0 {
			return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
		}
	}
	return netip.AddrPort{}
}

// Close ends Run. It may be called twice.
func (a *Acceptor) Close() {
	a.once.Do(func() {
		close(a.quit)
		_ = a.file.Close()
	})
}
