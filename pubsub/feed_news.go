package pubsub

import (
	"context"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub/flow"
	"github.com/parleyhq/parley/topic"
)

// openAny reads how a feed for a pattern begins: with the last values, or, when
// it goes on from an earlier one, with what came since.
func (f *Feed) openAny(ctx context.Context, r Request) (Start, error) {
	lister, durable := f.s.broker.(broker.Lister)
	begin := flow.Beginning{Marked: durable && f.flow.Acknowledged()}
	start := Start{Recovered: r.Since == nil}
	if begin.Marked && r.Saved != nil { // its mark is 0 when it began before the first message of all
		start.Recovered = true
		begin.Resumed, begin.Mark, begin.At = true, r.Saved.Mark, r.Saved.Acked
		f.fromMark(begin)
		return start, nil
	}
	if begin.Marked {
		mark, err := lister.Mark(ctx)
		if err != nil {
			return start, err
		}
		begin.Mark = mark
	}
	kept, err := f.s.broker.Retained(ctx, f.filter)
	if err != nil {
		return start, err
	}
	recent := time.Now().Add(-lateness).UnixMilli()
	for _, m := range kept {
		switch {
		case begin.Marked && m.Mark > begin.Mark:
			continue // it comes live
		case !begin.Marked && m.Time >= recent: // it may come live, too
			begin.Late = append(begin.Late, m)
		}
		begin.Kept = append(begin.Kept, f.s.lastValue(m))
	}
	f.fromMark(begin)
	return start, nil
}

// fromMark tells the flow of a pattern how it begins.
func (f *Feed) fromMark(b flow.Beginning) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flow.FromMark(b)
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
func (f *Feed) findNews(ctx context.Context, j flow.Job) error {
	list, err := f.news(ctx, j.Mark, topic.Name(j.Topic))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flow.News(list, len(list) < newsPage)
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
func (f *Feed) compact(ctx context.Context, j flow.Job) error {
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
		list, err := f.news(ctx, j.Mark, from)
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
	f.flow.Compacted(mark, all)
	return nil
}
