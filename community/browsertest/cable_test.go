package browsertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// cable is the network between a browser and the server. While it is cut, connections break and
// new ones are refused.
type cable struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	to    string     // the server's address now
	cut   bool
	ends  map[net.Conn]struct{}
	ended bool
}

// lay connects a new address to the server's.
func lay(t *testing.T, server string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: server, ends: make(map[net.Conn]struct{})}
	c.running.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		c.breakAll()
		c.running.Wait()
	})
	return c
}

// url is the server's address through this cable.
func (c *cable) url() string { return "http://" + c.listener.Addr().String() }

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.server())
		if err != nil || !c.hold(near, far) {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			continue
		}
		c.running.Go(func() { c.carry(far, near) })
		c.running.Go(func() { c.carry(near, far) })
	}
}

// hold keeps both ends, unless the cable is cut.
func (c *cable) hold(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || c.ended {
		return false
	}
	for _, end := range ends {
		c.ends[end] = struct{}{}
	}
	return true
}

func (c *cable) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	c.mu.Lock()
	delete(c.ends, to)
	delete(c.ends, from)
	c.mu.Unlock()
	_ = to.Close()
	_ = from.Close()
}

func (c *cable) breakAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := range c.ends {
		_ = end.Close()
	}
}

// sever breaks every connection and refuses new ones until mend.
func (c *cable) sever() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.breakAll()
}

// mend lets connections through again.
func (c *cable) mend() { c.mendTo(c.server()) }

// mendTo lets connections through again, to another server.
func (c *cable) mendTo(server string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut, c.to = false, server
}

func (c *cable) server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.to
}
