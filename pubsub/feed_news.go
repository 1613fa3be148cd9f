package pubsub

import (
	"context"
	"slices"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// openAny reads how a feed for a pattern begins: with the last values, or, when
// it goes on from an earlier one, with what came since.
func (f *Feed) openAny(ctx context.Context, r Request) (Start, error) {
	lister, durable := f.s.broker.(broker.Lister)
	durable = durable && f.flow.acks != nil
	start := Start{Recovered: r.Since == nil}
	y := newMany()
	if durable && r.Saved != nil { // its mark is 0 when it began before the first message of all
		start.Recovered = true
		y.resume(*r.Saved)
		f.setAny(y, nil)
		return start, nil
	}
	if durable {
		mark, err := lister.Mark(ctx)
		if err != nil {
			return start, err
		}
		y.base, y.compactAt = mark, compactFrom
	}
	kept, err := f.s.broker.Retained(ctx, f.filter)
	if err != nil {
		return start, err
	}
	recent := time.Now().Add(-lateness).UnixMilli()
	var last []*hub.Delivery
	for _, m := range kept {
		switch {
		case durable && m.Mark > y.base:
			continue // it comes live
		case !durable && m.Time >= recent: // it may come live, too
			y.lines[m.Topic] = &line{epoch: m.Epoch, sent: m.Seq}
		}
		last = append(last, f.s.lastValue(m))
	}
	f.setAny(y, last)
	return start, nil
}

// resume makes y begin where an earlier feed ended: the topics it names go on
// from there, all others from the mark.
func (y *many) resume(saved store.Subscription) {
	y.base, y.scanning, y.compactAt = saved.Mark, true, compactFrom
	for name, at := range saved.Acked {
		y.lines[name] = &line{epoch: at.Epoch, sent: at.Seq, acked: &acked{seq: at.Seq}, owed: true}
		y.queue = append(y.queue, name)
	}
	slices.Sort(y.queue)
}

// setAny tells the flow of a pattern how it begins.
func (f *Feed) setAny(y *many, kept []*hub.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.flow.aside()
	if r.many != nil { // topics of which too much arrived meanwhile
		for name, l := range r.many.lines {
			if y.lines[name] == nil {
				y.lines[name] = l
				y.queue = append(y.queue, name)
			}
		}
	}
	r.many, r.kept = y, kept
}

// newsOf returns the position behind which all messages of a topic are newer
// than mark.
func (f *Feed) newsOf(ctx context.Context, name topic.Name, mark uint64) (message.Position, error) {
	lister, ok := f.s.broker.(broker.Lister)
	if !ok {
		return message.Position{}, nil
	}
	list, err := lister.News(ctx, topic.Filter(name), mark, "", 1)
	if err != nil || len(list) == 0 {
		return message.Position{}, err
	}
	return message.Position{Epoch: list[0].Position.Epoch, Seq: list[0].After}, nil
}

// findNews looks which topics have something for the feed.
func (f *Feed) findNews(ctx context.Context, j job) error {
	list, err := f.news(ctx, j.mark, topic.Name(j.topic))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flow.news(list, len(list) < newsPage)
	return nil
}

func (f *Feed) news(ctx context.Context, mark uint64, from topic.Name) ([]broker.News, error) {
	lister, ok := f.s.broker.(broker.Lister)
	if !ok {
		return nil, nil
	}
	return lister.News(ctx, f.filter, mark, from, newsPage)
}

// compact finds out which topics of a pattern need not be remembered.
func (f *Feed) compact(ctx context.Context, j job) error {
	lister, ok := f.s.broker.(broker.Lister)
	if !ok {
		return nil
	}
	mark, err := lister.Mark(ctx)
	if err != nil {
		return err
	}
	var all []broker.News
	for from := topic.Name(""); ; {
		list, err := f.news(ctx, j.mark, from)
		if err != nil {
			return err
		}
		all = append(all, list...)
		if len(list) < newsPage {
			break
		}
		from = list[len(list)-1].Topic
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flow.compacted(mark, all)
	return nil
}
