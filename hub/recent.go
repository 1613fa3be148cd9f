package hub

import (
	linked "container/list"
	"slices"
	"sync"
	"sync/atomic"
)

// Recent keeps deliveries of what was published lately on topics that somebody
// reads again, so that a message many have missed is read and encoded once for
// all of them. It is bounded in bytes; the topics that were not read for the
// longest time go first. Methods may be called concurrently.
type Recent struct {
	room int64
	held atomic.Int32 // topics

	mu     sync.Mutex
	bytes  int64
	topics map[string]*linked.Element // of *run
	order  linked.List                // the one read last is in front
}

// run is an unbroken part of one topic's history.
type run struct {
	topic, epoch string
	after, to    uint64 // it holds all that is kept above after and not above to
	list         []*Delivery
	bytes        int64
}

// NewRecent returns a Recent that takes about room bytes.
func NewRecent(room int64) *Recent {
	return &Recent{room: room, topics: make(map[string]*linked.Element)}
}

// runCost is about what a run takes without its deliveries.
const runCost = 256

// cost is about what a delivery takes with its message and two encodings.
func cost(d *Delivery) int64 { return 200 + 3*int64(d.Message.Size()) }

// After returns, oldest first, at most limit deliveries with a Seq above after,
// and the Seq up to which they are complete; false when that part is not held.
// The slice is shared: nobody may change it.
func (r *Recent) After(topic, epoch string, after uint64, limit int) (part []*Delivery, to uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.topics[topic]
	if e == nil {
		return nil, 0, false
	}
	held := valueOf(e)
	if held.epoch != epoch || after < held.after || after >= held.to {
		return nil, 0, false
	}
	r.order.MoveToFront(e)
	part = held.list[above(held.list, after):]
	if len(part) > limit {
		return part[:limit:limit], part[limit-1].Message.Seq, true
	}
	return slices.Clip(part), held.to, true
}

// above returns the place of the first delivery with a Seq above after.
func above(part []*Delivery, after uint64) int {
	low, high := 0, len(part)
	for low < high {
		if mid := int(uint(low+high) >> 1); part[mid].Message.Seq <= after {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Add takes what was read of a topic: all that is kept above after, up to to.
func (r *Recent) Add(topic, epoch string, after, to uint64, part []*Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.topics[topic]
	if e == nil || valueOf(e).epoch != epoch || valueOf(e).to < after || valueOf(e).after > after {
		if e != nil {
			r.remove(e)
		}
		e = r.order.PushFront(&run{topic: topic, epoch: epoch, after: after, to: after, bytes: runCost})
		r.bytes += runCost
		r.topics[topic] = e
		r.held.Add(1)
	}
	held := valueOf(e)
	for _, d := range part[above(part, held.to):] {
		r.push(held, d)
	}
	held.to = max(held.to, to)
	r.order.MoveToFront(e)
	r.trim()
}

// Extend takes a message that was just published, as made returns it, when the topic
// is held up to the message before it.
func (r *Recent) Extend(topic, epoch string, prev uint64, made func() *Delivery) {
	if r.held.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.topics[topic]
	if e == nil {
		return
	}
	if held := valueOf(e); held.epoch == epoch && held.to == prev {
		d := made()
		r.push(held, d)
		held.to = d.Message.Seq
		r.trim()
	}
}

func (r *Recent) push(held *run, d *Delivery) {
	n := cost(d)
	held.list = append(held.list, d)
	held.bytes += n
	r.bytes += n
}

// trim makes room: other topics go first, then the older half of the last.
func (r *Recent) trim() {
	for r.bytes > r.room && r.order.Len() > 1 {
		r.remove(r.order.Back())
	}
	for e := r.order.Front(); e != nil && r.bytes > r.room && len(valueOf(e).list) > 1; {
		held := valueOf(e)
		half := len(held.list) / 2
		for _, d := range held.list[:half] {
			held.bytes -= cost(d)
			r.bytes -= cost(d)
		}
		held.after = held.list[half-1].Message.Seq
		held.list = append([]*Delivery(nil), held.list[half:]...)
	}
}

func (r *Recent) remove(e *linked.Element) {
	held := valueOf(e)
	r.order.Remove(e)
	delete(r.topics, held.topic)
	r.held.Add(-1)
	r.bytes -= held.bytes
}

func valueOf(e *linked.Element) *run {
	held, _ := e.Value.(*run)
	return held
}
