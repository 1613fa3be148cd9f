// Package hub knows who on this node wants which topic, and hands each
// message to all of them.
package hub

import (
	"hash/maphash"
	"sync"

	"github.com/parleyhq/parley/topic"
)

// Subscriber is one interest of one receiver.
type Subscriber interface {
	// Deliver takes d over. It must not block and must not call the hub.
	Deliver(d *Delivery)
	// Owner is the same for all interests of one receiver: a message that
	// matches several of them is delivered to the first only.
	Owner() any
}

const shards = 64

// Hub is the table of interests. The zero Hub is not ready; use New. All
// methods may be called concurrently. Deliveries of one topic reach every
// subscriber in the order of the calls when those calls are made one after
// the other.
type Hub struct {
	seed  maphash.Seed
	exact [shards]shard

	mu    sync.RWMutex // guards wild
	wild  topic.Tree[*list]
	seens sync.Pool // of map[any]struct{}, for messages that match several filters
}

type shard struct {
	mu     sync.RWMutex
	topics map[string]*list
}

// New returns an empty Hub.
func New() *Hub {
	h := &Hub{seed: maphash.MakeSeed()}
	for i := range h.exact {
		h.exact[i].topics = make(map[string]*list)
	}
	h.seens.New = func() any { return make(map[any]struct{}) }
	return h
}

func (h *Hub) shard(name string) *shard {
	return &h.exact[maphash.String(h.seed, name)%shards]
}

// Subscribe adds s, which must not be there already, to those who want f. It
// reports whether it is the first.
func (h *Hub) Subscribe(f topic.Filter, s Subscriber) (first bool) {
	if f.Wildcard() {
		h.mu.Lock()
		defer h.mu.Unlock()
		l, ok := h.wild.Get(f)
		if !ok {
			l = &list{}
			h.wild.Set(f, l)
		}
		l.add(s)
		return !ok
	}
	sh := h.shard(string(f))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.topics[string(f)]
	first = l == nil
	if first {
		l = &list{}
		sh.topics[string(f)] = l
	}
	l.add(s)
	return first
}

// Unsubscribe removes s from those who want f. It reports whether it was the
// last. A delivery under way may still reach s.
func (h *Hub) Unsubscribe(f topic.Filter, s Subscriber) (last bool) {
	if f.Wildcard() {
		h.mu.Lock()
		defer h.mu.Unlock()
		l, ok := h.wild.Get(f)
		if !ok || !l.remove(s) {
			return false
		}
		h.wild.Delete(f)
		return true
	}
	sh := h.shard(string(f))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.topics[string(f)]
	if l == nil || !l.remove(s) {
		return false
	}
	delete(sh.topics, string(f))
	return true
}

// Deliver hands d to everyone who wants name and returns how many they were.
func (h *Hub) Deliver(name topic.Name, d *Delivery) int {
	exact := h.subscribers(string(name))
	var wild [4][]Subscriber
	others := wild[:0]
	h.mu.RLock()
	if h.wild.Len() > 0 {
		h.wild.Match(name, func(l *list) bool {
			others = append(others, l.share())
			return true
		})
	}
	h.mu.RUnlock()
	switch {
	case len(others) == 0:
		return deliver(exact, d)
	case len(exact) == 0 && len(others) == 1:
		return deliver(others[0], d)
	}
	return h.deliverOnce(exact, others, d)
}

func (h *Hub) subscribers(name string) []Subscriber {
	sh := h.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if l := sh.topics[name]; l != nil {
		return l.share()
	}
	return nil
}

func deliver(subs []Subscriber, d *Delivery) int {
	for _, s := range subs {
		s.Deliver(d)
	}
	return len(subs)
}

// deliverOnce serves receivers that may be in several lists.
func (h *Hub) deliverOnce(exact []Subscriber, others [][]Subscriber, d *Delivery) int {
	seen, _ := h.seens.Get().(map[any]struct{})
	n := 0
	once := func(subs []Subscriber) {
		for _, s := range subs {
			owner := s.Owner()
			if _, again := seen[owner]; again {
				continue
			}
			seen[owner] = struct{}{}
			s.Deliver(d)
			n++
		}
	}
	once(exact)
	for _, subs := range others {
		once(subs)
	}
	clear(seen)
	h.seens.Put(seen)
	return n
}

// Topics returns the number of filters somebody wants, and Subscribers of one
// topic how many want exactly it.
func (h *Hub) Topics() int {
	n := 0
	for i := range h.exact {
		sh := &h.exact[i]
		sh.mu.RLock()
		n += len(sh.topics)
		sh.mu.RUnlock()
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return n + h.wild.Len()
}

// Subscribers returns how many want exactly f.
func (h *Hub) Subscribers(f topic.Filter) int {
	if f.Wildcard() {
		h.mu.RLock()
		defer h.mu.RUnlock()
		if l, ok := h.wild.Get(f); ok {
			return len(l.subs)
		}
		return 0
	}
	sh := h.shard(string(f))
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if l := sh.topics[string(f)]; l != nil {
		return len(l.subs)
	}
	return 0
}
