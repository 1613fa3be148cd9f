package localbroker

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// Mark is described at broker.Lister. Every message up to it has been handed to
// the handler: what is delivered later has a higher mark.
func (b *Broker) Mark(context.Context) (uint64, error) {
	if b.closed.Load() {
		return 0, broker.ErrClosed
	}
	mark := b.marks.handedOver() // before the others are asked: it reads the newest mark
	if oldest, waits := b.committer.oldest(); waits {
		mark = min(mark, oldest-1)
	}
	return mark, nil
}

// News is described at broker.Lister.
func (b *Broker) News(ctx context.Context, f topic.Filter, mark uint64, from topic.Name, limit int) ([]broker.News, error) {
	if b.closed.Load() {
		return nil, broker.ErrClosed
	}
	var out, partly []broker.News
	inMemory := make(map[topic.Name]bool)
	b.all(f, func(l *stream) {
		name := topic.Name(l.name)
		if l.known == knownNothing || name <= from {
			return
		}
		inMemory[name] = l.disk != nil
		switch n, some, exact := l.news(mark); {
		case some && exact:
			out = append(out, n)
		case some:
			partly = append(partly, n)
		}
	})
	for _, n := range partly {
		heads, err := b.disk.Topics(ctx, topic.Filter(n.Topic), store.TopicQuery{News: true, Mark: mark})
		if err != nil {
			return nil, err
		}
		if len(heads) > 0 {
			n.After = max(n.After, heads[0].After)
			out = append(out, n)
		}
	}
	stored, err := b.stored(ctx, f, mark, from, limit, inMemory)
	if err != nil {
		return nil, err
	}
	for _, h := range stored {
		out = append(out, broker.News{Topic: h.Topic, Position: h.Position(), After: h.After})
	}
	slices.SortFunc(out, func(a, b broker.News) int { return cmp.Compare(a.Topic, b.Topic) })
	return out[:min(limit, len(out))], nil
}

// news tells whether a topic keeps messages behind mark, and whether After is
// exact: what memory no longer has of a durable topic, the disk has to be asked for.
func (l *stream) news(mark uint64) (n broker.News, some, exact bool) {
	n = broker.News{Topic: topic.Name(l.name), Position: l.visible(), After: l.lost}
	if n.Position.Seq <= l.lost || l.disk != nil && l.disk.mark <= mark {
		return n, false, true
	}
	i := sort.Search(len(l.kept), func(i int) bool { return l.kept[i].Mark > mark })
	if i > 0 {
		n.After = l.kept[i-1].Seq
		return n, i < len(l.kept), true
	}
	all := len(l.kept) > 0 && l.kept[0].Seq == l.lost+1
	return n, l.disk != nil || all, all
}

// stored returns the heads of topics that are on the disk alone.
func (b *Broker) stored(ctx context.Context, f topic.Filter, mark uint64, from topic.Name, limit int, inMemory map[topic.Name]bool) ([]store.Head, error) {
	if b.disk == nil {
		return nil, nil
	}
	var out []store.Head
	for len(out) < limit {
		heads, err := b.disk.Topics(ctx, f, store.TopicQuery{From: from, Limit: limit, News: true, Mark: mark})
		if err != nil {
			return nil, err
		}
		for _, h := range heads {
			if !inMemory[h.Topic] {
				out = append(out, h)
			}
			from = h.Topic
		}
		if len(heads) < limit {
			break
		}
	}
	return out, nil
}
