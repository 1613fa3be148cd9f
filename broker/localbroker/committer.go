package localbroker

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// committer brings the messages of durable topics to the disk: everything that
// waits, of all topics, in one batch, while the batches before it are being
// synced. What is on the disk is answered in the order of the batches, and
// then handed to those who deliver.
type committer struct {
	b *Broker

	mu          sync.Mutex
	queue       []placed // in the order of their marks
	outstanding []uint64 // marks that were drawn and not handed over, in order
	handed      map[uint64]struct{}
	bytes       atomic.Int64 // of messages that were placed and not handed over
	failure     atomic.Pointer[error]

	wake     chan struct{}
	room     chan struct{} // taken by each group from before it is written until it is answered
	ready    backlog
	running  sync.WaitGroup
	carriers sync.WaitGroup
}

// placed is a message that has its place and waits for the disk.
type placed struct {
	stream *stream
	entry  store.Entry
	sync   bool
}

const (
	// maxGroup bounds the messages of a batch, and maxGroups the batches that are on
	// their way: one is being synced, the next are written meanwhile, and one sync
	// serves all that are written by then. Four are best beside bare Pebble, in turns
	// (BenchmarkAgainstBare of pebblestore): 1: 0.71, 2: 0.68, 3: 0.77, 4: 0.84, 8: 0.84.
	maxGroup  = 4096
	maxGroups = 4
)

func newCommitter(b *Broker) *committer {
	c := &committer{b: b, handed: make(map[uint64]struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, maxGroups)}
	c.ready.more.L = &c.ready.mu
	return c
}

func (c *committer) start() {
	c.running.Go(c.commitLoop)
	for range runtime.GOMAXPROCS(0) {
		c.carriers.Go(c.ready.work)
	}
}

// stop ends everything. Nothing may be on its way.
func (c *committer) stop() {
	close(c.wake)
	c.running.Wait()
	c.ready.close()
	c.carriers.Wait()
}

// refusal tells why nothing more is taken.
func (c *committer) refusal() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	if c.bytes.Load() > c.b.limits.Pending {
		return broker.ErrOverloaded
	}
	return nil
}

// push takes a message that has its place, and gives it its mark. It is called
// with the stream's lock held, so that messages of one topic come in order.
func (c *committer) push(p placed) {
	c.mu.Lock()
	p.entry.Message.Mark = c.b.marks.next()
	c.outstanding = append(c.outstanding, p.entry.Message.Mark)
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take returns the next group.
func (c *committer) take() []placed {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), maxGroup)
	taken := c.queue[:n:n]
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return taken
}

func (c *committer) commitLoop() {
	var entries []store.Entry
	for range c.wake {
		runtime.Gosched() // those who were answered together publish together
		for {
			c.room <- struct{}{} // while it waits, more come together
			taken := c.take()
			if len(taken) == 0 {
				<-c.room
				break
			}
			clear(entries)
			entries = entries[:0]
			sync := false
			for i := range taken {
				entries = append(entries, taken[i].entry)
				sync = sync || taken[i].sync
			}
			c.b.disk.Append(entries, sync, func(err error) { c.answer(taken, err) })
		}
	}
	for range maxGroups { // wait until all groups are answered
		c.room <- struct{}{}
	}
}

// answer answers what is on the disk. It runs where the store says so: another
// goroutine in between would make everybody wait for one more to be woken.
func (c *committer) answer(placed []placed, err error) {
	if err != nil {
		err = translate(err)
		c.failure.CompareAndSwap(nil, &err)
	}
	failure := c.failure.Load()
	for i := range placed {
		placed[i].stream.release(placed[i].entry.Message.Seq, failure)
	}
	<-c.room
}

// backlog is the streams that wait for somebody to deliver. Each is in it once,
// and what they hold is bounded by Limits.Pending, so that adding never waits:
// whoever answers for the disk must not.
type backlog struct {
	mu      sync.Mutex
	streams []*stream
	closed  bool
	more    sync.Cond // on mu
}

func (q *backlog) add(l *stream) {
	q.mu.Lock()
	q.streams = append(q.streams, l)
	q.mu.Unlock()
	q.more.Signal()
}

func (q *backlog) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.more.Broadcast()
}

// work delivers until the backlog is closed.
func (q *backlog) work() {
	for l := q.next(); l != nil; l = q.next() {
		l.deliver()
	}
}

func (q *backlog) next() *stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.streams) == 0 {
		if q.closed {
			return nil
		}
		q.streams = nil // what it grew to is given back
		q.more.Wait()
	}
	l := q.streams[0]
	q.streams[0] = nil
	q.streams = q.streams[1:]
	return l
}

// translate returns an error of the store in the words of the broker.
func translate(err error) error {
	switch {
	case errors.Is(err, store.ErrClosed):
		return fmt.Errorf("%w: %w", broker.ErrClosed, err)
	case errors.Is(err, store.ErrFailed):
		return fmt.Errorf("%w: %w", broker.ErrFailed, err)
	}
	return fmt.Errorf("%w: append: %w", broker.ErrFailed, err)
}

// handedOver notes that messages were handed over.
func (c *committer) handedOver(messages []*message.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		c.bytes.Add(-int64(m.Size()))
		if m.Mark != 0 {
			c.handed[m.Mark] = struct{}{}
		}
	}
	n := 0
	for n < len(c.outstanding) {
		if _, done := c.handed[c.outstanding[n]]; !done {
			break
		}
		delete(c.handed, c.outstanding[n])
		n++
	}
	if c.outstanding = c.outstanding[n:]; len(c.outstanding) == 0 {
		c.outstanding = nil
	}
}

// oldest returns the oldest mark that was drawn and not handed over, if any.
func (c *committer) oldest() (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.outstanding) == 0 {
		return 0, false
	}
	return c.outstanding[0], true
}
