package evloop

import "sync"

// chunk is a piece of a queue that is longer than one frame.
type chunk struct {
	frames   [13]*[]byte
	from, to int
	next     *chunk
}

// queue is what waits to be written. One frame takes no memory of its own,
// more take pooled chunks.
type queue struct {
	first      *[]byte
	skip       int // bytes of first that have left
	head, tail *chunk
}

func (q *queue) empty() bool { return q.first == nil }

func (q *queue) push(f *[]byte, pool *sync.Pool) {
	if q.first == nil {
		q.first = f
		return
	}
	t := q.tail
	if t == nil || t.to == len(t.frames) {
		fresh, _ := pool.Get().(*chunk)
		if t == nil {
			q.head = fresh
		} else {
			t.next = fresh
		}
		q.tail, t = fresh, fresh
	}
	t.frames[t.to] = f
	t.to++
}

// pop forgets the first frame.
func (q *queue) pop(pool *sync.Pool) {
	q.first, q.skip = nil, 0
	h := q.head
	if h == nil {
		return
	}
	q.first = h.frames[h.from]
	h.frames[h.from] = nil
	h.from++
	if h.from < h.to {
		return
	}
	q.head = h.next
	if q.head == nil {
		q.tail = nil
	}
	h.from, h.to, h.next = 0, 0, nil
	pool.Put(h)
}

// join appends what rest holds; q must not be empty.
func (q *queue) join(rest queue, pool *sync.Pool) {
	if rest.first == nil {
		return
	}
	q.push(rest.first, pool)
	if rest.head != nil {
		if q.tail == nil {
			q.head = rest.head
		} else {
			q.tail.next = rest.head
		}
		q.tail = rest.tail
	}
}

// drop gives up every frame that has not been begun and returns their bytes.
func (q *queue) drop(pool *sync.Pool) int {
	begun, skip, n := q.first, q.skip, 0
	if skip > 0 {
		q.pop(pool)
	}
	for !q.empty() {
		n += len(*q.first)
		q.pop(pool)
	}
	if skip > 0 {
		q.first, q.skip = begun, skip
	}
	return n
}

// next returns what to write in one call: the first frame as it is, or copied
// together with those behind it, as many as fit into scratch.
func (q *queue) next(scratch []byte) []byte {
	first := (*q.first)[q.skip:]
	if q.head == nil || len(first) >= len(scratch)/2 {
		return first
	}
	out := scratch[:copy(scratch, first)]
	for c := q.head; c != nil; c = c.next {
		for _, f := range c.frames[c.from:c.to] {
			if len(out)+len(*f) > len(scratch) {
				return out
			}
			out = append(out, *f...)
		}
	}
	return out
}

// advance forgets n bytes that have left.
func (q *queue) advance(n int, pool *sync.Pool) {
	for !q.empty() {
		left := len(*q.first) - q.skip
		if n < left {
			q.skip += n
			return
		}
		n -= left
		q.pop(pool)
	}
}
