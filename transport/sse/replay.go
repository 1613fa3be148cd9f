package sse

import (
	"context"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

// A pattern is subscribed from now on. What was published on its topics while
// the client was away is read here, by the goroutine that also writes what
// comes live: that waits in the queue meanwhile, and what of it was read
// already is left out.

// newsPage is how many topics are asked for, and messages read, at once.
const newsPage = 200

// crowded is how many topics of patterns an id names before it is made shorter,
// and rebaseEvery how often that is done in any case, unless messages may have
// been handed over that are neither sent nor queued: for settling after the
// last sign of that.
const (
	crowded     = 16
	rebaseEvery = time.Minute
	settling    = 10 * time.Second
)

// replay is what is read for the patterns of one request.
type replay struct {
	topics *pubsub.Service
	ask    *ask
	at     *cursor
	emit   func(item) error
	// read is how far each topic was, so that nothing is sent twice.
	read  map[string]message.Position
	until time.Time // live messages may repeat what was read
}

// run reads everything, until emit fails.
func (r *replay) run(ctx context.Context) error {
	patterns := r.ask.resumed()
	if len(patterns) == 0 {
		return nil
	}
	r.read = make(map[string]message.Position)
	mark, _, err := r.topics.Mark(ctx) // what is up to it is kept by now, and read
	if err != nil {
		return err
	}
	for _, f := range patterns {
		if err := r.pattern(ctx, f, r.ask.wants[string(f)].since.Seq); err != nil {
			return err
		}
	}
	r.at.rebase(patterns, mark)
	r.until = time.Now().Add(settling)
	return nil
}

func (r *replay) pattern(ctx context.Context, f topic.Filter, mark uint64) error {
	for from := topic.Name(""); ; {
		list, err := r.topics.News(ctx, f, mark, from, newsPage)
		if err != nil {
			return err
		}
		for _, n := range list {
			if err := r.topic(ctx, n); err != nil {
				return err
			}
		}
		if len(list) < newsPage {
			return nil
		}
		from = list[len(list)-1].Topic
	}
}

// topic reads one topic, unless that was asked for by name, or was read for
// another pattern.
func (r *replay) topic(ctx context.Context, n broker.News) error {
	name := string(n.Topic)
	if _, named := r.ask.wants[name]; named {
		return nil
	}
	if _, again := r.read[name]; again {
		return nil
	}
	p, known := r.at.position(name)
	if !known {
		p = message.Position{Epoch: n.Position.Epoch, Seq: n.After}
	}
	for count := 0; ; {
		page, err := r.topics.History(ctx, n.Topic, broker.Query{Epoch: p.Epoch, After: p.Seq, Limit: newsPage})
		if err != nil {
			return err
		}
		if page.Gap {
			r.read[name] = page.Position
			return r.lost(name, page.Position)
		}
		if count += len(page.Messages); !known && !page.More && count >= r.topics.Settings(n.Topic).History {
			// As many as are kept at all: there may have been more.
			if err := r.lost(name, p); err != nil {
				return err
			}
		}
		for _, m := range page.Messages {
			if err := r.message(m); err != nil {
				return err
			}
			p = m.Position()
		}
		if r.read[name] = p; !page.More {
			return nil
		}
	}
}

func (r *replay) message(m *message.Message) error {
	if m.Expired(time.Now()) {
		return nil
	}
	d := &hub.Delivery{Message: m}
	return r.emit(item{frame: d.Frame(form{}), message: m})
}

// lost tells of a gap in a topic that goes on behind p.
func (r *replay) lost(name string, p message.Position) error {
	return r.emit(itemOf(gapReply(&parleyv1.Gap{Topic: name, Position: protocol.WirePosition(p)})))
}

// repeats reports whether a live item was read before.
func (r *replay) repeats(it item) bool {
	if r.read == nil || it.message == nil || it.message.Seq == 0 {
		return false
	}
	p, known := r.read[it.message.Topic]
	return known && p.Epoch == it.message.Epoch && it.message.Seq <= p.Seq
}

// forget gives back what repeats needs, when nothing can be repeated any more.
func (r *replay) forget() {
	if r.read != nil && !r.until.IsZero() && time.Now().After(r.until) {
		r.read = nil
	}
}
