package transport

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
)

// Outlet is what a connection tells Behind about itself. F is what the
// transport queues: a frame, or what one is made of.
type Outlet[F any] interface {
	// Offer queues a frame if the receiver keeps up. When it reports false,
	// Behind.Refill is to be called as soon as there is room again.
	Offer(frame F, shape *hub.Shape) bool
	// Send queues a frame; a receiver for which it does not fit has taken too
	// little and is cut.
	Send(frame F)
	// Tell returns the frame that says what was not sent.
	Tell(topic string, what Lost) F
	// Skipped counts messages that were not sent.
	Skipped(policy hub.Pressure, n uint64)
	// Cut ends the connection.
	Cut()
}

// Behind holds what waits for a receiver that does not take its messages as
// fast as they come, where the settings of a topic say that not all of it must.
// It takes 8 bytes while the receiver keeps up. The zero value is ready, and
// methods may be called concurrently.
type Behind[F any] struct {
	state atomic.Pointer[behind[F]]
}

// behind is what only a receiver has that is behind.
type behind[F any] struct {
	mu      sync.Mutex
	waiting *backlog[F]
	spilled bool     // something was refused: nothing more of its kind until there is room
	ready   []func() // are told then
	over    bool     // it has caught up: this is no longer the connection's
}

// Deliver queues the frame of a message that has a shape; size is its bytes.
// What waits aside takes about room bytes at most. It reports false when the
// message was refused, which only happens with hub.PressureSpill; see Ready.
func (b *Behind[F]) Deliver(to Outlet[F], room int, d *hub.Delivery, frame F, size int) bool {
	if d.Shape.Pressure == hub.PressureDisconnect {
		if !to.Offer(frame, d.Shape) {
			to.Send(frame)
		}
		return true
	}
	for {
		now := b.state.Load()
		if now == nil {
			if to.Offer(frame, d.Shape) {
				return true
			}
			now = &behind[F]{waiting: newBacklog[F](room)}
			if !b.state.CompareAndSwap(nil, now) {
				continue
			}
		}
		if d.Shape.Pressure == hub.PressureSpill {
			if taken, ok := b.spill(now, to, d, frame); ok {
				return taken
			}
		} else if b.wait(now, to, d, frame, size) {
			return true
		}
	}
}

// spill takes the message if there is room by now; ok is false when now is
// over.
func (b *Behind[F]) spill(now *behind[F], to Outlet[F], d *hub.Delivery, frame F) (taken, ok bool) {
	now.mu.Lock()
	defer now.mu.Unlock()
	switch {
	case now.over:
		return false, false
	case now.spilled:
	case now.waiting.empty() && to.Offer(frame, d.Shape):
		b.finish(now)
		return true, true
	}
	now.spilled = true // an offer was refused, so Refill follows
	return false, true
}

// Ready reports whether there is room for a message that would spill. If not,
// f is called, once, when there is; never after the end of the connection. f
// must not block.
func (b *Behind[F]) Ready(f func()) bool {
	now := b.state.Load()
	if now == nil {
		return true
	}
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.over {
		return true
	}
	now.ready = append(now.ready, f)
	return false
}

// finish ends being behind; the lock of now is held.
func (b *Behind[F]) finish(now *behind[F]) {
	now.over = true
	b.state.Store(nil)
}

// wait has a message wait; it reports false when now is over.
func (b *Behind[F]) wait(now *behind[F], to Outlet[F], d *hub.Delivery, frame F, size int) bool {
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.over {
		return false
	}
	if !now.waiting.add(d, frame, size, time.Now()) {
		to.Cut()
	}
	b.drain(now, to, to.Offer) // it has been read meanwhile, or Refill is asked for anew
	return true
}

// Refill offers what waits, and tells who was refused when there is room.
func (b *Behind[F]) Refill(to Outlet[F]) {
	for _, f := range b.Settle(to, to.Offer) {
		f()
	}
}

// Settle hands what waits to offer, until that takes no more: at the end of a
// connection, one that does not ask whether the receiver keeps up. It returns
// who is to be told that there is room.
func (b *Behind[F]) Settle(to Outlet[F], offer func(frame F, shape *hub.Shape) bool) (ready []func()) {
	now := b.state.Load()
	if now == nil {
		return nil
	}
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.over {
		return nil
	}
	now.spilled = false
	ready, now.ready = now.ready, nil
	b.drain(now, to, offer)
	if !now.over {
		ready, now.ready = nil, ready
	}
	return ready
}

// drain is Settle with the lock of now held.
func (b *Behind[F]) drain(now *behind[F], to Outlet[F], offer func(frame F, shape *hub.Shape) bool) {
	if now.over {
		return
	}
	now.waiting.drain(offer, to.Tell)
	for policy, n := range now.waiting.dropped {
		if n > 0 {
			to.Skipped(hub.Pressure(policy), n)
		}
	}
	now.waiting.dropped = [hub.Pressures]uint64{}
	if now.waiting.empty() && !now.spilled && len(now.ready) == 0 {
		b.finish(now)
	}
}
