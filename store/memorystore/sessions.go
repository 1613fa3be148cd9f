package memorystore

import (
	"bytes"
	"container/list"
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

type sessions struct {
	closed          *atomic.Bool
	limit, maxBytes int

	mu     lock
	byID   map[string]*kept
	byUser map[string]map[string]struct{}
	recent list.List // of *kept, in the order in which they were saved
	bytes  int
}

// kept is a session and its place among the others.
type kept struct {
	store.Session

	size  int
	place *list.Element
}

// Load is described at store.Sessions.
func (s *sessions) Load(_ context.Context, id string) (*store.Session, error) {
	if err := s.mu.take(s.closed); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	k, ok := s.byID[id]
	if !ok {
		return nil, store.ErrNotFound
	}
	c := clone(&k.Session)
	return &c, nil
}

// Save is described at store.Sessions.
func (s *sessions) Save(given *store.Session, done func(error)) {
	answer(done, s.save(&kept{Session: clone(given)}))
}

func (s *sessions) save(k *kept) error {
	if err := s.mu.take(s.closed); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.remove(k.ID)
	s.byID[k.ID] = k
	if s.byUser[k.User] == nil {
		s.byUser[k.User] = make(map[string]struct{})
	}
	s.byUser[k.User][k.ID] = struct{}{}
	k.place = s.recent.PushBack(k)
	k.size = size(&k.Session)
	s.bytes += k.size
	s.bound()
	return nil
}

// bound forgets those that were saved the longest ago. Who holds a session saves
// it from time to time, so these are the ones that nobody holds.
func (s *sessions) bound() {
	for s.recent.Len() > 1 && (s.recent.Len() > s.limit || s.bytes > s.maxBytes) {
		first, _ := s.recent.Front().Value.(*kept) // there is nothing else in the list
		s.remove(first.ID)
	}
}

func (s *sessions) remove(id string) {
	k, ok := s.byID[id]
	if !ok {
		return
	}
	delete(s.byID, id)
	mine := s.byUser[k.User]
	delete(mine, id)
	if len(mine) == 0 {
		delete(s.byUser, k.User)
	}
	s.recent.Remove(k.place)
	s.bytes -= k.size
}

// Acked is described at store.Sessions.
func (s *sessions) Acked(acks []store.Ack) {
	if s.mu.take(s.closed) != nil {
		return
	}
	defer s.mu.Unlock()
	for _, a := range acks {
		k, ok := s.byID[a.Session]
		if !ok {
			continue
		}
		i := slices.IndexFunc(k.Subscriptions, func(sub store.Subscription) bool { return sub.Filter == a.Filter })
		if i < 0 {
			continue
		}
		if k.Subscriptions[i].Acked == nil {
			k.Subscriptions[i].Acked = make(map[string]message.Position)
		}
		k.Subscriptions[i].Acked[a.Topic] = a.Position
		s.resize(k)
	}
}

// resize counts a session anew after it changed.
func (s *sessions) resize(k *kept) {
	s.bytes -= k.size
	k.size = size(&k.Session)
	s.bytes += k.size
	s.bound()
}

// Note is described at store.Sessions.
func (s *sessions) Note(id, name string, value []byte, done func(error)) {
	answer(done, s.note(id, name, value))
}

func (s *sessions) note(id, name string, value []byte) error {
	if err := s.mu.take(s.closed); err != nil {
		return err
	}
	defer s.mu.Unlock()
	k, ok := s.byID[id]
	if !ok {
		return nil
	}
	if value == nil {
		delete(k.Notes, name)
	} else {
		if k.Notes == nil {
			k.Notes = make(map[string][]byte)
		}
		k.Notes[name] = bytes.Clone(value)
	}
	s.resize(k)
	return nil
}

// Delete is described at store.Sessions.
func (s *sessions) Delete(id string, done func(error)) {
	err := s.mu.take(s.closed)
	if err == nil {
		s.remove(id)
		s.mu.Unlock()
	}
	answer(done, err)
}

// Of is described at store.Sessions.
func (s *sessions) Of(_ context.Context, user string) ([]string, error) {
	if err := s.mu.take(s.closed); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.byUser[user])), nil
}

// Expired is described at store.Sessions. It looks at every session, which the
// limits keep to a moment's work.
func (s *sessions) Expired(_ context.Context, now time.Time, limit int) ([]string, error) {
	if err := s.mu.take(s.closed); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var ids []string
	for e := s.recent.Front(); e != nil && len(ids) < limit; e = e.Next() {
		if k, ok := e.Value.(*kept); ok && !now.Before(k.Seen.Add(k.Expiry)) {
			ids = append(ids, k.ID)
		}
	}
	return ids, nil
}

func clone(s *store.Session) store.Session {
	c := *s
	c.Subscriptions = slices.Clone(s.Subscriptions)
	for i := range c.Subscriptions {
		c.Subscriptions[i].Acked = maps.Clone(c.Subscriptions[i].Acked)
	}
	if s.Notes != nil {
		c.Notes = make(map[string][]byte, len(s.Notes))
		for name, value := range s.Notes {
			c.Notes[name] = bytes.Clone(value)
		}
	}
	return c
}

// size is about what a session takes with its places in maps and list.
func size(s *store.Session) int {
	n := 400 + len(s.ID) + len(s.User) + len(s.Device)
	for i := range s.Subscriptions {
		n += 80 + len(s.Subscriptions[i].Filter)
		for topic, at := range s.Subscriptions[i].Acked {
			n += 80 + len(topic) + len(at.Epoch)
		}
	}
	for name, value := range s.Notes {
		n += 80 + len(name) + len(value)
	}
	return n
}
