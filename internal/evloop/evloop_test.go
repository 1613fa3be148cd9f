package evloop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// peer is the server's side of a connection under test.
type peer struct {
	Conn
	data   func(p *peer, b []byte) error
	closed chan error
	refill func()
}

func (p *peer) Data(b []byte) error { return p.data(p, b) }
func (p *peer) Closed(err error)    { p.closed <- err }

func (p *peer) Refill() {
	if p.refill != nil {
		p.refill()
	}
}

// bench is a group with a listener in front of it.
type bench struct {
	*testing.T
	g  *Group
	ln net.Listener
}

// both runs a test on loops and on goroutines.
func both(t *testing.T, cfg Config, f func(b *bench)) {
	for _, portable := range []bool{false, true} {
		t.Run(map[bool]string{false: "native", true: "portable"}[portable], func(t *testing.T) {
			cfg := cfg
			cfg.Portable = portable
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{T: t, g: New(cfg), ln: ln}
			f(b)
			_ = ln.Close()
			b.g.Close()
			b.g.Close()
		})
	}
}

// dial returns both ends of a new connection.
func (b *bench) dial(early string, data func(p *peer, b []byte) error) (net.Conn, *peer) {
	b.Helper()
	client, err := net.Dial("tcp", b.ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	_ = client.SetDeadline(time.Now().Add(patience))
	server, err := b.ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	p := &peer{data: data, closed: make(chan error, 1)}
	if err := b.g.Attach(&p.Conn, server, p); err != nil {
		b.Fatal(err)
	}
	p.Start([]byte(early))
	return client, p
}

func (b *bench) ended(p *peer) error {
	b.Helper()
	select {
	case err := <-p.closed:
		return err
	case <-time.After(patience):
		b.Fatal("the connection did not end")
		return nil
	}
}

func echo(p *peer, b []byte) error {
	frame := bytes.Clone(b)
	p.Send(&frame, 1<<20)
	return nil
}

func read(t testing.TB, c net.Conn, n int) []byte {
	t.Helper()
	buf := make([]byte, n)
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return buf
}

func TestEcho(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("early ", echo)
		if _, err := c.Write([]byte("late")); err != nil {
			b.Fatal(err)
		}
		if got := string(read(b, c, 10)); got != "early late" {
			b.Errorf("got %q", got)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<15) // more than a turn
		var writer sync.WaitGroup
		writer.Go(func() { _, _ = c.Write(big) })
		if !bytes.Equal(read(b, c, len(big)), big) {
			b.Error("the echo differs")
		}
		writer.Wait()
		_ = c.Close()
		if err := b.ended(p); err != nil {
			b.Errorf("ended with %v", err)
		}
	})
}

func TestManyFramesKeepTheirOrder(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		var want []byte
		for i := range 5000 {
			frame := fmt.Appendf(nil, "%d,", i)
			if i%500 == 0 {
				frame = bytes.Repeat([]byte("x"), 4*readBuffer) // too large to be copied
			}
			want = append(want, frame...)
			if !p.Send(&frame, 64<<20) {
				b.Fatal("no room")
			}
		}
		if !bytes.Equal(read(b, c, len(want)), want) {
			b.Error("frames were changed, lost or reordered")
		}
		p.End([]byte("bye"))
		if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
			b.Errorf("the end: %q, %v", rest, err)
		}
		_ = c.Close()
		if err := b.ended(p); err != nil {
			b.Errorf("ended with %v", err)
		}
	})
}

