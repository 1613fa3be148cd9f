// Package observer calls functions that an application wants to have called, on
// a goroutine of their own.
package observer

import (
	"context"
	"sync"
)

// maxEvents bounds what waits for an observer that blocks.
const maxEvents = 256

// Observer calls functions one after the other, on a goroutine of its own, so
// that whoever watches the connection cannot hold it up.
type Observer struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{}
}

// New returns an Observer that runs with Run.
func New() *Observer { return &Observer{wake: make(chan struct{}, 1)} }

// Tell queues f; the oldest gives way when too many wait.
func (o *Observer) Tell(f func()) {
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

// Run calls what was told, and ends when ctx has, after what was told before.
func (o *Observer) Run(ctx context.Context) {
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

func (o *Observer) next() func() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil
	}
	f := o.queue[0]
	o.queue = o.queue[1:]
	return f
}
