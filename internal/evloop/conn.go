package evloop

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/wheel"
)

// What is going on with a connection; guarded by its lock.
const (
	dirty     = 1 << iota // known to whoever writes
	writing               // the queue is in the writer's hands
	parked                // waiting for the socket to take more
	again                 // the socket took more while writing found it full
	ending                // nothing more is queued
	hurried               // it is cut: what waits is worth little time
	shut                  // our side is finished
	inputOver             // the peer's side is finished
	ignoring              // what else the peer sends is of no interest
	dead                  // to be closed whatever waits
	gone                  // closed
	wanted                // Refill is to be called
	held                  // what is queued waits for more of it
	asked                 // the loop tells when the socket takes more
	promised              // who queued it calls Flush
	tentative             // it is not known yet what it is
)

// Conn is one connection. Embed it, and hand it to Group.Attach; it must not
// be copied then. Its methods may be called concurrently and never block.
//
// It is small on purpose: everything that most connections do not need most
// of the time is in rare.
type Conn struct {
	handler Handler
	driver  driver
	fd      int32 // of a native connection, and its place in the loop's table
	slot    int32
	state   atomic.Uint32 // of reading a native connection

	flags  uint32 // guarded by mu, like everything below
	mu     sync.Mutex
	at     uint32 // when somebody last flushed it in passing, by the group's beat
	queued int    // bytes that have not left
	queue  queue
	rare   *rare
}

// rare is what a connection has while it is behind, or ends.
type rare struct {
	timer wheel.Timer
	until time.Time     // when the timer means it
	ready chan struct{} // closed when queued is at most room
	room  int
	low   int         // Refill is called when at most that much waits
	batch *time.Timer // ends the waiting for more
	early []byte      // came with the handshake
	err   error       // why it ends
}

// driver is how bytes come and go. The reader calls read and release; all
// others are called with the connection's lock held and must not block.
type driver interface {
	group() *Group
	// read returns 0 and no error when there is nothing to read now.
	read(c *Conn, buf []byte) (int, error)
	start(c *Conn)
	dirty(c *Conn)   // something waits to be written
	shut(c *Conn)    // finish our side
	settle(c *Conn)  // look whether the connection is over
	release(c *Conn) // it is
}

// prompt is a driver whose writing never blocks.
type prompt interface {
	flush(c *Conn)  // write what waits; called without the lock
	parked(c *Conn) // have unpark called when the socket takes more
}

// Start lets the handler be called, first with early, the bytes that came
// before the connection was attached.
func (c *Conn) Start(early []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(early) > 0 {
		c.extra().early = early
	}
	c.driver.start(c)
}

func (c *Conn) extra() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

// Send queues frame, which is shared and must not be changed any more. It
// reports false, and queues nothing, when more than room bytes would wait; a
// queue that is empty takes any frame. After End frames are dropped silently.
func (c *Conn) Send(frame *[]byte, room int) bool {
	c.mu.Lock()
	if c.flags&ending != 0 {
		c.mu.Unlock()
		return true
	}
	if c.queued > 0 && c.queued+len(*frame) > room {
		c.mu.Unlock()
		return false
	}
	c.push(frame)
	c.mu.Unlock()
	return true
}

// Queue is Send for a caller who goes on to Flush, soon and before anything
// that may block, and so spares waking somebody else for it. It reports with
// owed whether that is needed: not for a connection that is written to by
// others anyhow, or so often that several frames may leave together.
func (c *Conn) Queue(frame *[]byte, room int) (fits, owed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.flags&ending != 0:
		return true, false
	case c.queued > 0 && c.queued+len(*frame) > room:
		return false, false
	case c.flags&(dirty|parked|writing|held) != 0 || !c.spared():
		c.push(frame)
		return true, false
	}
	c.queue.push(frame, &c.driver.group().chunks)
	c.queued += len(*frame)
	c.flags |= dirty | promised
	return true, true
}

// spared reports whether the one who queues is to write, too. A connection
// that gets several frames within a beat is better served by the flusher,
// which takes together what has come meanwhile; mu is held.
func (c *Conn) spared() bool {
	if _, ok := c.driver.(prompt); !ok {
		return false
	}
	now := c.driver.group().beat()
	if c.at == now {
		return false
	}
	c.at = now
	return true
}

// Flush writes what Queue has queued and owed, as far as the socket takes it.
// The caller must hold no lock.
func (c *Conn) Flush() {
	if d, ok := c.driver.(prompt); ok {
		d.flush(c)
	}
}

// Offer is Send for a peer that keeps up. While the socket takes no more, or
// more than room bytes would wait, it queues nothing and reports false; the
// handler's Refill is called, once, when half of the room is free again.
func (c *Conn) Offer(frame *[]byte, room int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fits(len(*frame), room) {
		return false
	}
	if c.flags&ending == 0 {
		c.push(frame)
	}
	return true
}

