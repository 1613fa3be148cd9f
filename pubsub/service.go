// Package pubsub is what can be asked of a topic: publish to it, receive from
// it, read its history, see who is there. It checks permission, places
// messages through the broker, and hands what the broker carries to the hub.
package pubsub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/presence"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// MaxHistory is the most messages one history request returns.
const MaxHistory = 1000

// MaxHistoryBytes is about how large one such answer becomes: a few bytes of
// request must not make a node hold megabytes.
const MaxHistoryBytes = 512 << 10

// defaultWindow is how much may be unacknowledged unless Config.Window says more.
const defaultWindow = 256

// maxKey is the longest key of a publish, in bytes.
const maxKey = 256

// Config is what a Service is made of. Broker and Authorizer are required.
type Config struct {
	Broker     broker.Broker
	Authorizer auth.Authorizer
	Topics     []Pattern
	Default    *Settings // nil: DefaultSettings
	Grace      time.Duration
	// Groups keeps how far groups of consumers have got; nil: they last as long
	// as they have members, and a minute longer.
	Groups store.Groups
	// Window is how many messages a subscription with QoS 1 may have handed over
	// and not acknowledged: 256.
	Window int
	// RecentBytes is about what the messages may take that are kept at hand for
	// those who come back: 32 MiB.
	RecentBytes int64
	// Receipts keeps how far people have got, where the settings ask for it. nil:
	// within the process.
	Receipts store.Receipts
	Log      *slog.Logger
}

// Direct receives what is sent to people and connections rather than to a
// topic: names that begin with '$'.
type Direct interface {
	DeliverDirect(name topic.Name, d *hub.Delivery) int
}

// Service answers for all topics of a node. Methods may be called concurrently.
type Service struct {
	broker   broker.Broker
	hub      *hub.Hub
	presence *presence.Tracker
	rules    auth.Authorizer
	settings *topic.Tree[Settings]
	fallback Settings
	window   int
	recent   *hub.Recent
	again    *hub.Shape // of what is handed over from the log
	reads    reads
	readers  readers
	groups   groups
	store    store.Groups    // nil when there is none
	base     context.Context // of reading; set by Start
	log      *slog.Logger
	direct   Direct
	watchers watchers
	receipts *receipts.Book

	mu    sync.RWMutex // guards trees
	trees topic.Tree[auth.Authorizer]

	entropy struct {
		sync.Mutex
		*ulid.MonotonicEntropy
	}
	published, delivered atomic.Uint64
	background           sync.WaitGroup
}

// New returns a service that is not started.
func New(c Config) (*Service, error) {
	tree, err := settingsTree(c.Topics)
	if err != nil {
		return nil, err
	}
	fallback := DefaultSettings()
	if c.Default != nil {
		if fallback = *c.Default; fallback.check() != nil {
			return nil, fallback.check()
		}
	}
	if err := supports(c.Broker, c.Topics, fallback); err != nil {
		return nil, err
	}
	s := &Service{broker: c.Broker, hub: hub.New(), rules: c.Authorizer, settings: tree, fallback: fallback, log: cmp.Or(c.Log, slog.Default())}
	s.fallback = s.fallback.shaped()
	s.store = c.Groups
	s.window = cmp.Or(c.Window, defaultWindow)
	s.recent = hub.NewRecent(cmp.Or(c.RecentBytes, 32<<20))
	s.again = &hub.Shape{Pressure: hub.PressureSpill}
	s.presence = presence.New(c.Grace, presenceEvents{s})
	s.receipts = newBook(s, c.Receipts)
	s.entropy.MonotonicEntropy = ulid.Monotonic(rand.Reader, 0)
	return s, nil
}

// Start begins delivery; direct messages go to d. What runs ends when ctx
// does, and Wait returns when it has.
func (s *Service) Start(ctx context.Context, d Direct) error {
	s.direct, s.base = d, ctx
	if err := s.broker.Start(s); err != nil {
		return err
	}
	s.background.Go(func() { s.presence.Run(ctx) })
	s.background.Go(func() { s.receipts.Run(ctx) })
	s.background.Go(func() {
		<-ctx.Done()
		s.readers.close()
		s.groups.close()
	})
	return nil
}

// Wait returns when everything that Start began has ended.
func (s *Service) Wait() { s.background.Wait() }

// Settings returns how a topic behaves.
func (s *Service) Settings(name topic.Name) Settings {
	if source, ok := deadSource(string(name)); ok {
		name = topic.Name(source)
	}
	if v, ok := s.settings.Best(name); ok {
		return v
	}
	return s.fallback
}

// Publication is a request to publish.
type Publication struct {
	Message   *message.Message // ID, position and time are filled in; owned by the service afterwards
	Ephemeral bool
}

// Publish places a message and calls done when the broker has accepted it.
// Nothing is checked about permission: that is asked before, by Authorize.
func (s *Service) Publish(p Publication, done func(broker.Result, error)) {
	m := p.Message
	name, err := topic.ParseName(m.Topic)
	if err != nil {
		done(broker.Result{}, protocol.BadRequest.Errorf("publish: %w", err))
		return
	}
	now := time.Now()
	m.Time = now.UnixMilli()
	m.ID = s.newID(now)
	if len(m.Key) > maxKey {
		done(broker.Result{}, protocol.BadRequest.Errorf("publish: the key has %d bytes, at most %d", len(m.Key), maxKey))
		return
	}
	s.published.Add(1)
	s.broker.Publish(m, s.optionsOf(name, p.Ephemeral), func(r broker.Result, err error) { done(r, brokerError(err)) })
}

