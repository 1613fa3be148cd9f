package evloop

import (
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// scratch is how much one write takes at most when it is put together from
// several frames.
const scratch = 64 << 10

// epoll is the native poller: loops that share the connections evenly.
type epoll struct {
	loops []*loop
	next  atomic.Uint32
}

// loop is one epoll instance. Its goroutine waits for the instance in Go's
// own poller, so that no thread is held up while nothing happens.
type loop struct {
	g    *Group
	file *os.File // of the instance
	fd   int

	slots sync.Mutex
	table []*Conn
	free  []int32

	mu     sync.Mutex
	queue  []*Conn // have something to be written
	asleep bool    // the flusher waits for wake
	wake   chan struct{}
	quit   chan struct{}

	out atomic.Uint64
}

// newPoller returns nil when the kernel does not give what is needed; the
// portable way serves then.
func newPoller(g *Group) poller {
	e := &epoll{}
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(g)
		if err != nil {
			e.close()
			return nil
		}
		e.loops = append(e.loops, l)
		g.running.Go(l.poll)
		g.running.Go(l.flusher)
	}
	return e
}

func newLoop(g *Group) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os.NewFile gives it to Go's poller
		_ = unix.Close(fd)
		return nil, err
	}
	return &loop{
		g: g, fd: fd, file: os.NewFile(uintptr(fd), "epoll"),
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}, nil
}

func (e *epoll) close() {
	for _, l := range e.loops {
		close(l.quit)
		_ = l.file.Close() // ends poll
	}
}

func (e *epoll) written() uint64 {
	n := uint64(0)
	for _, l := range e.loops {
		n += l.out.Load()
	}
	return n
}

// adopt takes the descriptor of a TCP connection out of Go's poller, and with
// it everything that net holds for it.
func (e *epoll) adopt(c *Conn, tcp *net.TCPConn) bool {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	err = raw.Control(func(old uintptr) {
		fd, _ = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) // -1 on error
	})
	if err != nil || fd < 0 {
		return false
	}
	if !e.take(c, Socket{fd}) {
		_ = unix.Close(fd)
		return false
	}
	_ = tcp.Close() // the connection lives on in fd
	return true
}

// take is described at poller.
func (e *epoll) take(c *Conn, s Socket) bool {
	return e.loops[int(e.next.Add(1))%len(e.loops)].add(c, s.fd)
}

// give is described at poller. Nothing is reported of the descriptor from then
// on, as it would be if it were only closed while net has another of it.
func (e *epoll) give(c *Conn) Socket {
	l, ok := c.driver.(*loop)
	if !ok {
		return Socket{-1} // the caller detaches connections of the loops only
	}
	l.forget(c.slot)
	_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, int(c.fd), nil) // it is there
	return Socket{int(c.fd)}
}

// each is described at poller.
func (e *epoll) each(f func(c *Conn)) {
	for _, l := range e.loops {
		l.slots.Lock()
		all := slices.Clone(l.table)
		l.slots.Unlock()
		for _, c := range all {
			if c != nil {
				f(c)
			}
		}
	}
}

// What is asked of a connection's descriptor, edge-triggered. That the socket
// takes more is asked for when it first did not: a new one takes everything,
// and to be told so would wake the loop for nothing.
const (
	input = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	inOut = input | unix.EPOLLOUT
)

// add registers fd.
func (l *loop) add(c *Conn, fd int) bool {
	l.slots.Lock()
	slot := int32(len(l.table))
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
		l.table[slot] = c
	} else {
		l.table = append(l.table, c)
	}
	l.slots.Unlock()
	c.driver, c.fd, c.slot = l, int32(fd), slot
	c.state.Store(busy) // until Start
	ev := unix.EpollEvent{Events: input, Fd: slot}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.forget(slot)
		c.driver = nil
		c.state.Store(0)
		return false
	}
	return true
}

func (l *loop) forget(slot int32) {
	l.slots.Lock()
	defer l.slots.Unlock()
	l.table[slot] = nil
	l.free = append(l.free, slot)
}

func (l *loop) group() *Group { return l.g }

// start has a worker look, if anything came since the connection was added.
func (l *loop) start(c *Conn) {
	if c.rare != nil && c.rare.early != nil || !c.state.CompareAndSwap(busy, 0) {
		l.g.workers.serve(c)
	}
}

// parked is described at prompt.
func (l *loop) parked(c *Conn) {
	if c.flags&asked != 0 {
		return
	}
	c.flags |= asked
	ev := unix.EpollEvent{Events: inOut, Fd: c.slot}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_MOD, int(c.fd), &ev); err != nil {
		c.fail(os.NewSyscallError("epoll_ctl", err)) // it would wait for ever
	}
}

