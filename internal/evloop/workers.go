package evloop

import "sync"

// keepIdle is how many workers wait for work rather than end.
const keepIdle = 16

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
	if w.closed || len(w.idle) >= keepIdle {
		w.n--
		w.mu.Unlock()
		return nil
	}
	w.idle = append(w.idle, ch)
	w.mu.Unlock()
	return <-ch
}

// close ends the workers; there must be no connections any more.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	for _, ch := range w.idle {
		w.n--
		close(ch)
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
