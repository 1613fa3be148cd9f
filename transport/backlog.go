// Package transport holds what the transports share: how messages wait for a
// receiver that is behind, and which encodings there are.
package transport

import (
	"time"

	"github.com/parleyhq/parley/hub"
)

// What a message, and a topic, that waits in a backlog takes besides its frame.
const (
	messageCost = 128
	topicCost   = 256
)

// maxLanes bounds the topics that wait for one receiver, for those of a
// pattern may be any number.
const maxLanes = 1024

// Lost is what a receiver was not sent.
type Lost struct {
	Count, Seq uint64 // Seq is the newest's
}

func (l *Lost) add(other Lost) {
	l.Count += other.Count
	l.Seq = max(l.Seq, other.Seq)
}

// waiting is a message in a backlog.
type waiting[F any] struct {
	frame F
	size  int
	shape *hub.Shape
	seq   uint64
	key   string // hub.PressureLatest
	slot  int64  // hub.PressureSample: the interval it belongs to
	lost  Lost   // between the message before it and this one

	prev, next *waiting[F]
}

func (w *waiting[F]) cost() int { return w.size + messageCost }

// lane is what waits of one topic, in its order.
type lane[F any] struct {
	topic       string
	first, last *waiting[F]
	cost        int
	keys        map[string]*waiting[F]
	lost        Lost // behind the last
}

// backlog is what waits for a receiver that is behind, where the settings of a
// topic say that not all of it must. It is bounded, keeps the order of each
// topic, and remembers what it has given up until the receiver is told. It is
// pure; calls must not overlap.
type backlog[F any] struct {
	room    int
	cost    int
	lanes   []*lane[F] // take turns
	turn    int
	topics  map[string]*lane[F]
	dropped [hub.Pressures]uint64
}

func newBacklog[F any](room int) *backlog[F] {
	return &backlog[F]{room: room, topics: make(map[string]*lane[F])}
}

func (b *backlog[F]) empty() bool { return len(b.lanes) == 0 }

// add takes a message that has a shape, and gives up what need not wait any
// more. It reports false when there are too many topics to keep apart.
func (b *backlog[F]) add(d *hub.Delivery, frame F, size int, now time.Time) bool {
	l := b.topics[d.Message.Topic]
	if l == nil {
		if len(b.lanes) == maxLanes {
			return false
		}
		l = &lane[F]{topic: d.Message.Topic}
		b.topics[l.topic] = l
		b.lanes = append(b.lanes, l)
		b.cost += topicCost
	}
	w := &waiting[F]{frame: frame, size: size, shape: d.Shape, seq: d.Message.Seq}
	var replaced *waiting[F]
	switch d.Shape.Pressure {
	case hub.PressureLatest:
		w.key = d.Shape.Key(d.Message)
		replaced = l.keys[w.key]
	case hub.PressureSample:
		w.slot = now.UnixNano() / int64(d.Shape.Every)
		if l.last != nil && l.last.shape.Pressure == hub.PressureSample && l.last.slot == w.slot {
			replaced = l.last
		}
	case hub.PressureDisconnect, hub.PressureDropOldest, hub.PressureSpill:
	}
	b.push(l, w)
	if replaced != nil {
		b.drop(l, replaced)
	}
	for b.cost > b.room {
		if heaviest := b.heaviest(); heaviest != nil {
			b.drop(heaviest, heaviest.first)
			continue
		}
		break // nothing waits but what is to be told
	}
	return true
}

func (b *backlog[F]) heaviest() (most *lane[F]) {
	for _, l := range b.lanes {
		if l.first != nil && (most == nil || l.cost > most.cost) {
			most = l
		}
	}
	return most
}

func (b *backlog[F]) push(l *lane[F], w *waiting[F]) {
	w.lost, l.lost = l.lost, Lost{}
	if w.prev = l.last; w.prev == nil {
		l.first = w
	} else {
		w.prev.next = w
	}
	l.last = w
	if w.shape.Pressure == hub.PressureLatest {
		if l.keys == nil {
			l.keys = make(map[string]*waiting[F])
		}
		l.keys[w.key] = w
	}
	l.cost += w.cost()
	b.cost += w.cost()
}

// drop gives a message up: it counts as lost before the next of its topic.
func (b *backlog[F]) drop(l *lane[F], w *waiting[F]) {
	b.dropped[w.shape.Pressure]++
	gone := w.lost
	gone.add(Lost{1, w.seq})
	if w.next != nil {
		w.next.lost.add(gone)
	} else {
		l.lost.add(gone)
	}
	b.remove(l, w)
}

func (b *backlog[F]) remove(l *lane[F], w *waiting[F]) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	if l.keys[w.key] == w {
		delete(l.keys, w.key)
	}
	l.cost -= w.cost()
	b.cost -= w.cost()
}

// drain offers what waits, a message of each topic in turn, until offer takes
// no more. Before a message, tell makes a frame of what was lost before it.
func (b *backlog[F]) drain(offer func(frame F, shape *hub.Shape) bool, tell func(topic string, what Lost) F) {
	for len(b.lanes) > 0 {
		b.turn %= len(b.lanes)
		l := b.lanes[b.turn]
		missing := &l.lost
		if l.first != nil {
			missing = &l.first.lost
		}
		if missing.Count > 0 {
			if !offer(tell(l.topic, *missing), nil) {
				return
			}
			*missing = Lost{}
		}
		if l.first != nil {
			if !offer(l.first.frame, l.first.shape) {
				return
			}
			b.remove(l, l.first)
		}
		if l.first != nil || l.lost.Count > 0 {
			b.turn++
			continue
		}
		b.lanes = append(b.lanes[:b.turn], b.lanes[b.turn+1:]...)
		delete(b.topics, l.topic)
		b.cost -= topicCost
	}
}
