// Package presence knows who is on which topic of this node.
//
// A person is present while at least one of their sessions is; they leave when
// they have been gone for a grace period, so that a reload or a change of
// network is not seen by others.
package presence

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// DefaultGrace is how long somebody may be gone before they have left.
const DefaultGrace = 5 * time.Second

// maxSeen bounds how many people's last visit is remembered.
const maxSeen = 100_000

// Member is one person on a topic.
type Member struct {
	User    string
	Name    string
	Devices int // sessions; 0 during the grace period
	Since   time.Time
}

// member is a Member as it is kept: there are as many as subscriptions.
type member struct {
	name    string
	since   int64 // Unix nanoseconds, like leaves
	leaves  int64 // while devices is 0
	devices int32
}

// Observer is told who comes and goes. Calls for one topic are made in order,
// and must not block or call the tracker.
type Observer interface {
	Joined(topic, user string)
	Left(topic, user string)
}

// Tracker keeps the members of all topics. Methods may be called concurrently.
type Tracker struct {
	grace    time.Duration
	observer Observer
	wake     chan struct{} // the queue of departures is no longer empty

	mu        sync.Mutex
	topics    map[string]map[string]*member
	leaving   []departure // oldest first, all with the same grace
	seen      map[string]time.Time
	seenOrder []string
}

type departure struct {
	topic, user string
	at          time.Time
}

// New returns an empty tracker; with grace 0 it waits DefaultGrace. Somebody
// must call Run.
func New(grace time.Duration, o Observer) *Tracker {
	if grace == 0 {
		grace = DefaultGrace
	}
	return &Tracker{
		grace: grace, observer: o, wake: make(chan struct{}, 1),
		topics: make(map[string]map[string]*member), seen: make(map[string]time.Time),
	}
}

// Join adds one session of a person to a topic.
func (t *Tracker) Join(topic, user, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	members := t.topics[topic]
	if members == nil {
		members = make(map[string]*member)
		t.topics[topic] = members
	}
	if m := members[user]; m != nil {
		m.devices++
		m.name = cmp.Or(name, m.name)
		return
	}
	members[user] = &member{name: name, devices: 1, since: time.Now().UnixNano()}
	t.observer.Joined(topic, user)
}

// Leave takes one session of a person off a topic.
func (t *Tracker) Leave(topic, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.topics[topic][user]
	if m == nil || m.devices == 0 {
		return
	}
	if m.devices--; m.devices > 0 {
		return
	}
	at := time.Now().Add(t.grace)
	m.leaves = at.UnixNano()
	t.leaving = append(t.leaving, departure{topic, user, at})
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Members returns who is on a topic, those who came first first.
func (t *Tracker) Members(topic string) []Member {
	t.mu.Lock()
	out := make([]Member, 0, len(t.topics[topic]))
	for user, m := range t.topics[topic] {
		out = append(out, Member{User: user, Name: m.name, Devices: int(m.devices), Since: time.Unix(0, m.since)})
	}
	t.mu.Unlock()
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.User, b.User))
	})
	return out
}

// LastSeen returns when a person last left a topic, if that is remembered.
func (t *Tracker) LastSeen(user string) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.seen[user]
	return at, ok
}

// Topics returns how many topics somebody is on.
func (t *Tracker) Topics() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.topics)
}

// Run lets people leave when their grace is over, until ctx ends.
func (t *Tracker) Run(ctx context.Context) {
	timer := time.NewTimer(t.grace)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
		if wait, more := t.depart(time.Now()); more {
			timer.Reset(wait)
		}
	}
}

// depart ends the grace of those whose time has come, and returns how long to
// wait for the next.
func (t *Tracker) depart(now time.Time) (wait time.Duration, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.leaving) > 0 {
		d := t.leaving[0]
		if wait := d.at.Sub(now); wait > 0 {
			return wait, true
		}
		t.leaving[0] = departure{}
		t.leaving = t.leaving[1:]
		t.gone(d)
	}
	return 0, false
}

func (t *Tracker) gone(d departure) {
	members := t.topics[d.topic]
	// Whoever came back and left again has a later departure in the queue.
	if m := members[d.user]; m == nil || m.devices > 0 || m.leaves != d.at.UnixNano() {
		return
	}
	delete(members, d.user)
	if len(members) == 0 {
		delete(t.topics, d.topic)
	}
	if _, known := t.seen[d.user]; !known {
		if len(t.seenOrder) >= maxSeen {
			delete(t.seen, t.seenOrder[0])
			t.seenOrder = t.seenOrder[1:]
		}
		t.seenOrder = append(t.seenOrder, d.user)
	}
	t.seen[d.user] = d.at.Add(-t.grace)
	t.observer.Left(d.topic, d.user)
}
