package session

import (
	"iter"

	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// subscription is one filter a client receives.
type subscription struct {
	feed     *pubsub.Feed
	receipts *receipts.Watcher // nil unless the client wants to know
	qos      uint8
}

// close ends it.
func (sub *subscription) close(topics *pubsub.Service) {
	sub.feed.Close()
	if sub.receipts != nil {
		topics.UnwatchReceipts(sub.receipts)
	}
}

// saved tells what it is and where it goes on: at QoS 1 behind what the client
// has acknowledged, at QoS 0 from now, for what is on a cable that was cut is
// known to nobody. A client that counts for itself says where to go on in its
// connect command.
func (sub *subscription) saved() store.Subscription {
	out := sub.feed.Saved()
	out.Receipts = sub.receipts != nil
	return out
}

// subscriptions are those of one client, by filter. Most clients have one, and
// a map for it would be larger than the rest of the session.
type subscriptions struct {
	one  *subscription
	more map[string]*subscription
}

func (ss *subscriptions) len() int {
	if ss.one == nil {
		return len(ss.more)
	}
	return len(ss.more) + 1
}

func (ss *subscriptions) get(filter string) *subscription {
	if ss.one != nil && string(ss.one.feed.Filter()) == filter {
		return ss.one
	}
	return ss.more[filter]
}

func (ss *subscriptions) put(sub *subscription) {
	filter := string(sub.feed.Filter())
	switch {
	case ss.one == nil && ss.more[filter] == nil, ss.one != nil && string(ss.one.feed.Filter()) == filter:
		ss.one = sub
	default:
		if ss.more == nil {
			ss.more = make(map[string]*subscription)
		}
		ss.more[filter] = sub
	}
}

// remove takes the subscription out and returns it; nil when there is none.
func (ss *subscriptions) remove(filter string) *subscription {
	sub := ss.get(filter)
	if sub == ss.one {
		ss.one = nil
	} else {
		delete(ss.more, filter)
	}
	return sub
}

func (ss *subscriptions) all() iter.Seq[*subscription] {
	return func(yield func(*subscription) bool) {
		if ss.one != nil && !yield(ss.one) {
			return
		}
		for _, sub := range ss.more {
			if !yield(sub) {
				return
			}
		}
	}
}

// acknowledging appends those that a message of a topic may have come through
// and that are to be acknowledged.
func (ss *subscriptions) acknowledging(to []*subscription, name string) []*subscription {
	for sub := range ss.all() {
		f := sub.feed.Filter()
		if sub.qos > 0 && (string(f) == name || f.Wildcard() && f.Matches(topic.Name(name))) {
			to = append(to, sub)
		}
	}
	return to
}

// sharing appends those that are members of a group and that a message of a
// topic may have come through.
func (ss *subscriptions) sharing(to []*subscription, group, name string) []*subscription {
	for sub := range ss.all() {
		of, f, err := topic.ParseShare(string(sub.feed.Filter()))
		if err == nil && of == group && f.Matches(topic.Name(name)) {
			to = append(to, sub)
		}
	}
	return to
}
