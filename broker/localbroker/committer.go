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

	wake      chan struct{}
	committed chan group
	room      chan struct{} // taken by each group from before it is written until it is answered
	ready     chan *stream
	running   sync.WaitGroup // commit and release
	carriers  sync.WaitGroup
}

// placed is a message that has its place and waits for the disk.
type placed struct {
	stream *stream
	entry  store.Entry
	sync   bool
}

// group is what went to the disk together.
type group struct {
	placed []placed
	err    error
}

const (
	// maxGroup bounds the messages of a batch, and maxGroups the batches that are on
	// their way.
	maxGroup  = 4096
	maxGroups = 8
	// maxReady bounds the topics that wait for somebody to deliver.
	maxReady = 1024
)

func newCommitter(b *Broker) *committer {
	return &committer{
		b: b, handed: make(map[uint64]struct{}),
		wake: make(chan struct{}, 1), committed: make(chan group, maxGroups), room: make(chan struct{}, maxGroups),
		ready: make(chan *stream, maxReady),
	}
}

func (c *committer) start() {
	c.running.Go(c.commitLoop)
	c.running.Go(c.releaseLoop)
	for range runtime.GOMAXPROCS(0) {
		c.carriers.Go(func() {
			for l := range c.ready {
				l.deliver()
			}
		})
	}
}

// stop ends everything. Nothing may be on its way.
func (c *committer) stop() {
	close(c.wake)
	c.running.Wait()
	close(c.ready)
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
		for taken := c.take(); len(taken) > 0; taken = c.take() {
			clear(entries)
			entries = entries[:0]
			sync := false
			for i := range taken {
				entries = append(entries, taken[i].entry)
				sync = sync || taken[i].sync
			}
			c.room <- struct{}{}
			c.b.disk.Append(entries, sync, func(err error) { c.committed <- group{taken, err} })
		}
	}
	for range maxGroups { // wait until all groups are answered
		c.room <- struct{}{}
	}
	close(c.committed)
}

// releaseLoop answers what is on the disk.
func (c *committer) releaseLoop() {
	for g := range c.committed {
		if g.err != nil {
			err := translate(g.err)
			c.failure.CompareAndSwap(nil, &err)
		}
		for i := range g.placed {
			p := &g.placed[i]
			p.stream.release(p.entry.Message.Seq, c.failure.Load())
		}
		<-c.room
	}
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
