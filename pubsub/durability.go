package pubsub

import (
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/broker"
)

// Sync says what a message of a durable topic has survived when its publisher
// is told that it was accepted.
type Sync uint8

const (
	// SyncAlways is on the disk, and survives kill -9 and a power cut.
	SyncAlways Sync = iota
	// SyncInterval will be on the disk within a second. A killed process or a
	// power cut loses what came in that second.
	SyncInterval
	// SyncNever will be on the disk when the system thinks fit.
	SyncNever
)

func syncs() []string {
	return []string{SyncAlways: "always", SyncInterval: "interval", SyncNever: "never"}
}

// String returns the name that the configuration uses.
func (s Sync) String() string {
	if names := syncs(); int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Sync(%d)", uint8(s))
}

// UnmarshalText understands the names that String returns.
func (s *Sync) UnmarshalText(name []byte) error {
	i := slices.Index(syncs(), string(name))
	if i < 0 {
		return fmt.Errorf("use %s", strings.Join(syncs(), ", "))
	}
	*s = Sync(i)
	return nil
}

// durability returns what the broker has to do for it.
func (s Settings) durability() broker.Durability {
	switch {
	case !s.Durable:
		return broker.Memory
	case s.Sync == SyncNever:
		return broker.SyncNever
	case s.Sync == SyncInterval:
		return broker.SyncInterval
	}
	return broker.SyncAlways
}

// checkDurable is the part of check about durable topics.
func (s Settings) checkDurable() error {
	switch {
	case int(s.Sync) >= len(syncs()):
		return fmt.Errorf("there is no way to sync %d", s.Sync)
	case s.HistoryBytes < 0 || s.Keys < 0:
		return fmt.Errorf("a number of bytes or keys cannot be negative")
	case s.Durable && s.History == 0:
		return fmt.Errorf("a durable topic keeps messages: set History and HistoryAge, for example 100,000 and 168h")
	case !s.Durable && s.Sync != SyncAlways:
		return fmt.Errorf("sync is about durable topics, and this one is in memory: set Durable")
	}
	return nil
}

// supports returns an error when a broker cannot keep what the settings say.
func supports(b broker.Broker, patterns []Pattern, fallback Settings) error {
	if d, ok := b.(broker.Durabler); ok && d.Durable() {
		return nil
	}
	for _, p := range append(slices.Clone(patterns), Pattern{fallback, "every other topic"}) {
		if p.Durable {
			return fmt.Errorf("settings of topics %q: they are durable, and the broker keeps nothing on a disk: give it one, or leave Durable out", p.Filter)
		}
	}
	return nil
}
