package server

import (
	"cmp"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server/config"
)

const (
	defaultHistoryAge = 5 * time.Minute
	durableHistoryAge = 7 * 24 * time.Hour

	durableTopics  = "public/durable/#"
	durableHistory = 1_000_000
	durableBytes   = 1 << 30
)

// topicOptions says how topics behave: those that are durable unless the
// configuration has something else for the same pattern, and those it names.
func topicOptions(c config.Config, durable bool) []parley.Option {
	var options []parley.Option
	if durable {
		options = append(options, parley.WithTopic(durableTopics, topicSettings(config.Topic{
			Durable: true, History: durableHistory, HistoryBytes: durableBytes,
		})))
	}
	for _, t := range c.Topics {
		options = append(options, parley.WithTopic(t.Pattern, topicSettings(t)))
	}
	return options
}

func topicSettings(t config.Topic) parley.TopicSettings {
	age := t.HistoryAge
	switch {
	case age != 0 || t.History == 0:
	case t.Durable:
		age = durableHistoryAge
	default:
		age = defaultHistoryAge
	}
	return parley.TopicSettings{
		History: t.History, HistoryAge: age, HistoryBytes: t.HistoryBytes, Durable: t.Durable, Sync: t.Sync,
		KeyWindow: cmp.Or(t.KeyWindow, max(age, defaultHistoryAge)), Keys: t.Keys, Receipts: t.Receipts, NoPresence: t.NoPresence,
		Pressure: t.Pressure, SampleEvery: t.SampleEvery, PressureKey: t.PressureKey, BatchDelay: t.BatchDelay, BatchBytes: t.BatchBytes,
	}
}
