package client

import (
	"context"
	"sync"
)

// maxEvents bounds what waits for an observer that blocks.
const maxEvents = 256

// observer calls functions one after the other, on a goroutine of its own, so
// that whoever watches the connection cannot hold it up.
type observer struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{}
}

// tell queues f; the oldest gives way when too many wait.
func (o *observer) tell(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxEvents {
		o.queue = o.queue[1:]
	}
	o.queue = append(o.queue, f)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run ends when ctx has, after what was told before.
func (o *observer) run(ctx context.Context) {
	for {
		for f := o.next(); f != nil; f = o.next() {
			f()
		}
		select {
		case <-o.wake:
			continue
		default:
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (o *observer) next() func() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil
	}
	f := o.queue[0]
	o.queue = o.queue[1:]
	return f
}
