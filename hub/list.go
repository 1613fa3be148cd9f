package hub

import "slices"

// block is how many subscribers one removal copies.
const block = 128

// list is the subscribers of one filter. A copy of its value is a snapshot
// that stays as it is while the list goes on: adding writes only behind what a
// snapshot shows, removing replaces the block it changes. So a message takes no
// lock while it is handed out, and one of many thousand can leave for the price
// of a few kilobytes.
type list struct {
	full []*[block]Subscriber
	tail []Subscriber
}

func (l *list) len() int { return len(l.full)*block + len(l.tail) }

func (l *list) add(s Subscriber) {
	l.tail = append(l.tail, s)
	if len(l.tail) == block {
		l.full = append(l.full, (*[block]Subscriber)(l.tail))
		l.tail = nil
	}
}

// remove reports whether the list is empty afterwards.
func (l *list) remove(s Subscriber) bool {
	if i := slices.Index(l.tail, s); i >= 0 {
		l.tail = slices.Concat(l.tail[:i], l.tail[i+1:])
		return l.len() == 0
	}
	for b, subs := range l.full {
		i := slices.Index(subs[:], s)
		if i < 0 {
			continue
		}
		last := l.pop() // it takes the place of s
		if b < len(l.full) {
			changed := *subs
			changed[i] = last
			l.full = slices.Clone(l.full)
			l.full[b] = &changed
		} else if i < len(l.tail) { // the block that held s is the tail now
			l.tail = slices.Clone(l.tail)
			l.tail[i] = last
		}
		break
	}
	return l.len() == 0
}

// pop takes the last subscriber off. What is left has no spare room, so that
// adding makes a new array rather than write where a snapshot looks.
func (l *list) pop() Subscriber {
	if len(l.tail) == 0 {
		n := len(l.full) - 1
		l.tail = slices.Clip(l.full[n][:])
		l.full = l.full[:n:n]
	}
	n := len(l.tail) - 1
	last := l.tail[n]
	l.tail = l.tail[:n:n]
	return last
}

// each calls f for every subscriber.
func (l *list) each(f func(Subscriber)) {
	for _, subs := range l.full {
		for _, s := range subs {
			f(s)
		}
	}
	for _, s := range l.tail {
		f(s)
	}
}

func (l *list) deliver(d *Delivery) int {
	for _, subs := range l.full {
		for _, s := range subs {
			s.Deliver(d)
		}
	}
	for _, s := range l.tail {
		s.Deliver(d)
	}
	return l.len()
}
