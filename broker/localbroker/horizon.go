package localbroker

import (
	"runtime"
	"sync/atomic"
)

// horizon numbers the messages of all topics, and knows up to which number all
// of them have been handed over.
//
// A topic on its way to deliver announces in a slot of its own that nothing from
// a number on may be taken for delivered. It does so before it draws numbers; who
// asks reads the newest number first and the slots after it. So each number
// that was drawn before is either behind the asker or in a slot.
type horizon struct {
	newest atomic.Uint64
	slots  [horizonSlots]struct {
		from atomic.Uint64
		_    [56]byte // neighbours do not share a cache line
	}
}

// horizonSlots is how many topics can be delivering at once. That needs as
// many goroutines, and none of them waits for anything meanwhile.
const horizonSlots = 512

// next draws a number.
func (h *horizon) next() uint64 { return h.newest.Add(1) }

// enter takes a slot; hint spreads topics over them.
func (h *horizon) enter(hint int) (slot int) {
	for i := hint; ; i++ {
		s := &h.slots[i%horizonSlots].from
		if s.Load() == 0 && s.CompareAndSwap(0, h.newest.Load()+1) {
			return i % horizonSlots
		}
		if i-hint == horizonSlots {
			runtime.Gosched()
			hint = i
		}
	}
}

// move says that everything of the topic before mark was handed over.
func (h *horizon) move(slot int, mark uint64) { h.slots[slot].from.Store(mark) }

// leave gives the slot back.
func (h *horizon) leave(slot int) { h.slots[slot].from.Store(0) }

// handedOver returns the number up to which all messages of memory topics were.
func (h *horizon) handedOver() uint64 {
	mark := h.newest.Load()
	for i := range h.slots {
		if from := h.slots[i].from.Load(); from != 0 {
			mark = min(mark, from-1)
		}
	}
	return mark
}
