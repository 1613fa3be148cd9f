package evloop

import (
	"errors"
	"time"
)

// This file is about connections of which it is not known yet what they are.

// ErrDetached is what Handler.Data returns after Conn.Detach.
var ErrDetached = errors.New("evloop: detached")

// Adopt makes c, which must be zero, a connection of the group, and takes s
// over. c is tentative until Become: its handler gets what comes first within
// wait, and says there what c becomes, or detaches it. A tentative connection is
// aborted when wait is over, and by Close. Adopt reports false, and s is still
// the caller's, after Close and where there are no loops.
func (g *Group) Adopt(c *Conn, s Socket, h Handler, wait time.Duration) bool {
	native, err := g.enter(true)
	if err != nil {
		return false
	}
	c.handler = h
	c.flags = tentative
	if native == nil || !native.take(c, s) {
		g.conns.Done()
		return false
	}
	c.mu.Lock()
	c.within(wait)
	c.mu.Unlock()
	if g.isClosed() { // and may have missed it
		c.Abort()
	}
	return true
}

// Become ends that c is tentative: from here on its handler is h. It is called
// from Handler.Data.
func (c *Conn) Become(h Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handler = h
	c.flags &^= tentative
	c.relax()
}

// Detach takes a tentative connection off the group, which forgets it without a
// word to its handler. It is called from Handler.Data, which then returns
// ErrDetached. It reports false when c is about to be closed: Data returns nil
// then.
func (c *Conn) Detach() (Socket, bool) {
	c.mu.Lock()
	if c.flags&(dead|gone) != 0 {
		c.mu.Unlock()
		return Socket{}, false
	}
	c.flags |= gone | dead | ending
	c.relax()
	c.mu.Unlock()
	g := c.driver.group()
	defer g.conns.Done()
	return g.native.give(c), true
}

func (c *Conn) abortTentative() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&tentative != 0 {
		c.fail(nil)
	}
}
