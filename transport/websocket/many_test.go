package websocket_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
)

const (
	sockets = 5000
	rooms   = 100
	users   = 60 // each has fewer connections than a user may
)

// TestFiveThousandSockets opens, subscribes and kills them in three ways:
// a close frame, a reset, and silence. Afterwards goroutines, descriptors,
// sessions, subscriptions and memory are what they were before.
func TestFiveThousandSockets(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about 15 seconds")
	}
	enoughDescriptors(t, 2*sockets+500) // both ends of each are here
	n := sockets
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithHeartbeat(4*time.Second, 4*time.Second),
			parley.WithLimits(parley.Limits{ResumeWindow: time.Nanosecond}),
			parley.WithDefaultTopic(parley.TopicSettings{NoPresence: true}))
		left := make(chan struct{}, 2*sockets)
		s.Live.OnDisconnect(func(parley.Event) { left <- struct{}{} })
		warmUp(t, s, n, left)
		calm(t)
		before := weigh(t, s)
		all := crowd(t, s, n)
		peak := weigh(t, s)
		kill(t, s, all, left, byClose, byReset, bySilence)
		settled(t, s, before)
		t.Logf("%d connections of %.1f KiB, both ends and the goroutine of the client among it", n, float64(peak.heap-before.heap)/float64(n)/1024)
		n = sockets / 10 // for other drivers
	})
}

// warmUp fills pools and tables that stay, and lets the runtime make the
// descriptors of goroutines, which it keeps for ever.
func warmUp(t *testing.T, s *parleytest.Server, n int, left <-chan struct{}) {
	t.Helper()
	var all sync.WaitGroup
	end := make(chan struct{})
	for range 3 * n {
		all.Go(func() { <-end })
	}
	close(end)
	all.Wait()
	kill(t, s, crowd(t, s, 300), left, byClose, byReset)
}

// calm waits until the workers have ended that only a crowd needs: they are
// looked over once a second.
func calm(t *testing.T) {
	t.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	n, since := runtime.NumGoroutine(), time.Now()
	for time.Since(since) < 4*time.Second {
		<-look.C
		if now := runtime.NumGoroutine(); now != n {
			n, since = now, time.Now()
		}
	}
}

// weight is what connections cost.
type weight struct {
	goroutines, descriptors, open, users, detached int
	heap                                           uint64
}

func weigh(t *testing.T, s *parleytest.Server) weight {
	t.Helper()
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("descriptors cannot be counted here: %v", err)
	}
	st := s.Live.Stats()
	return weight{runtime.NumGoroutine(), len(fds), st.Open, st.Users, st.Detached, m.HeapAlloc + m.StackInuse}
}

// settled waits until the weight is what it was before. Events come before the
// last goroutine of a connection has ended, so a few looks may be needed.
func settled(t *testing.T, s *parleytest.Server, before weight) {
	t.Helper()
	const spare = 3 << 20 // maps and pools do not shrink
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(patience); ; <-look.C {
		now := weigh(t, s)
		same := now
		same.heap = before.heap
		if same == before && now.heap < before.heap+spare {
			return
		}
		if time.Now().After(end) {
			t.Errorf("before %+v\nafter  %+v", before, now)
			return
		}
	}
}

// crowd opens n connections and reaches all of them.
func crowd(t *testing.T, s *parleytest.Server, n int) []*member {
	t.Helper()
	all := make([]*member, n)
	heard := make(chan struct{}, n)
	var joining sync.WaitGroup
	next := make(chan int)
	for range 16 {
		joining.Go(func() {
			for i := range next {
				m := join(t, s, i)
				if all[i] = m; m != nil { // pings are answered from now on, however long the others take
					m.reading.Go(func() { m.live(func() { heard <- struct{}{} }) })
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	joining.Wait()
	t.Cleanup(func() {
		for _, m := range all {
			if m != nil {
				_ = m.conn.Close() // it is closed already, unless the test failed
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	if open := s.Live.Stats().Open; open != n {
		t.Fatalf("%d connections are open", open)
	}
	for room := range rooms {
		if _, err := s.Live.Publish(t.Context(), fmt.Sprint("public/", room), "hello", room); err != nil {
			t.Fatal(err)
		}
	}
	late := time.NewTimer(3 * patience)
	defer late.Stop()
	for i := range n {
		select {
		case <-heard:
		case <-late.C:
			t.Fatalf("%d of %d were reached: %+v", i, n, s.Live.Stats())
		}
	}
	return all
}

// The ways to go.
func byClose(m *member) { _, _ = m.conn.Write(closing(1000, "")) } // it answers, and live ends

func byReset(m *member) {
	if tcp, ok := m.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that Close resets
	}
	_ = m.conn.Close()
}

func bySilence(m *member) { m.silent.Store(true) }

// kill ends all in turn, and waits until the server knows.
func kill(t *testing.T, s *parleytest.Server, all []*member, left <-chan struct{}, ways ...func(*member)) {
	t.Helper()
	for i, m := range all {
		ways[i%len(ways)](m)
	}
	late := time.NewTimer(3 * patience)
	defer late.Stop()
	for i := range all {
		select {
		case <-left:
		case <-late.C:
			t.Fatalf("%d of %d have left: %+v", i, len(all), s.Live.Stats())
		}
	}
	for _, m := range all {
		m.reading.Wait()
	}
	clear(all) // they count as memory
}

// member is one client of the crowd.
type member struct {
	conn    net.Conn
	in      *bufio.Reader
	silent  atomic.Bool
	reading sync.WaitGroup
}

func join(t *testing.T, s *parleytest.Server, i int) *member {
	r := handshake(s, fmt.Sprint("user-", i%users))
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		t.Error(err)
		return nil
	}
	m := &member{conn: conn, in: bufio.NewReaderSize(conn, 512)}
	if err = r.Write(conn); err == nil {
		_, err = conn.Write(frame(0x81, fmt.Sprintf(`{"id":1,"connect":{"subscriptions":[{"topic":"public/%d"}]}}`, i%rooms)))
	}
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(m.in, r); err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("handshake: %s", resp.Status)
		}
	}
	if err == nil {
		_, _, err = m.next()
	}
	if err != nil {
		t.Errorf("client %d: %v", i, err)
	}
	return m
}

func (m *member) next() (ws.OpCode, byte, error) {
	h, err := ws.ReadHeader(m.in)
	if err != nil {
		return 0, 0, err
	}
	var kind byte // the first letter of the reply's name
	if begin, err := m.in.Peek(int(min(h.Length, 3))); err == nil && len(begin) == 3 {
		kind = begin[2]
	}
	_, err = m.in.Discard(int(h.Length))
	return h.OpCode, kind, err
}

// live answers pings, until it falls silent, and reads until the end.
func (m *member) live(heard func()) {
	for {
		_, kind, err := m.next()
		switch {
		case err != nil:
			_ = m.conn.Close() // it may be closed already
			return
		case kind == 'm':
			heard()
		case kind == 'p' && !m.silent.Load():
			_, _ = m.conn.Write(frame(0x81, `{"pong":{}}`)) // the next read tells when it is gone
		}
	}
}

// enoughDescriptors raises the limit of this process for the test.
func enoughDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Skipf("the limit of descriptors cannot be read: %v", err)
	}
	if l.Cur >= n {
		return
	}
	raised := l
	raised.Cur, raised.Max = n, max(l.Max, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Skipf("%d descriptors are needed, %d are allowed at most: raise the limit with `ulimit -Hn %d` (%v)", n, l.Max, n, err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) }) // lowering cannot fail
}
