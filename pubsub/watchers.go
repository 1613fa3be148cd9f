package pubsub

import (
	"context"
	"sync"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
	"github.com/parleyhq/parley/topic"
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

// newBook returns the receipts of a service.
func newBook(s *Service, kept store.Receipts) *receipts.Book {
	if kept == nil {
		kept = memorystore.New(memorystore.Limits{}).Receipts()
	}
	return receipts.New(receipts.Config{
		Store: kept, Log: s.log, Mode: func(name topic.Name) receipts.Mode { return s.Settings(name).Receipts }, Position: s.position,
	})
}

// position returns that of the newest message of a topic.
func (s *Service) position(ctx context.Context, name topic.Name) (message.Position, error) {
	page, err := s.broker.History(ctx, name, broker.Query{})
	return page.Position, err
}

// Delivered notes that everything up to a position of a topic has reached a
// session of a person.
func (s *Service) Delivered(name topic.Name, at message.Position, user, session string) {
	s.receipts.Delivered(name, at, user, session)
}

// Read notes that a person has read everything up to seq of a topic, or to its
// newest message when that is less, and returns how far that is.
func (s *Service) Read(ctx context.Context, name topic.Name, seq uint64, user, session string) (message.Position, error) {
	if err := s.keepsReceipts(name); err != nil {
		return message.Position{}, err
	}
	at, err := s.position(ctx, name)
	if err != nil {
		return at, brokerError(err)
	}
	at.Seq = min(at.Seq, seq)
	if at.Seq > 0 {
		s.receipts.Read(name, at, user, session)
	}
	return at, nil
}

func (s *Service) keepsReceipts(name topic.Name) error {
	if s.Settings(name).Receipts == receipts.None {
		return protocol.NotFound.Errorf("the topic %s keeps no receipts: its settings do not ask for them", name)
	}
	return nil
}

// Receipts returns how far people have got in a topic, as far as its size lets
// that be told: who, or how many, or nothing.
func (s *Service) Receipts(ctx context.Context, name topic.Name) ([]*parleyv1.Receipt, error) {
	if err := s.keepsReceipts(name); err != nil {
		return nil, err
	}
	list, err := s.receipts.List(ctx, name)
	return list, brokerError(err)
}

// WatchReceipts begins telling w how far people get, and UnwatchReceipts ends
// it.
func (s *Service) WatchReceipts(w *receipts.Watcher) { s.receipts.Watch(w) }

// UnwatchReceipts is described at WatchReceipts.
func (s *Service) UnwatchReceipts(w *receipts.Watcher) { s.receipts.Unwatch(w) }

// OnReceipt adds a hook that is called when somebody has got further in a topic
// that keeps receipts: one at a time, beside everything else, and with the
// latest only when it takes its time.
func (s *Service) OnReceipt(f func(store.Receipt)) { s.receipts.OnReceipt(f) }

// People returns how far each person has got in a topic, whatever is told about
// it; nothing when they are more than receipts.MaxCounted.
func (s *Service) People(ctx context.Context, name topic.Name) ([]store.Receipt, error) {
	if err := s.keepsReceipts(name); err != nil {
		return nil, err
	}
	list, err := s.receipts.People(ctx, name)
	return list, brokerError(err)
}
