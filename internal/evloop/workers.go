package evloop

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/wheel"
)

// keepIdle is how many workers always wait for work rather than end, and
// keepWarm how many do for a while: a new one grows its stack anew.
const (
	keepIdle = 16
	keepWarm = 128
	warmFor  = time.Second
)

// workers serve connections that have something to read. There are as many as
// are needed, up to max; further connections wait in their order.
type workers struct {
	max  int
	turn func(c *Conn)

	mu      sync.Mutex
	n       int
	idle    []chan *Conn // the last to become idle is first, its stack is warm
	waiting []*Conn
	closed  bool
	wheel   *wheel.Wheel
	timer   wheel.Timer
	timed   bool // timer is set
	spare   int  // the fewest idle beyond keepIdle since it was
	running sync.WaitGroup
}

// serve sees to it that a worker takes c's turn.
func (w *workers) serve(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch last := len(w.idle) - 1; {
	case last >= 0:
		ch := w.idle[last]
		w.idle = w.idle[:last]
		w.spare = min(w.spare, last-keepIdle)
		ch <- c // it has room for one
	case w.n < w.max:
		w.n++
		w.running.Go(func() { w.work(c) })
	default:
		w.waiting = append(w.waiting, c)
	}
}

func (w *workers) work(c *Conn) {
	ch := make(chan *Conn, 1)
	for c != nil {
		w.turn(c)
		c = w.next(ch)
	}
}

// next returns the connection to serve, nil when the worker is not needed.
func (w *workers) next(ch chan *Conn) *Conn {
	w.mu.Lock()
	if len(w.waiting) > 0 {
		c := w.waiting[0]
		w.waiting[0] = nil
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
		return c
	}
	if w.closed || len(w.idle) >= keepWarm {
		w.n--
		w.mu.Unlock()
		return nil
	}
	w.idle = append(w.idle, ch)
	if len(w.idle) > keepIdle && !w.timed {
		w.watch()
	}
	w.mu.Unlock()
	return <-ch
}

// watch begins to look how many are not needed; mu is held.
func (w *workers) watch() {
	w.timed, w.spare = true, len(w.idle)-keepIdle
	w.wheel.Set(&w.timer, warmFor, w.trim)
}

// trim ends those that were not needed since the timer was set.
func (w *workers) trim(time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timed = false
	if n := min(w.spare, len(w.idle)); n > 0 {
		for _, ch := range w.idle[:n] {
			w.n--
			close(ch)
		}
		w.idle = append(w.idle[:0], w.idle[n:]...)
	}
	if len(w.idle) > keepIdle {
		w.watch()
	}
}

// close ends the workers; there must be no connections any more.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.wheel.Stop(&w.timer)
	for _, ch := range w.idle {
		w.n--
		close(ch)
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
