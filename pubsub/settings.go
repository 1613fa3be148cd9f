package pubsub

import (
	"cmp"
	"fmt"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/topic"
)

// Settings say how the topics of a pattern behave. The most specific pattern
// that matches a topic decides; nothing is inherited from a wider one.
type Settings struct {
	// History is how many messages each topic keeps, HistoryAge for how long.
	// 0 keeps nothing: a receiver that was away begins from now.
	History    int
	HistoryAge time.Duration
	// KeyWindow is how long the key of a publish is remembered, so that a
	// repeat of it is stored once. 0: 5 minutes.
	KeyWindow time.Duration
	// NoPresence leaves the topics out of presence: nobody can ask who is
	// there. Worth it for topics with a great many receivers.
	NoPresence bool
	// AtMostOnce gives every subscription QoS 0, whatever it asks for.
	// Without it the highest is 1.
	AtMostOnce bool
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
	case s.History > 0 && s.HistoryAge == 0:
		return fmt.Errorf("a history of %d messages needs an age: set HistoryAge, for example 5m", s.History)
	}
	return nil
}

// defaultKeyWindow outlasts the retries of a client that was cut off.
const defaultKeyWindow = 5 * time.Minute

// MaxQoS is the highest quality of service a subscription gets.
func (s Settings) MaxQoS() uint32 {
	if s.AtMostOnce {
		return 0
	}
	return 1
}

func (s Settings) options(ephemeral bool) broker.Options {
	return broker.Options{History: s.History, HistoryAge: s.HistoryAge, KeyWindow: cmp.Or(s.KeyWindow, defaultKeyWindow), Ephemeral: ephemeral}
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
		tree.Set(f, p.Settings)
	}
	return &tree, nil
}
