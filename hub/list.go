package hub

import (
	"slices"
	"sync/atomic"
)

// shortList is the length up to which a subscriber is searched for rather than
// looked up.
const shortList = 32

// list is the subscribers of one filter, in no order. It is changed under the
// lock that guards it and read without one by whoever has shared its slice:
// adding writes only behind the length they know, and removing makes a copy
// first. So a delivery costs no copy, and of many who leave between two
// deliveries, as when a room with a hundred thousand people ends, only the
// first makes one.
type list struct {
	subs   []Subscriber
	place  map[Subscriber]int // in subs; nil while the list is short
	shared atomic.Bool        // somebody may be reading subs
}

// share returns the subscribers for reading. The lock may be held for reading
// only.
func (l *list) share() []Subscriber {
	if !l.shared.Load() {
		l.shared.Store(true)
	}
	return l.subs
}

func (l *list) add(s Subscriber) {
	l.subs = append(l.subs, s)
	switch n := len(l.subs); {
	case l.place != nil:
		l.place[s] = n - 1
	case n > shortList:
		l.place = make(map[Subscriber]int, 2*n)
		for i, x := range l.subs {
			l.place[x] = i
		}
	}
}

// remove reports whether the list is empty afterwards.
func (l *list) remove(s Subscriber) bool {
	i := l.find(s)
	if i < 0 {
		return len(l.subs) == 0
	}
	if l.shared.Load() || cap(l.subs) > 4*max(len(l.subs), shortList) {
		l.subs = slices.Clone(l.subs)
		l.shared.Store(false)
	}
	last := len(l.subs) - 1
	moved := l.subs[last]
	l.subs[i], l.subs[last] = moved, nil
	l.subs = l.subs[:last]
	if l.place != nil {
		l.place[moved] = i
		delete(l.place, s)
		if last < shortList/2 {
			l.place = nil
		}
	}
	return last == 0
}

func (l *list) find(s Subscriber) int {
	if l.place == nil {
		return slices.Index(l.subs, s)
	}
	if i, ok := l.place[s]; ok {
		return i
	}
	return -1
}
