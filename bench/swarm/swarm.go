// Package swarm is the load: very many clients of one server, cheap enough that
// the server is what gets tired. On Linux the sockets of plain connections are
// read by a few epoll loops; elsewhere, and under TLS, a goroutine reads each.
package swarm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/bench/record"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Target is the server and how to speak to it.
type Target struct {
	URL      *url.URL // ws or wss
	Protocol Protocol
	// Token returns the token of a client by its number; nil: no tokens.
	Token func(number int) string
	// Timeout bounds the way from dialling to being subscribed.
	Timeout time.Duration
	// Portable reads every connection with a goroutine, as is done on systems
	// that have no epoll.
	Portable bool
	// QoS is that of the subscriptions. Peers acknowledge when it is not 0.
	QoS uint32
}

// Swarm is a set of peers and what they have seen. Its methods may be called
// concurrently, those of one peer one at a time.
type Swarm struct {
	target Target
	marker marker
	shards []*shard

	begun     atomic.Bool // something was published
	connected atomic.Int64
	arrived   atomic.Int64
	wakeAt    atomic.Int64 // of arrived; 0: nobody waits
	wake      chan struct{}
	refusal   atomic.Pointer[parleyv1.Error] // the first

	peers  atomic.Int64
	driver driver
}

// driver reads the connections of all peers.
type driver interface {
	// adopt takes over the connection of a peer whose shard is locked. What
	// was read beyond the handshake has been taken.
	adopt(p *Peer, c *handshaken) error
	// stop ends reading and returns when it has ended.
	stop() error
}

// shard is what some of the peers share: one lock is taken for a batch of
// messages and not for each.
type shard struct {
	swarm   *Swarm
	mu      sync.Mutex
	latency *record.Histogram
	caught  *record.Histogram // of those that catch up
	faults  record.Faults
	arrived int64 // not yet in the swarm's
	bytes   int64
	driven  any // of the driver
}

// ErrStalled says that nothing arrived for so long that nothing will.
var ErrStalled = errors.New("messages stopped arriving")

// New returns a swarm without peers. The caller closes it.
func New(t Target) (*Swarm, error) {
	s := &Swarm{target: t, marker: newMarker(), wake: make(chan struct{}, 1)}
	const shards = 2
	for range shards {
		s.shards = append(s.shards, &shard{swarm: s, latency: record.NewHistogram(), caught: record.NewHistogram()})
	}
	if t.Portable || t.URL.Scheme == "wss" {
		s.driver = &readers{}
		return s, nil
	}
	var err error
	s.driver, err = newDriver(s)
	return s, err
}

// Peer makes a client that will subscribe to topic. It is not connected.
func (s *Swarm) Peer(topic string) *Peer {
	n := int(s.peers.Add(1)) - 1
	return &Peer{Number: n, topic: topic, shard: s.shards[n%len(s.shards)]}
}

// Connected returns how many peers are connected.
func (s *Swarm) Connected() int64 { return s.connected.Load() }

// Arrived returns how many messages have arrived for the first time.
func (s *Swarm) Arrived() int64 { return s.arrived.Load() }

// Refusal returns the first error answer, or nil.
func (s *Swarm) Refusal() error {
	if e := s.refusal.Load(); e != nil {
		return fmt.Errorf("the server refused a command: %s", e.GetMessage())
	}
	return nil
}

// publish moves what a shard has counted to the swarm and wakes who waits for
// it. The shard is locked.
func (h *shard) publish() {
	if h.arrived == 0 {
		return
	}
	total := h.swarm.arrived.Add(h.arrived)
	h.arrived = 0
	if at := h.swarm.wakeAt.Load(); at > 0 && total >= at {
		h.swarm.rouse()
	}
}

// rouse makes Await look again.
func (s *Swarm) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Await waits until n messages have arrived. It gives up with ErrStalled when
// none arrives for patience, or nobody is connected. One goroutine at a time may wait.
func (s *Swarm) Await(ctx context.Context, n int64, patience time.Duration) error {
	if s.arrived.Load() >= n {
		return nil
	}
	s.wakeAt.Store(n)
	defer s.wakeAt.Store(0)
	look := time.NewTicker(patience / 4)
	defer look.Stop()
	last, since := s.arrived.Load(), time.Now()
	for {
		now := s.arrived.Load()
		switch {
		case now >= n:
			return nil
		case s.connected.Load() == 0:
			return fmt.Errorf("%w: %d are due, and no connection is left to bring them", ErrStalled, n-now)
		case now != last:
			last, since = now, time.Now()
		case time.Since(since) >= patience:
			return fmt.Errorf("%w: %d are due and did not come for %v", ErrStalled, n-now, patience)
		}
		select {
		case <-s.wake:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Seen is what all peers together have seen since the last Restart.
type Seen struct {
	Latency *record.Histogram
	Faults  record.Faults
	Bytes   int64
}

// Seen sums up.
func (s *Swarm) Seen() Seen {
	all := Seen{Latency: record.NewHistogram()}
	for _, h := range s.shards {
		h.mu.Lock()
		all.Latency.Merge(h.latency)
		all.Faults.Add(h.faults)
		all.Bytes += h.bytes
		h.mu.Unlock()
	}
	return all
}

// Restart forgets latencies and bytes, and keeps the faults.
func (s *Swarm) Restart() {
	for _, h := range s.shards {
		h.mu.Lock()
		h.latency.Reset()
		h.bytes = 0
		h.mu.Unlock()
	}
}

// End tells what the last number of the peer's topic was. What the peer has
// not got by now counts as lost.
func (s *Swarm) End(p *Peer, last uint64) {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	p.track.End(last, p.faults())
}

// Acknowledge makes a peer say that it has handled all that came.
func (s *Swarm) Acknowledge(p *Peer) {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if p.wire != nil && p.acknowledge(1) != nil {
		p.fell()
	}
}

// Expect makes a peer note when it has got n more messages than it has, as a
// time since began.
func (s *Swarm) Expect(p *Peer, n uint64, began time.Time) {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	p.until, p.began = p.track.Number()+n, began
}

// CaughtUp returns how long those took that have got what Expect said.
func (s *Swarm) CaughtUp() *record.Histogram {
	all := record.NewHistogram()
	for _, h := range s.shards {
		h.mu.Lock()
		all.Merge(h.caught)
		h.mu.Unlock()
	}
	return all
}

// Number returns the number of the last message that the peer got.
func (s *Swarm) Number(p *Peer) uint64 {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	return p.track.Number()
}

// Attached reports whether the peer is connected.
func (s *Swarm) Attached(p *Peer) bool {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	return p.wire != nil
}

// Drop ends a peer's connection. It does nothing for one that is not connected.
func (s *Swarm) Drop(p *Peer, how Ending) {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if p.wire == nil {
		return
	}
	if how == Goodbye {
		const normal = "\x03\xe8"          // 1000
		_ = p.say(opClose, []byte(normal)) // it ends either way
	}
	p.wire.close(how)
	p.wire = nil
	s.connected.Add(-1)
}

// Close ends what reads. The peers have been dropped.
func (s *Swarm) Close() error { return s.driver.stop() }