func (s *Service) optionsOf(name topic.Name, ephemeral bool) broker.Options {
	// What is sent to a person directly is not kept here: an inbox is a topic
	// of its own with settings of its own.
	return s.Settings(name).options(ephemeral)
}

func brokerError(err error) error {
	var hole *broker.SequenceError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &hole):
		refusal := protocol.OutOfSequence.Errorf("publish: %w", err)
		refusal.Next = hole.Next
		return refusal
	case errors.Is(err, broker.ErrFenced):
		return protocol.Fenced.Errorf("publish: %w: use another producer id", err)
	case errors.Is(err, broker.ErrFailed):
		return protocol.Internal.Hide(err, "this node's disk failed: nothing more can be stored here")
	case errors.Is(err, broker.ErrClosed):
		return protocol.Draining.Hide(err, "this node is shutting down: connect again")
	case errors.Is(err, broker.ErrOverloaded):
		return protocol.Overloaded.Hide(err, "this node has too many topics: try again later")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return protocol.Timeout.Hide(err, "the message was not accepted in time; it may still be: publish again with the same key")
	}
	return protocol.Internal.Hide(err, "the message could not be stored: try again later")
}

func (s *Service) newID(now time.Time) string {
	s.entropy.Lock()
	defer s.entropy.Unlock()
	id, err := ulid.New(ulid.Timestamp(now), s.entropy.MonotonicEntropy)
	if err != nil { // more than 2^80 in one millisecond, or a clock before 1970
		return ulid.Make().String()
	}
	return id.String()
}

// HandleMessage is called by the broker with what it carries.
func (s *Service) HandleMessage(m *message.Message) {
	if m.Expired(time.Now()) {
		return
	}
	d := &hub.Delivery{Message: m, Droppable: m.Seq == 0}
	if name := topic.Name(m.Topic); isDirect(m.Topic) {
		s.delivered.Add(uint64(s.direct.DeliverDirect(name, d)))
	} else {
		set := s.Settings(name)
		d.Shape = set.shape
		if d.Kept = m.Seq > 0 && set.keeps(); d.Kept {
			s.recent.Extend(m.Topic, m.Epoch, m.Prev, func() *hub.Delivery { return s.kept(d) })
		}
		s.delivered.Add(uint64(s.hub.Deliver(name, d)))
	}
}

// kept is d as it is handed over from the log: the same, if its topic spills
// anyway, so that both are encoded once.
func (s *Service) kept(d *hub.Delivery) *hub.Delivery {
	if d.Shape != nil && d.Shape.Pressure == hub.PressureSpill && d.Shape.BatchDelay == 0 {
		return d
	}
	return &hub.Delivery{Message: d.Message, Kept: true, Shape: s.again}
}

// Names of direct topics. They are delivered without subscribing.
const (
	UserPrefix    = "$user/"
	SessionPrefix = "$session/"
	RolePrefix    = "$role/"
	Everybody     = "$all"
)

func isDirect(name string) bool {
	return name == Everybody || strings.HasPrefix(name, UserPrefix) ||
		strings.HasPrefix(name, SessionPrefix) || strings.HasPrefix(name, RolePrefix)
}

// History reads what a topic keeps.
func (s *Service) History(ctx context.Context, name topic.Name, q broker.Query) (broker.Page, error) {
	q.Limit = min(q.Limit, MaxHistory)
	page, err := s.broker.History(ctx, name, q)
	return bounded(page, q.Newest), brokerError(err)
}

// bounded leaves out what makes a page larger than MaxHistoryBytes, though
// never its first message.
func bounded(p broker.Page, newest bool) broker.Page {
	size := 0
	for i := range p.Messages {
		at := i
		if newest {
			at = len(p.Messages) - 1 - i
		}
		if size += p.Messages[at].Size(); size <= MaxHistoryBytes || i == 0 {
			continue
		}
		p.More = true
		if newest {
			p.Messages = p.Messages[at+1:]
		} else {
			p.Messages = p.Messages[:at]
		}
		break
	}
	return p
}

// Presence returns who is on a topic.
func (s *Service) Presence(name topic.Name) ([]presence.Member, error) {
	if s.Settings(name).NoPresence {
		return nil, protocol.NotFound.Errorf("the topic %s keeps no presence", name)
	}
	return s.presence.Members(string(name)), nil
}

// LastSeen returns when a person last left a topic, if that is remembered.
func (s *Service) LastSeen(user string) (time.Time, bool) { return s.presence.LastSeen(user) }

// Stats are counts since the start, and of the moment.
type Stats struct {
	Published, Delivered uint64
	Topics               int // filters somebody on this node wants
}

// Stats returns the counts.
func (s *Service) Stats() Stats {
	return Stats{Published: s.published.Load(), Delivered: s.delivered.Load(), Topics: s.hub.Topics()}
}
