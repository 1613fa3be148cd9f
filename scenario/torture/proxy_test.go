package torture_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy stands between clients and the server, whose address never changes. It
// can cut every connection, in the middle of whatever it carries.
type proxy struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func listen(to string) (*proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, to: to, conns: make(map[net.Conn]struct{})}
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.carry(in) })
	}
}

// carry connects a client with the server, if that is there.
func (p *proxy) carry(in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer out.Close()
	p.note(in, out)
	defer p.forget(in, out)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.CopyBuffer(onlyWriter{way[1]}, onlyReader{way[0]}, make([]byte, 1+rand.IntN(700))) // frames come in pieces
			_ = in.Close()
			_ = out.Close()
		})
	}
	both.Wait()
}

// These keep io.Copy from handing the copying to the kernel, which would not
// tear frames.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func (p *proxy) note(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

func (p *proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// cut resets every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
	p.running.Wait()
}
