package torture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Violation is a promise that was broken, for a person to read.
type Violation struct {
	Client, Topic, What string
}

func (v Violation) String() string { return fmt.Sprintf("%s on %s: %s", v.Client, v.Topic, v.What) }

// place is where a message stands.
type place struct {
	topic string
	seq   uint64
}

// checker collects what all clients agree on.
type checker struct {
	at       map[place]string // which value stands there
	where    map[string]place // and the other way round
	accepted map[string]place
	epochs   map[string]string
	found    []Violation
}

// Check reads all journals and returns the promises that were broken:
//
//   - an accepted message that a receiver which was always subscribed never got;
//   - a message that stands in two places, or a place with two messages;
//   - messages of one publisher stored in another order than they were published;
//   - a receiver that got messages out of order;
//   - a repeat: any at all where exactly once was promised, and otherwise one
//     that no lost connection or killed process explains;
//   - a gap, for everything here is kept.
func Check(journals []Journal) []Violation {
	c := &checker{at: map[place]string{}, where: map[string]place{}, accepted: map[string]place{}, epochs: map[string]string{}}
	for _, j := range journals {
		c.agree(j)
	}
	for _, j := range journals {
		switch j.Promise {
		case Publisher:
			c.publisher(j)
		case Repeater:
		case AtLeastOnce, ExactlyOnce:
			c.receiver(j)
		case Group:
		}
	}
	c.complete(journals)
	return c.found
}

func (c *checker) report(j Journal, topic, format string, args ...any) {
	c.found = append(c.found, Violation{j.Client, topic, fmt.Sprintf(format, args...)})
}

// agree notes where each value stands, and whether all clients say the same.
func (c *checker) agree(j Journal) {
	for _, e := range j.Entries {
		if e.Kind == Gap {
			c.report(j, e.Topic, "the server says that messages are lost")
		}
		if e.Kind != Got && e.Kind != Accepted {
			continue
		}
		if known := c.epochs[e.Topic]; known != "" && e.Epoch != known {
			c.report(j, e.Topic, "epoch %s, before it was %s: the history was lost", e.Epoch, known)
		}
		c.epochs[e.Topic] = e.Epoch
		p := place{e.Topic, e.Seq}
		if value, known := c.at[p]; known && value != e.Value {
			c.report(j, e.Topic, "at %d stands %s, and elsewhere it was %s", e.Seq, e.Value, value)
		}
		c.at[p] = e.Value
		if other, known := c.where[e.Value]; known && other != p {
			c.report(j, e.Topic, "%s is stored twice, at %s %d and at %d", e.Value, other.topic, other.seq, e.Seq)
		}
		c.where[e.Value] = p
		if e.Kind == Accepted {
			c.accepted[e.Value] = p
		}
	}
}

// publisher checks that what one life of a publisher has sent is stored in that
// order. Whether it was accepted does not matter: what is stored is stored.
func (c *checker) publisher(j Journal) {
	last := map[string]place{}
	for _, e := range j.Entries {
		switch e.Kind {
		case Begun:
			clear(last)
		case Tried:
			p, stored := c.where[e.Value]
			if !stored {
				continue
			}
			if before := last[e.Topic]; p.seq < before.seq {
				c.report(j, e.Topic, "%s was published after %s and stands before it, at %d and %d", e.Value, c.at[before], p.seq, before.seq)
			}
			last[e.Topic] = p
		case Accepted, Refused, Got, Cut, Gap:
		}
	}
}

// receiver checks the order of what came, and that repeats are explained.
func (c *checker) receiver(j Journal) {
	type progress struct{ newest, since uint64 }
	at := map[string]*progress{}
	for _, e := range j.Entries {
		switch e.Kind {
		case Begun, Cut:
			for _, p := range at {
				p.since = 0 // what comes now may go back
			}
		case Got:
			p := at[e.Topic]
			if p == nil {
				p = &progress{}
				at[e.Topic] = p
			}
			switch {
			case e.Seq <= p.newest && j.Promise == ExactlyOnce:
				c.report(j, e.Topic, "%d came again, after %d", e.Seq, p.newest)
			case e.Seq <= p.since:
				c.report(j, e.Topic, "%d came after %d on one connection", e.Seq, p.since)
			case e.Seq > p.newest+1:
				c.skipped(j, e.Topic, p.newest+1, e.Seq)
			}
			p.since, p.newest = e.Seq, max(p.newest, e.Seq)
		case Tried, Accepted, Refused, Gap:
		}
	}
}

// skipped reports the messages that stand between two that came one after the
// other.
func (c *checker) skipped(j Journal, topic string, from, to uint64) {
	for seq := from; seq < to; seq++ {
		if value, there := c.at[place{topic, seq}]; there {
			c.report(j, topic, "%d came, and %s at %d did not come before it", to, value, seq)
		}
	}
}

// complete checks that everything that was accepted has come to everybody: to
// each receiver, and to some member of the group.
func (c *checker) complete(journals []Journal) {
	var group Journal
	for _, j := range journals {
		switch j.Promise {
		case Group:
			group.Client = strings.TrimPrefix(group.Client+"+"+j.Client, "+")
			group.Entries = append(group.Entries, j.Entries...)
		case AtLeastOnce, ExactlyOnce:
			c.missing(j)
		case Publisher, Repeater:
		}
	}
	if group.Client != "" {
		c.missing(group)
	}
}

func (c *checker) missing(j Journal) {
	got := map[string]bool{}
	for _, e := range j.Entries {
		if e.Kind == Got {
			got[e.Value] = true
		}
	}
	var lost []string
	for value := range c.accepted {
		if !got[value] {
			lost = append(lost, value)
		}
	}
	slices.SortFunc(lost, func(a, b string) int { return cmp.Compare(c.accepted[a].seq, c.accepted[b].seq) })
	for _, value := range lost {
		c.report(j, c.accepted[value].topic, "%s was accepted at %d and never came", value, c.accepted[value].seq)
	}
}
