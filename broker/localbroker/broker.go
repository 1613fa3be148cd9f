// Package localbroker is the engine of a single node. Topics are in memory, and
// end with the process, or durable, where it was given a log on a disk.
package localbroker

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// Limits bound the memory of the engine; zero values take the defaults.
type Limits struct {
	// Topics is the most topics in memory at once: 1,000,000. Durable topics
	// that nobody uses are not in memory.
	Topics int
	// Bytes is about what all histories and idempotency keys may take: 512 MiB.
	// A topic that publishes above it keeps only its newest messages and keys;
	// a durable one reads the others from the disk.
	Bytes int64
	// Tail is the most messages of one durable topic that stay in memory to be
	// read again: 256.
	Tail int
	// Retained is about what all last values may take: 128 MiB. Above it a
	// message to retain is refused.
	Retained int64
	// Keys is the most idempotency keys remembered a topic, where its options
	// do not say: 10,000.
	Keys int
	// Producers is the most producers remembered a topic: 10,000.
	Producers int
	// Pending is about what may be on its way to the disk and to receivers:
	// 64 MiB. Above it a durable message is refused.
	Pending int64
	// Idle is how long a topic without history keeps its position, and a
	// durable one stays in memory, while it is not used: 10 minutes.
	Idle time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		value    *int64
		fallback int64
	}{{&l.Bytes, 512 << 20}, {&l.Retained, 128 << 20}, {&l.Pending, 64 << 20}} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	for _, d := range []struct {
		value    *int
		fallback int
	}{{&l.Topics, 1_000_000}, {&l.Tail, 256}, {&l.Keys, 10_000}, {&l.Producers, 10_000}} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if l.Idle == 0 {
		l.Idle = 10 * time.Minute
	}
	return l
}

const shards = 64

// Broker is the engine. Make one with New or NewDurable.
type Broker struct {
	limits  Limits
	handler broker.Handler
	seed    maphash.Seed
	shards  [shards]shard
	bytes   atomic.Int64 // of histories and keys in memory
	lasts   atomic.Int64 // of last values in memory
	topics  atomic.Int64
	marks   horizon

	// A topic begins in the epoch of the moment. The epoch moves on when a
	// topic is forgotten, so that its next life is told from the last.
	origin string
	epoch  atomic.Pointer[string]
	lives  atomic.Int64

	disk      store.Log // nil where nothing is durable
	committer *committer
	reserved  atomic.Uint64 // marks below it may be used
	trims     chan *stream

	closed atomic.Bool
	stop   chan struct{}
	swept  sync.WaitGroup
}

type shard struct {
	mu     sync.Mutex
	topics map[string]*stream
}

var (
	_ broker.Broker  = (*Broker)(nil)
	_ broker.Checker = (*Broker)(nil)
	_ broker.Lister  = (*Broker)(nil)

	_ broker.Durabler = (*Broker)(nil)
)

// New returns an engine with nothing in it, that refuses durable messages.
func New(l Limits) *Broker { return NewDurable(l, nil) }

// NewDurable returns an engine that keeps durable topics in a log. It is the
// log's only user, and does not close it.
func NewDurable(l Limits, log store.Log) *Broker {
	b := &Broker{
		limits: l.withDefaults(), seed: maphash.MakeSeed(), origin: rand.Text()[:16], disk: log,
		stop: make(chan struct{}), trims: make(chan *stream, 1024),
	}
	for i := range b.shards {
		b.shards[i].topics = make(map[string]*stream)
	}
	b.epoch.Store(&b.origin)
	b.committer = newCommitter(b)
	return b
}

// Start is described at broker.Broker.
func (b *Broker) Start(h broker.Handler) error {
	b.handler = h
	if b.disk != nil {
		if err := b.reserveMarks(); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
		// All marks of earlier processes are below what they had reserved.
		b.marks.newest.Store(b.reserved.Load() - markReserve)
		b.committer.start()
	}
	b.swept.Go(b.sweepLoop)
	return nil
}

// Close is described at broker.Broker. The log may be closed when it has
// returned nil.
func (b *Broker) Close(ctx context.Context) error {
	if !b.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(b.stop)
	b.swept.Wait()
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		logs := slices.Collect(maps.Values(s.topics))
		s.mu.Unlock()
		for _, l := range logs {
			if err := l.rest(ctx); err != nil {
				return fmt.Errorf("close the broker: %w", err)
			}
		}
	}
	if b.disk != nil && b.handler != nil {
		b.committer.stop()
	}
	return nil
}

// Check is described at broker.Checker.
func (b *Broker) Check(context.Context) error {
	if b.closed.Load() {
		return broker.ErrClosed
	}
	if b.topics.Load() >= int64(b.limits.Topics) {
		return broker.ErrOverloaded
	}
	if err := b.committer.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Durable is described at broker.Durabler.
func (b *Broker) Durable() bool { return b.disk != nil }

// Watch does nothing: on a single node everything is delivered here.
func (b *Broker) Watch(topic.Filter) error { return nil }

// Unwatch does nothing.
func (b *Broker) Unwatch(topic.Filter) error { return nil }

// Publish is described at broker.Broker. The first message of a durable topic
// that was not in use waits until what is known of it has been read.
func (b *Broker) Publish(m *message.Message, o broker.Options, done func(broker.Result, error)) {
	if b.closed.Load() {
		done(broker.Result{}, broker.ErrClosed)
		return
	}
	l, err := b.open(m.Topic, knownPublishers)
	if err != nil {
		done(broker.Result{}, err)
		return
	}
	l.publish(m, o, done)
}

// open returns a topic's stream, made if need be and locked, with as much known
// of it as is asked for.
func (b *Broker) open(name string, k known) (*stream, error) {
	for {
		l := b.lock(name)
		if l == nil {
			return nil, broker.ErrOverloaded
		}
		if l.known >= k {
			return l, nil
		}
		l.mu.Unlock()
		if err := l.learn(k); err != nil {
			return nil, err
		}
	}
}

// lock returns a topic's stream, made if need be and locked; nil when there are
// too many.
func (b *Broker) lock(name string) *stream {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.topics[name]
	if l == nil {
		if b.topics.Load() >= int64(b.limits.Topics) {
			return nil
		}
		b.topics.Add(1)
		l = newStream(b, name, *b.epoch.Load())
		s.topics[name] = l
	}
	l.mu.Lock()
	return l
}

// find returns a topic's stream, locked, or nil when it is not in memory.
func (b *Broker) find(name string) *stream {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.topics[name]
	if l != nil {
		l.mu.Lock()
	}
	return l
}

func (b *Broker) shard(name string) *shard {
	return &b.shards[maphash.String(b.seed, name)%shards]
}

// all calls f with every stream that matches, locked.
func (b *Broker) all(f topic.Filter, call func(l *stream)) {
	if !f.Wildcard() {
		if l := b.find(string(f)); l != nil {
			call(l)
			l.mu.Unlock()
		}
		return
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for name, l := range s.topics {
			if f.Matches(topic.Name(name)) {
				l.mu.Lock()
				call(l)
				l.mu.Unlock()
			}
		}
		s.mu.Unlock()
	}
}
