// Package localbroker is the engine of a single node. It keeps histories in
// memory: they end with the process, and a new process begins new epochs.
package localbroker

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// Limits bound the memory of the engine; zero values take the defaults.
type Limits struct {
	// Topics is the most topics remembered at once: 1,000,000.
	Topics int
	// Bytes is about what all histories and idempotency keys may take: 512 MiB.
	// A topic that publishes above it keeps only its newest messages and keys.
	Bytes int64
	// Retained is about what all last values may take: 128 MiB. Above it a
	// message to retain is refused.
	Retained int64
	// Keys is the most idempotency keys remembered a topic: 10,000.
	Keys int
	// Idle is how long a topic without history keeps its position: 10 minutes.
	Idle time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Topics == 0 {
		l.Topics = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	if l.Retained == 0 {
		l.Retained = 128 << 20
	}
	if l.Keys == 0 {
		l.Keys = 10_000
	}
	if l.Idle == 0 {
		l.Idle = 10 * time.Minute
	}
	return l
}

const (
	shards     = 64
	sweepEvery = 15 * time.Second
)

// Broker is the engine. Make one with New.
type Broker struct {
	limits  Limits
	handler broker.Handler
	seed    maphash.Seed
	shards  [shards]shard
	bytes   atomic.Int64 // of histories and keys
	lasts   atomic.Int64 // of last values
	topics  atomic.Int64

	// A topic begins in the epoch of the moment. The epoch moves on when a
	// topic is forgotten, so that its next life is told from the last.
	origin string
	epoch  atomic.Pointer[string]
	lives  atomic.Int64

	closed atomic.Bool
	stop   chan struct{}
	swept  sync.WaitGroup
}

type shard struct {
	mu     sync.Mutex
	topics map[string]*log
}

var (
	_ broker.Broker  = (*Broker)(nil)
	_ broker.Checker = (*Broker)(nil)
)

// New returns an engine with nothing in it.
func New(l Limits) *Broker {
	b := &Broker{limits: l.withDefaults(), seed: maphash.MakeSeed(), origin: rand.Text()[:8], stop: make(chan struct{})}
	for i := range b.shards {
		b.shards[i].topics = make(map[string]*log)
	}
	b.epoch.Store(&b.origin)
	return b
}

// Start is described at broker.Broker.
func (b *Broker) Start(h broker.Handler) error {
	b.handler = h
	b.swept.Go(b.sweepLoop)
	return nil
}

// Close is described at broker.Broker.
func (b *Broker) Close(context.Context) error {
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
			l.rest()
		}
	}
	return nil
}

// Check is described at broker.Checker.
func (b *Broker) Check(context.Context) error {
	switch {
	case b.closed.Load():
		return broker.ErrClosed
	case b.topics.Load() >= int64(b.limits.Topics):
		return broker.ErrOverloaded
	}
	return nil
}

// Watch does nothing: on a single node everything is delivered here.
func (b *Broker) Watch(topic.Filter) error { return nil }

// Unwatch does nothing.
func (b *Broker) Unwatch(topic.Filter) error { return nil }

// Publish is described at broker.Broker.
func (b *Broker) Publish(m *message.Message, o broker.Options, done func(broker.Result, error)) {
	if b.closed.Load() {
		done(broker.Result{}, broker.ErrClosed)
		return
	}
	l := b.open(m.Topic)
	if l == nil {
		done(broker.Result{}, broker.ErrOverloaded)
		return
	}
	l.publish(m, o, done)
}

// open returns the topic's log, made if need be and locked; nil when there
// are too many.
func (b *Broker) open(name string) *log {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.topics[name]
	if l == nil {
		if b.topics.Load() >= int64(b.limits.Topics) {
			return nil
		}
		b.topics.Add(1)
		l = newLog(b, *b.epoch.Load())
		s.topics[name] = l
	}
	l.mu.Lock()
	return l
}

// find returns the topic's log, locked, or nil.
func (b *Broker) find(name string) *log {
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

// History is described at broker.Broker.
func (b *Broker) History(_ context.Context, name topic.Name, q broker.Query) (broker.Page, error) {
	if b.closed.Load() {
		return broker.Page{}, broker.ErrClosed
	}
	l := b.find(string(name))
	if l == nil {
		return broker.Page{Position: message.Position{Epoch: *b.epoch.Load()}, Gap: q.After > 0}, nil
	}
	defer l.mu.Unlock()
	return l.read(q, time.Now()), nil
}

// Retained is described at broker.Broker.
func (b *Broker) Retained(_ context.Context, f topic.Filter) ([]*message.Message, error) {
	if b.closed.Load() {
		return nil, broker.ErrClosed
	}
	now := time.Now()
	var out []*message.Message
	take := func(l *log) {
		if m := l.retained; m != nil && !m.Expired(now) {
			out = append(out, m)
		}
	}
	if !f.Wildcard() {
		if l := b.find(string(f)); l != nil {
			take(l)
			l.mu.Unlock()
		}
		return out, nil
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for name, l := range s.topics {
			if f.Matches(topic.Name(name)) {
				l.mu.Lock()
				take(l)
				l.mu.Unlock()
			}
		}
		s.mu.Unlock()
	}
	return out, nil
}

func (b *Broker) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case now := <-tick.C:
			for i := range b.shards {
				b.sweep(&b.shards[i], now)
			}
		}
	}
}

// sweep trims histories by age and forgets topics that have nothing left.
func (b *Broker) sweep(s *shard, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forgot := false
	for name, l := range s.topics {
		l.mu.Lock()
		if l.sweep(now) {
			delete(s.topics, name)
			b.topics.Add(-1)
			forgot = true
		}
		l.mu.Unlock()
	}
	if forgot {
		next := b.origin + "." + itoa(b.lives.Add(1))
		b.epoch.Store(&next)
	}
}
