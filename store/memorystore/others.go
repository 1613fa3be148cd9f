package memorystore

import (
	"container/list"
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/parleyhq/parley/store"
)

type receipts struct {
	closed   *atomic.Bool
	maxBytes int

	mu     lock
	topics map[string]*hall
	recent list.List // of *hall: where somebody got on last is at the back
	bytes  int
}

// hall is one topic and those who have got somewhere in it.
type hall struct {
	topic  string
	place  *list.Element
	people map[string]store.Receipt
	users  []string // of people; in order when sorted
	sorted bool
	bytes  int
}

// Receipts is described at store.Receipts.
func (r *receipts) Receipts(_ context.Context, topic, after string, limit int) ([]store.Receipt, int, error) {
	if err := r.mu.take(r.closed); err != nil {
		return nil, 0, err
	}
	defer r.mu.Unlock()
	h, ok := r.topics[topic]
	if !ok {
		return nil, 0, nil
	}
	if !h.sorted {
		slices.Sort(h.users)
		h.sorted = true
	}
	i, found := slices.BinarySearch(h.users, after)
	if found && after != "" { // an empty after means from the beginning
		i++
	}
	page := h.users[i:min(i+limit, len(h.users))]
	out := make([]store.Receipt, len(page))
	for j, user := range page {
		out[j] = h.people[user]
	}
	return out, len(h.people), nil
}

// Receipt is described at store.Receipts.
func (r *receipts) Receipt(_ context.Context, topic, user string) (store.Receipt, error) {
	if err := r.mu.take(r.closed); err != nil {
		return store.Receipt{}, err
	}
	defer r.mu.Unlock()
	h, ok := r.topics[topic]
	if !ok {
		return store.Receipt{}, nil
	}
	return h.people[user], nil
}

// Advance is described at store.Receipts.
func (r *receipts) Advance(rs []store.Receipt) {
	if r.mu.take(r.closed) != nil {
		return
	}
	defer r.mu.Unlock()
	for _, one := range rs {
		r.advance(one)
	}
	for r.bytes > r.maxBytes && r.recent.Len() > 1 {
		oldest, _ := r.recent.Remove(r.recent.Front()).(*hall) // there is nothing else in the list
		delete(r.topics, oldest.topic)
		r.bytes -= oldest.bytes
	}
}

func (r *receipts) advance(one store.Receipt) {
	h, ok := r.topics[one.Topic]
	if !ok {
		h = &hall{topic: one.Topic, people: make(map[string]store.Receipt), bytes: 200 + len(one.Topic)}
		h.place = r.recent.PushBack(h)
		r.topics[one.Topic] = h
		r.bytes += h.bytes
	}
	if _, ok := h.people[one.User]; !ok {
		h.users = append(h.users, one.User)
		h.sorted = false
		n := 160 + len(one.User) + len(one.Epoch)
		h.bytes += n
		r.bytes += n
	}
	h.people[one.User] = one
	r.recent.MoveToBack(h.place)
}

type groups struct {
	closed   *atomic.Bool
	maxBytes int

	mu     lock
	byName map[string]map[string]store.Group // name, topic
	bytes  int
}

// Groups is described at store.Groups.
func (g *groups) Groups(_ context.Context, name string) ([]store.Group, error) {
	if err := g.mu.take(g.closed); err != nil {
		return nil, err
	}
	defer g.mu.Unlock()
	out := make([]store.Group, 0, len(g.byName[name]))
	for _, one := range g.byName[name] {
		out = append(out, copyGroup(one))
	}
	return out, nil
}

// SaveGroup is described at store.Groups.
func (g *groups) SaveGroup(given *store.Group, done func(error)) {
	answer(done, g.save(copyGroup(*given)))
}

func (g *groups) save(one store.Group) error {
	if err := g.mu.take(g.closed); err != nil {
		return err
	}
	defer g.mu.Unlock()
	old, there := g.byName[one.Name][one.Topic]
	more := groupSize(one)
	if there {
		more -= groupSize(old)
	}
	if more > 0 && g.bytes+more > g.maxBytes {
		return store.ErrFull
	}
	if g.byName[one.Name] == nil {
		g.byName[one.Name] = make(map[string]store.Group)
	}
	g.byName[one.Name][one.Topic] = one
	g.bytes += more
	return nil
}

// DeleteGroup is described at store.Groups.
func (g *groups) DeleteGroup(name string, done func(error)) {
	err := g.mu.take(g.closed)
	if err == nil {
		for _, one := range g.byName[name] {
			g.bytes -= groupSize(one)
		}
		delete(g.byName, name)
		g.mu.Unlock()
	}
	answer(done, err)
}

func copyGroup(g store.Group) store.Group {
	g.Beyond = slices.Clone(g.Beyond)
	g.Attempts = maps.Clone(g.Attempts)
	return g
}

// groupSize is about what a group takes in one topic.
func groupSize(g store.Group) int {
	return 300 + len(g.Name) + len(g.Topic) + len(g.Done.Epoch) + 8*len(g.Beyond) + 40*len(g.Attempts)
}