// OfferLater is Offer for a frame that may wait for more of its kind: until
// enough bytes wait, the delay is over, or anything is sent that does not
// wait.
func (c *Conn) OfferLater(frame *[]byte, room, enough int, delay time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fits(len(*frame), room) {
		return false
	}
	switch {
	case c.flags&ending != 0:
	case c.flags&(dirty|parked|writing) != 0 || c.queued+len(*frame) >= enough:
		c.push(frame)
	default:
		c.queue.push(frame, &c.driver.group().chunks)
		c.queued += len(*frame)
		if c.flags&held == 0 {
			c.flags |= held
			c.extra().batch = time.AfterFunc(delay, c.waited)
		}
	}
	return true
}

// fits reports whether a frame of so many bytes that is offered can be queued;
// mu is held.
func (c *Conn) fits(size, room int) bool {
	if c.flags&ending != 0 || c.flags&parked == 0 && (c.queued == 0 || c.queued+size <= room) {
		return true
	}
	c.flags |= wanted
	c.extra().low = room / 2
	return false
}

// waited ends the waiting of a batch.
func (c *Conn) waited() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry()
}

// hurry has somebody write what waits for more; mu is held.
func (c *Conn) hurry() {
	if c.flags&held == 0 {
		return
	}
	c.flags &^= held
	if c.rare != nil && c.rare.batch != nil {
		c.rare.batch.Stop()
		c.rare.batch = nil
	}
	if c.flags&(dirty|parked|dead) == 0 && !c.queue.empty() {
		c.flags |= dirty
		c.driver.dirty(c)
	}
}

// refills reports whether Refill is to be called now; mu is held.
func (c *Conn) refills() bool {
	if c.flags&wanted == 0 || c.flags&(parked|ending) != 0 || c.queued > c.extra().low {
		return false
	}
	c.flags &^= wanted
	return true
}

// push queues a frame and sees to it that somebody writes; mu is held.
func (c *Conn) push(frame *[]byte) {
	c.queue.push(frame, &c.driver.group().chunks)
	c.queued += len(*frame)
	if c.flags&(dirty|parked) == 0 {
		c.flags |= dirty
		c.driver.dirty(c)
	}
	if c.flags&held != 0 {
		c.hurry()
	}
}

// Ready returns a channel that is closed when at most room bytes wait, or the
// connection ends; nil when that is so already.
func (c *Conn) Ready(room int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags&ending != 0 || c.queued <= room {
		return nil
	}
	r := c.extra()
	if r.ready == nil {
		r.ready, r.room = make(chan struct{}), room
	}
	return r.ready
}

func (c *Conn) release() {
	if c.rare != nil && c.rare.ready != nil {
		close(c.rare.ready)
		c.rare.ready = nil
	}
}

// wrote puts back what the writer could not write and accounts for n bytes
// that have left. blocked means that the socket is full. mu is held.
func (c *Conn) wrote(q queue, n int, blocked bool, err error) {
	pool := &c.driver.group().chunks
	c.flags &^= writing
	if !blocked {
		c.flags &^= again
	}
	c.queued -= n
	if !q.empty() {
		if c.flags&hurried != 0 {
			c.queued -= q.drop(pool)
		}
		if q.empty() {
			q = c.queue
		} else {
			q.join(c.queue, pool)
		}
		c.queue = q
	}
	if c.rare != nil && c.rare.ready != nil && c.queued <= c.rare.room {
		c.release()
	}
	if err != nil {
		c.fail(err)
	}
	switch {
	case c.flags&dead != 0:
		c.driver.settle(c)
	case c.queue.empty():
		c.relax()
		if c.flags&ending != 0 {
			c.drained()
		}
	case blocked:
		c.park()
	case c.flags&dirty == 0: // it came while this was written
		c.flags |= dirty
		c.driver.dirty(c)
	}
}

// park waits for the socket to take more; mu is held.
func (c *Conn) park() {
	if c.flags&again != 0 { // it does already
		c.flags &^= again
		if c.flags&dirty == 0 {
			c.flags |= dirty
			c.driver.dirty(c)
		}
		return
	}
	c.flags |= parked
	if c.flags&hurried == 0 { // what Cut has set stands
		c.within(c.driver.group().cfg.Write)
	}
	if d, ok := c.driver.(prompt); ok {
		d.parked(c)
	}
}

// unpark is called when the socket takes more.
func (c *Conn) unpark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.flags&parked != 0:
		c.flags &^= parked
		if c.flags&dirty == 0 {
			c.flags |= dirty
			c.driver.dirty(c)
		}
	case c.flags&writing != 0:
		c.flags |= again
	}
}
