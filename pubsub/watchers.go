package pubsub

import (
	"sync"

	"github.com/parleyhq/parley/hub"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// watchers are the receivers that asked to be told who joins and leaves.
type watchers struct {
	mu     sync.Mutex
	topics map[string]map[hub.Subscriber]struct{}
}

func (w *watchers) add(topic string, s hub.Subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.topics == nil {
		w.topics = make(map[string]map[hub.Subscriber]struct{})
	}
	if w.topics[topic] == nil {
		w.topics[topic] = make(map[hub.Subscriber]struct{})
	}
	w.topics[topic][s] = struct{}{}
}

func (w *watchers) remove(topic string, s hub.Subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.topics[topic], s)
	if len(w.topics[topic]) == 0 {
		delete(w.topics, topic)
	}
}

func (w *watchers) tell(topic string, event *parleyv1.Reply) {
	d := &hub.Delivery{Event: event, Droppable: true}
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.topics[topic] {
		s.Deliver(d)
	}
}

// presenceEvents tells the watchers of a topic.
type presenceEvents struct{ s *Service }

// Joined is described at presence.Observer.
func (p presenceEvents) Joined(topic, user string) {
	p.s.watchers.tell(topic, &parleyv1.Reply{Reply: &parleyv1.Reply_Joined{Joined: &parleyv1.Joined{Topic: topic, User: user}}})
}

// Left is described at presence.Observer.
func (p presenceEvents) Left(topic, user string) {
	p.s.watchers.tell(topic, &parleyv1.Reply{Reply: &parleyv1.Reply_Left{Left: &parleyv1.Left{Topic: topic, User: user}}})
}
