package swarm

import (
	"net"
	"sync"
	"time"
)

// readers is the driver that works everywhere: a goroutine reads each
// connection. It ends with the connection.
type readers struct{ reading sync.WaitGroup }

func (d *readers) adopt(p *Peer, c *handshaken) error {
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	w := &stream{c.Conn}
	p.wire = w
	d.reading.Go(func() { w.read(p) })
	return nil
}

func (d *readers) stop() error {
	d.reading.Wait()
	return nil
}

// stream is a connection with a reader.
type stream struct{ conn net.Conn }

func (w *stream) read(p *Peer) {
	buf := make([]byte, 4096)
	for more := true; more; {
		n, err := w.conn.Read(buf)
		p.shard.mu.Lock()
		if p.wire != w { // it was dropped
			p.shard.mu.Unlock()
			return
		}
		if more = p.take(buf[:n]) && err == nil; !more {
			p.fell()
		}
		p.shard.publish()
		p.shard.mu.Unlock()
	}
}

func (w *stream) write(frame []byte) error {
	const patience = time.Second // others wait for the lock
	if err := w.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := w.conn.Write(frame)
	return err
}

func (w *stream) close(how Ending) {
	if tcp, ok := w.conn.(*net.TCPConn); ok && how == Abort {
		_ = tcp.SetLinger(0) // without it the end is milder
	}
	_ = w.conn.Close() // it ends either way
}
