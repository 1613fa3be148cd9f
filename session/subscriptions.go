package session

import (
	"iter"

	"github.com/parleyhq/parley/pubsub"
)

// subscription is one filter a client receives.
type subscription struct {
	feed     *pubsub.Feed
	qos      uint32
	presence bool
}

// saved tells where the subscription goes on: at QoS 1 behind what the client
// has acknowledged, at QoS 0 from now, for what is on a cable that was cut is
// known to nobody. A client that counts for itself says where to go on in its
// connect command.
func (sub *subscription) saved() saved {
	filter := sub.feed.Filter()
	out := saved{filter: string(filter), qos: sub.qos, presence: sub.presence}
	if at, ok := sub.feed.Saved().Acked[string(filter)]; ok {
		out.at = &at
	}
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
