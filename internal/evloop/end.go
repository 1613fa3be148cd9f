package evloop

import (
	"errors"
	"time"
)

// This file is how a connection ends, or turns into something else.

// End makes last the last that is written. When it has left, our side is
// finished and the peer has a moment to finish its own; what it sends until
// then still goes to the handler. Later calls do nothing.
func (c *Conn) End(last []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(last)
}

// Cut is End for a peer that is behind: what waits is given up, and last gets
// little time to leave.
func (c *Conn) Cut(last []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&ending != 0 {
		return
	}
	c.queued -= c.queue.drop(&c.driver.group().chunks)
	c.flags |= hurried
	c.within(c.driver.group().cfg.Hurried)
	c.end(last)
}

func (c *Conn) end(last []byte) {
	if c.flags&ending != 0 {
		return
	}
	if len(last) > 0 {
		c.push(&last)
	}
	c.hurry()
	c.flags |= ending
	c.release()
	if c.idle() {
		c.drained()
	}
}

// Abort closes the connection whatever waits.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(nil)
}

// fail begins the end of a connection that is lost; mu is held.
func (c *Conn) fail(err error) {
	if c.flags&dead != 0 {
		return
	}
	if err != nil {
		c.extra().err = err
	}
	c.flags |= dead | ending
	c.release()
	c.driver.settle(c)
}

// idle reports whether everything has left; mu is held.
func (c *Conn) idle() bool { return c.queue.empty() && c.flags&writing == 0 }

// drained is called when everything has left of a connection that ends; mu is
// held.
func (c *Conn) drained() {
	if c.flags&(shut|gone) != 0 {
		return
	}
	if c.flags&inputOver != 0 {
		c.driver.settle(c)
		return
	}
	c.flags |= shut
	c.driver.shut(c)
	c.within(c.driver.group().cfg.Linger)
}

// within sets the connection's timer; mu is held.
func (c *Conn) within(d time.Duration) {
	r := c.extra()
	r.until = time.Now().Add(d)
	c.driver.group().wheel.Set(&r.timer, d, c.expire)
}

// relax unsets it, and gives back what only a connection that is behind
// needs; mu is held.
func (c *Conn) relax() {
	r := c.rare
	if r == nil {
		return
	}
	r.until = time.Time{}
	c.driver.group().wheel.Stop(&r.timer)
	if r.ready == nil && r.early == nil && r.err == nil && c.flags&(wanted|held) == 0 {
		c.rare = nil
	}
}

// expire runs on the wheel.
func (c *Conn) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&gone != 0 || c.rare == nil || c.rare.until.IsZero() || now.Before(c.rare.until) {
		return
	}
	if c.flags&shut != 0 {
		c.fail(nil) // it was told, and did not answer
	} else {
		c.fail(ErrStalled)
	}
}

// over reports whether the connection can be closed, and marks it closed; the
// reader calls it, alone, and then releases everything. mu is held.
func (c *Conn) over() bool {
	lost := c.flags&dead != 0
	if c.flags&(gone|writing) != 0 || !lost && (c.flags&inputOver == 0 || !c.queue.empty()) {
		return false
	}
	c.flags |= gone | dead | ending
	c.queued -= c.queue.drop(&c.driver.group().chunks)
	c.queue = queue{}
	c.flags &^= wanted
	c.hurry()
	c.release()
	c.relax()
	return true
}

// took notes what the handler said about data; mu is held.
func (c *Conn) took(err error) {
	switch {
	case errors.Is(err, ErrFinished):
		c.noInput()
	case c.flags&ending != 0:
		c.flags |= ignoring
	default:
		c.fail(err)
	}
}

// noInput notes that the peer's side is finished; mu is held.
func (c *Conn) noInput() {
	c.flags |= inputOver | ignoring
	if c.flags&ending == 0 {
		c.flags |= ending
		c.release()
	}
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