func (l *loop) settle(c *Conn) { c.schedule(0) }

func (l *loop) shut(c *Conn) { _ = unix.Shutdown(int(c.fd), unix.SHUT_WR) } // fails when the peer has gone

// release closes the descriptor, which also takes it off the loop.
func (l *loop) release(c *Conn) {
	l.forget(c.slot)
	_ = unix.Close(int(c.fd)) // nothing can be done about it
}

// poll waits for readiness and hands it on.
func (l *loop) poll() {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return // the file is closed
	}
	events := make([]unix.EpollEvent, 256)
	ready := make([]*Conn, 256)
	_ = raw.Read(func(fd uintptr) bool { // ends when the file is closed
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return false
			}
			l.dispatch(events[:n], ready)
		}
	})
}

// dispatch tells connections what happened. An event may belong to a
// connection that has gone and left its slot to another: that one looks in
// vain, no more.
func (l *loop) dispatch(events []unix.EpollEvent, ready []*Conn) {
	l.slots.Lock()
	for i := range events {
		ready[i] = l.table[events[i].Fd]
	}
	l.slots.Unlock()
	for i := range events {
		c, what := ready[i], events[i].Events
		ready[i] = nil
		if c == nil {
			continue
		}
		if what&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			c.unpark()
		}
		switch {
		case what&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
			c.schedule(finished)
		case what&unix.EPOLLIN != 0:
			c.schedule(0)
		}
	}
}

// dirty is described at driver.
func (l *loop) dirty(c *Conn) {
	l.mu.Lock()
	l.queue = append(l.queue, c)
	if l.asleep {
		l.asleep = false
		l.wake <- struct{}{} // it has room for one, and is empty while asleep
	}
	l.mu.Unlock()
}

// flusher writes what is queued: all that is there in one call a connection.
func (l *loop) flusher() {
	var batch []*Conn
	var buf []byte
	for {
		l.mu.Lock()
		batch, l.queue = l.queue, batch[:0]
		l.asleep = len(batch) == 0
		l.mu.Unlock()
		if len(batch) == 0 {
			select {
			case <-l.wake:
			case <-l.quit:
				return
			}
			continue
		}
		if buf == nil {
			buf = make([]byte, scratch)
		}
		for i, c := range batch {
			batch[i] = nil
			c.mu.Lock()
			l.flushLocked(c, buf)
		}
	}
}

// flush is described at prompt.
func (l *loop) flush(c *Conn) {
	c.mu.Lock()
	if c.flags&promised == 0 {
		c.mu.Unlock()
		return
	}
	l.flushLocked(c, nil)
}

// flushLocked writes what waits for c, unless somebody does already: who that
// is also sees to what has come meanwhile. It is called with c's lock held and
// releases it. scratch may be nil.
func (l *loop) flushLocked(c *Conn, scratch []byte) {
	c.flags &^= dirty | promised
	if c.flags&(parked|dead|writing) != 0 || c.queue.empty() {
		c.mu.Unlock()
		return
	}
	q := c.queue
	c.queue = queue{}
	c.flags |= writing
	c.mu.Unlock()
	n, blocked, err := l.write(c.fd, &q, scratch)
	c.mu.Lock()
	c.wrote(q, n, blocked, err)
	refill := c.refills()
	c.mu.Unlock()
	if refill {
		c.handler.Refill()
	}
}

// write writes until q is empty or the socket is full, as it must before the
// kernel tells that it no longer is.
func (l *loop) write(fd int32, q *queue, scratch []byte) (n int, blocked bool, err error) {
	if scratch == nil && q.head != nil {
		pooled, _ := l.g.buffers.Get().(*[]byte)
		defer l.g.buffers.Put(pooled)
		scratch = *pooled
	}
	defer func() { l.out.Add(uint64(n)) }()
	for !q.empty() {
		k, errno := writeNow(fd, q.next(scratch))
		if k > 0 {
			n += k
			q.advance(k, &l.g.chunks)
		}
		switch errno {
		case 0, unix.EINTR:
		case unix.EAGAIN:
			return n, true, nil
		default:
			return n, false, os.NewSyscallError("write", errno)
		}
	}
	return n, false, nil
}

// read is described at driver.
func (l *loop) read(c *Conn, buf []byte) (int, error) {
	for {
		n, errno := readNow(c.fd, buf)
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}
