package session

import (
	"context"
	"sync"
	"time"
)

// patience is a context that ends at a time, of which most never need to know:
// its timer is made for who waits for it. A token is nearly always judged on
// the spot, and then there is none to make and to stop for each connection.
type patience struct {
	base context.Context
	end  time.Time

	mu      sync.Mutex
	waited  context.Context // nil until somebody waits
	cancel  context.CancelFunc
	stopped bool
}

var _ context.Context = (*patience)(nil)

func newPatience(base context.Context, d time.Duration) *patience {
	return &patience{base: base, end: time.Now().Add(d)}
}

// stop ends it; the one who made it calls it.
func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.cancel != nil {
		p.cancel()
	}
}

// wait returns the context that has a timer.
func (p *patience) wait() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waited == nil {
		p.waited, p.cancel = context.WithDeadline(p.base, p.end)
		if p.stopped {
			p.cancel()
		}
	}
	return p.waited
}

// Deadline is described at context.Context, like all that follows.
func (p *patience) Deadline() (time.Time, bool) { return p.end, true }

// Done makes the timer.
func (p *patience) Done() <-chan struct{} { return p.wait().Done() }

// Err makes the timer, too: it must never say less than Done has.
func (p *patience) Err() error { return p.wait().Err() }

// Value is that of the context with the timer once there is one, by which
// contexts made from this one find it.
func (p *patience) Value(key any) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waited != nil {
		return p.waited.Value(key)
	}
	return p.base.Value(key)
}
