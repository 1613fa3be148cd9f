package evloop

import (
	"errors"
	"io"
)

// State of reading a native connection. A connection is in at most one
// worker's hands: whoever sets busy gives it to one.
const (
	busy     = 1 << iota // in a worker's hands, or on the way there
	changed              // something happened since the worker last looked
	finished             // the peer will send nothing more: read to the end
)

// schedule makes a worker look at c.
func (c *Conn) schedule(why uint32) {
	for {
		old := c.state.Load()
		if !c.state.CompareAndSwap(old, old|why|changed|busy) {
			continue
		}
		if old&busy == 0 {
			c.driver.group().workers.serve(c)
		}
		return
	}
}

// turn reads c until there is nothing more to read, or others are to have
// their turn. It runs on a worker.
func (g *Group) turn(c *Conn) {
	buf, _ := g.buffers.Get().(*[]byte)
	defer g.buffers.Put(buf)
	for {
		c.state.And(^uint32(changed))
		switch c.readable(*buf) {
		case isClosed:
			return // busy stays set: nobody looks at it again
		case hasMore:
			g.workers.serve(c)
			return
		case isDry:
		}
		for {
			old := c.state.Load()
			if old&changed != 0 {
				break
			}
			if c.state.CompareAndSwap(old, old&^busy) {
				return
			}
		}
	}
}

// outcome is how reading for a while ended.
type outcome int

const (
	isDry outcome = iota
	hasMore
	isClosed
)

// readable reads and handles what has come.
func (c *Conn) readable(buf []byte) outcome {
	if c.close() {
		return isClosed
	}
	if early := c.takeEarly(); early != nil && c.deliver(early, nil) {
		return isClosed
	}
	for range maxReads {
		n, err := c.driver.read(c, buf)
		if n == 0 && err == nil {
			return isDry
		}
		if c.deliver(buf[:n], err) {
			return isClosed
		}
		if err != nil || n < len(buf) && c.state.Load()&finished == 0 {
			return isDry // a short read has emptied the socket (epoll(7))
		}
	}
	return hasMore
}

func (c *Conn) takeEarly() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rare == nil || c.rare.early == nil {
		return nil
	}
	early := c.rare.early
	c.rare.early = nil
	if c.rare.until.IsZero() {
		c.relax()
	}
	return early
}

// deliver hands data to the handler, and notes what it, or reading, said. It
// reports true when the connection is closed, or detached.
func (c *Conn) deliver(data []byte, err error) bool {
	var bad error
	if len(data) > 0 && !c.ignores() {
		bad = c.handler.Data(data)
	}
	if bad == nil && err == nil {
		return c.close()
	}
	if errors.Is(bad, ErrDetached) {
		return true
	}
	c.mu.Lock()
	if bad != nil {
		c.took(bad)
	}
	if errors.Is(err, io.EOF) {
		c.noInput()
	} else if err != nil {
		c.fail(err)
	}
	c.mu.Unlock()
	return c.close()
}

func (c *Conn) ignores() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flags&ignoring != 0
}

// close releases c if it is over, and tells the handler.
func (c *Conn) close() bool {
	c.mu.Lock()
	if !c.over() {
		c.mu.Unlock()
		return false
	}
	var err error
	if c.rare != nil {
		err = c.rare.err
	}
	c.mu.Unlock()
	c.driver.release(c)
	c.handler.Closed(err)
	c.driver.group().conns.Done()
	return true
}