func TestASlowPeerIsToldAndCut(t *testing.T) {
	both(t, Config{Hurried: patience}, func(b *bench) {
		c, p := b.dial("", echo)
		const room = 1 << 20
		frame := make([]byte, 64<<10)
		n := 0
		for p.Send(&frame, room) {
			n += len(frame)
		}
		ready := p.Ready(room / 2)
		if ready == nil {
			b.Fatal("a full queue is said to be ready")
		}
		p.Cut([]byte("cut"))
		<-ready
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(got, []byte("cut")) {
			b.Errorf("%d bytes, %v: the last words are missing", len(got), err)
		}
		if len(got)-3 > n || len(got)%len(frame) != 3 {
			b.Errorf("%d bytes of %d: a frame was torn", len(got), n)
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

func TestAQueueFallsAndTellsSo(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		frame := make([]byte, 64<<10)
		n := 0
		for p.Send(&frame, 4<<20) {
			n += len(frame)
		}
		ready := p.Ready(1 << 20)
		if ready == nil {
			b.Fatal("nothing waits")
		}
		read(b, c, n)
		<-ready
		if p.Ready(1<<20) != nil {
			b.Error("still behind")
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

func TestAPeerThatStalls(t *testing.T) {
	both(t, Config{Write: 200 * time.Millisecond}, func(b *bench) {
		c, p := b.dial("", echo)
		frame := make([]byte, 64<<10)
		for p.Send(&frame, 16<<20) {
		}
		if err := b.ended(p); !errors.Is(err, ErrStalled) {
			b.Errorf("ended with %v", err)
		}
		_ = c.Close()
	})
}

func TestAPeerThatDoesNotFinish(t *testing.T) {
	both(t, Config{Linger: 200 * time.Millisecond}, func(b *bench) {
		c, p := b.dial("", echo)
		p.End([]byte("bye"))
		if got := string(read(b, c, 3)); got != "bye" {
			b.Errorf("got %q", got)
		}
		if err := b.ended(p); err != nil {
			b.Errorf("ended with %v", err)
		}
		_ = c.Close()
	})
}

func TestHandlerEndsIt(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		data func(p *peer, b []byte) error
		want string
		err  error
	}{
		"at once":       {func(*peer, []byte) error { return boom }, "", boom},
		"with words":    {func(p *peer, _ []byte) error { p.End([]byte("bye")); return boom }, "bye", nil},
		"when finished": {func(p *peer, _ []byte) error { p.End([]byte("ok")); return ErrFinished }, "ok", nil},
		"aborted":       {func(p *peer, _ []byte) error { p.Abort(); return nil }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, Config{}, func(b *bench) {
				c, p := b.dial("x", tc.data)
				if got, _ := io.ReadAll(c); string(got) != tc.want {
					b.Errorf("got %q", got)
				}
				_, _ = c.Write(make([]byte, 1<<16)) // what nobody reads must not cost the last words
				_ = c.Close()
				if err := b.ended(p); !errors.Is(err, tc.err) {
					b.Errorf("ended with %v", err)
				}
			})
		})
	}
}

func TestAnswersToAPeerThatHasFinished(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		_, _ = c.Write([]byte("last words"))
		if tcp, ok := c.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
			b.Error("our side cannot be finished")
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
			b.Errorf("got %q, %v", got, err)
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

func TestABlockedHandlerHoldsUpNobodyElse(t *testing.T) {
	both(t, Config{Workers: 3}, func(b *bench) {
		gate := make(chan struct{})
		stuck := func(p *peer, data []byte) error { <-gate; return echo(p, data) }
		var clients []net.Conn
		var peers []*peer
		for range 2 {
			c, p := b.dial("x", stuck)
			clients, peers = append(clients, c), append(peers, p)
		}
		c, p := b.dial("free", echo)
		read(b, c, 4)
		peers[0].Abort() // while its handler runs
		close(gate)
		read(b, clients[1], 1)
		for _, c := range append(clients, c) {
			_ = c.Close()
		}
		for _, p := range append(peers, p) {
			_ = b.ended(p)
		}
	})
}

func TestPipes(t *testing.T) {
	g := New(Config{})
	client, server := net.Pipe()
	p := &peer{data: echo, closed: make(chan error, 1)}
	if err := g.Attach(&p.Conn, server, p); err != nil {
		t.Fatal(err)
	}
	p.Start(nil)
	go func() { _, _ = client.Write([]byte("x")) }()
	read(t, client, 1)
	_ = client.Close()
	if err := <-p.closed; err != nil {
		t.Log(err)
	}
	g.Close()
	if err := g.Attach(&Conn{}, server, p); !errors.Is(err, ErrClosed) {
		t.Errorf("attached after Close: %v", err)
	}
}

// TestChurn opens, uses and ends many connections in every way at once.
func TestChurn(t *testing.T) {
	both(t, Config{Linger: 100 * time.Millisecond}, func(b *bench) {
		var all sync.WaitGroup
		var accept sync.Mutex
		for i := range 200 {
			all.Go(func() {
				accept.Lock()
				c, p := b.dial("", echo)
				accept.Unlock()
				_, _ = c.Write([]byte("ping"))
				read(b, c, 4)
				switch i % 4 {
				case 0:
					if tcp, ok := c.(*net.TCPConn); ok {
						_ = tcp.SetLinger(0) // a reset
					}
				case 1:
					p.End([]byte("bye"))
				case 2:
					p.Abort()
				}
				_ = c.Close()
				_ = b.ended(p)
			})
		}
		all.Wait()
	})
}

func TestIdleConnectionsHaveNoGoroutines(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no loops here")
	}
	b := &bench{T: t, g: New(Config{})}
	var err error
	if b.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	const n = 300
	var clients []net.Conn
	var peers []*peer
	open := func() {
		c, p := b.dial("", echo)
		_, _ = c.Write([]byte("x"))
		read(t, c, 1)
		clients, peers = append(clients, c), append(peers, p)
	}
	open()
	before := runtime.NumGoroutine()
	for range n {
		open()
	}
	if after := runtime.NumGoroutine(); after > before+keepIdle {
		t.Errorf("%d goroutines with one connection, %d with %d", before, after, n+1)
	}
	for i := range clients {
		_ = clients[i].Close()
		_ = b.ended(peers[i])
	}
	_ = b.ln.Close()
	b.g.Close()
}
