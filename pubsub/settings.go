package pubsub

import (
	"cmp"
	"fmt"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/topic"
)

// Settings say how the topics of a pattern behave. The most specific pattern
// that matches a topic decides; nothing is inherited from a wider one.
type Settings struct {
	// History is how many messages each topic keeps, HistoryAge for how long.
	// 0 keeps nothing: a receiver that was away begins from now.
	History    int
	HistoryAge time.Duration
	// HistoryBytes is about how much each topic keeps; 0: no limit of its own.
	HistoryBytes int64
	// Durable topics are on a disk: what was accepted outlives the process, and
	// what their people missed is read from there. Sync says when a message
	// counts as accepted; SyncAlways unless set.
	Durable bool
	Sync    Sync
	// KeyWindow is how long the key of a publish is remembered, so that a
	// repeat of it is stored once. 0: 5 minutes.
	KeyWindow time.Duration
	// Keys is for how many publishes of a topic at most. 0: 10,000.
	Keys int
	// Receipts says what the people on a topic are told about how far the
	// others have got: nothing unless set.
	Receipts receipts.Mode
	// NoPresence leaves the topics out of presence: nobody can ask who is
	// there. Worth it for topics with a great many receivers.
	NoPresence bool
	// AtMostOnce gives every subscription QoS 0, whatever it asks for.
	// Without it the highest is 2.
	AtMostOnce bool
	// Pressure is what happens to messages for a receiver that does not take
	// them as fast as they come: hub.PressureDisconnect unless set, and for
	// durable topics hub.PressureSpill in its place. It is told what it was not
	// sent.
	Pressure hub.Pressure
	// SampleEvery is the interval of hub.PressureSample. 0: a second.
	SampleEvery time.Duration
	// PressureKey is the header that holds the key of hub.PressureLatest; the
	// key of a publish is another thing, it makes a repeat harmless. Messages
	// without the header share one key. "": the header named key.
	PressureKey string
	// BatchDelay lets what is sent to a receiver wait for more, at most that
	// long and until BatchBytes wait (0: 16 KiB), so that fewer, larger writes
	// are made. It may make a difference above a few hundred messages a second.
	// 0: nothing waits.
	BatchDelay time.Duration
	BatchBytes int

	shape *hub.Shape
}

// maxBatchDelay is far more than anybody needs.
const maxBatchDelay = 10 * time.Second

// shaped returns s with its shape, for what differs from the usual.
func (s Settings) shaped() Settings {
	if s.Durable && s.Pressure == hub.PressureDisconnect {
		s.Pressure = hub.PressureSpill
	}
	if s.Pressure != hub.PressureDisconnect || s.BatchDelay > 0 {
		s.shape = &hub.Shape{
			Pressure: s.Pressure, Every: cmp.Or(s.SampleEvery, time.Second), Header: cmp.Or(s.PressureKey, "key"),
			BatchDelay: s.BatchDelay, BatchBytes: cmp.Or(s.BatchBytes, 16<<10),
		}
	}
	return s
}

// DefaultSettings are those of topics that no pattern matches: a short
// history in memory.
func DefaultSettings() Settings {
	return Settings{History: 100, HistoryAge: 5 * time.Minute}
}

// Pattern is the settings of the topics that match a filter.
type Pattern struct {
	Settings

	Filter string
}

func (s Settings) check() error {
	switch {
	case s.History < 0 || s.HistoryAge < 0 || s.KeyWindow < 0:
		return fmt.Errorf("history, its age and the key window cannot be negative")
	case !s.Receipts.Valid():
		return fmt.Errorf("there are no receipts of the kind %d", s.Receipts)
	case int(s.Pressure) >= hub.Pressures:
		return fmt.Errorf("there is no pressure policy %d", s.Pressure)
	case s.Pressure == hub.PressureSpill && s.History == 0:
		return fmt.Errorf("what spills is read from the history, and there is none: set History and HistoryAge, for example 1,000 and 1h")
	case s.SampleEvery < 0 || s.BatchBytes < 0 || s.BatchDelay < 0:
		return fmt.Errorf("an interval, a delay and a number of bytes cannot be negative")
	case s.BatchDelay > maxBatchDelay:
		return fmt.Errorf("a batch that waits %v is too late: set BatchDelay to at most %v, for example 20ms", s.BatchDelay, maxBatchDelay)
	case s.BatchBytes > 0 && s.BatchDelay == 0:
		return fmt.Errorf("a batch of %d bytes needs a longest delay: set BatchDelay, for example 20ms", s.BatchBytes)
	case s.History > 0 && s.HistoryAge == 0:
		return fmt.Errorf("a history of %d messages needs an age: set HistoryAge, for example 5m", s.History)
	}
	return s.checkDurable()
}

// defaultKeyWindow outlasts the retries of a client that was cut off.
const defaultKeyWindow = 5 * time.Minute

// MaxQoS is the highest quality of service a subscription gets.
func (s Settings) MaxQoS() uint32 {
	if s.AtMostOnce {
		return 0
	}
	return 2
}

func (s Settings) options(ephemeral bool) broker.Options {
	return broker.Options{
		History: s.History, HistoryAge: s.HistoryAge, HistoryBytes: s.HistoryBytes,
		KeyWindow: cmp.Or(s.KeyWindow, defaultKeyWindow), Keys: s.Keys, Durability: s.durability(), Ephemeral: ephemeral,
	}
}

func settingsTree(patterns []Pattern) (*topic.Tree[Settings], error) {
	var tree topic.Tree[Settings]
	for _, p := range patterns {
		f, err := topic.ParseFilter(p.Filter)
		if err == nil {
			err = p.check()
		}
		if err != nil {
			return nil, fmt.Errorf("settings of topics %q: %w", p.Filter, err)
		}
		tree.Set(f, p.Settings.shaped())
	}
	return &tree, nil
}
