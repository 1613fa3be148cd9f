package pubsub

import (
	"context"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub/flow"
	"github.com/parleyhq/parley/topic"
)

// historyPage is how many messages are read at once, newsPage how many topics.
const (
	historyPage = 200
	newsPage    = 256
)

// lateness is how long after its publication a message may still be on its way
// to this node's hub.
const lateness = 10 * time.Second

// open reads how the feed begins: the position, and the first page of history
// where something was missed, else the last values. All of it is read after
// the feed is registered and before the receiver is told of its beginning, so
// whatever is published after that is either read here or comes live.
func (f *Feed) open(ctx context.Context, r Request) (Start, error) {
	if f.flow.Pattern() {
		return f.openAny(ctx, r)
	}
	since := f.since(r)
	q := broker.Query{}
	if since != nil {
		q = broker.Query{Epoch: since.Epoch, After: since.Seq}
	}
	p, err := f.s.read(ctx, topic.Name(f.filter), q, since != nil)
	if err != nil {
		return Start{}, err
	}
	start := Start{Position: p.Position, Recovered: p.Gap == nil}
	if since != nil && p.Gap == nil {
		f.from(message.Position{Epoch: p.Position.Epoch, Seq: since.Seq}, &p, nil)
		return start, nil
	}
	// With a gap the receiver cannot trust what it has: it reloads, and goes
	// on from the newest.
	kept, err := f.s.broker.Retained(ctx, f.filter)
	if err != nil {
		return start, err
	}
	var last []*hub.Delivery
	for _, m := range kept {
		if m.Epoch == p.Position.Epoch && m.Seq <= p.Position.Seq { // else it comes live
			last = append(last, f.s.lastValue(m))
		}
	}
	f.from(p.Position, nil, last)
	return start, nil
}

// since is the later of where the receiver says it is and what it has
// acknowledged.
func (f *Feed) since(r Request) *message.Position {
	if !f.flow.Acknowledged() || r.Saved == nil {
		return r.Since
	}
	saved, ok := r.Saved.Acked[string(f.filter)]
	if !ok || r.Since != nil && (r.Since.Epoch != saved.Epoch || r.Since.Seq > saved.Seq) {
		return r.Since
	}
	return &saved
}

// from tells the flow of one topic how it begins.
func (f *Feed) from(at message.Position, first *flow.Page, kept []*hub.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flow.From(at, first, kept)
}

// lastValue is m as it is handed over to one who begins.
func (s *Service) lastValue(m *message.Message) *hub.Delivery {
	kept := *m
	kept.Retained = true
	return &hub.Delivery{Message: &kept, Shape: s.again}
}

// LastValues returns the last value of every topic that matches f, as it is
// handed to one who begins. Permission is not asked for.
func (s *Service) LastValues(ctx context.Context, f topic.Filter) ([]*hub.Delivery, error) {
	kept, err := s.broker.Retained(ctx, f)
	if err != nil {
		return nil, brokerError(err)
	}
	var last []*hub.Delivery
	now := time.Now()
	for _, m := range kept {
		if !m.Expired(now) {
			last = append(last, s.lastValue(m))
		}
	}
	return last, nil
}

// read returns a page of a topic's history; without wanted its position alone.
func (s *Service) read(ctx context.Context, name topic.Name, q broker.Query, wanted bool) (flow.Page, error) {
	q.Limit = 0
	at, err := s.broker.History(ctx, name, q)
	if err != nil || !wanted {
		return flow.Page{Position: at.Position, After: q.After}, err
	}
	p := flow.Page{Position: at.Position, After: q.After}
	if at.Gap {
		p.Gap = gapOf(name, at.Position)
		if q.Epoch != "" && q.Epoch != at.Position.Epoch {
			p.After = 0
		}
	}
	if !at.Gap && at.Position.Seq <= p.After {
		return p, nil
	}
	part, to, ok := s.recent.After(string(name), at.Position.Epoch, p.After, historyPage)
	if !ok {
		return s.readLog(ctx, name, q.Epoch, p)
	}
	p.List, p.More, p.To = unexpired(part), to < at.Position.Seq, to
	return p, nil
}

// readLog is read for what is not at hand. asked is the epoch that was asked
// for: a reader at 0 of none wants what there is, and misses nothing.
func (s *Service) readLog(ctx context.Context, name topic.Name, asked string, p flow.Page) (flow.Page, error) {
	key := readKey{string(name), p.Position.Epoch, p.After}
	if p.After == 0 && asked != p.Position.Epoch {
		key.epoch = ""
	}
	got, err := s.reads.do(ctx, key, func() (flow.Page, error) {
		kept, err := s.broker.History(s.base, name, broker.Query{Epoch: key.epoch, After: p.After, Limit: historyPage})
		if err != nil {
			return flow.Page{}, err
		}
		out := flow.Page{Position: kept.Position, After: p.After, More: kept.More, To: kept.Position.Seq}
		for _, m := range kept.Messages {
			out.List = append(out.List, &hub.Delivery{Message: m, Kept: true, Shape: s.again})
		}
		if n := len(kept.Messages); kept.More && n > 0 {
			out.To = kept.Messages[n-1].Seq
		}
		switch {
		case !kept.Gap:
			s.recent.Add(string(name), kept.Position.Epoch, p.After, out.To, out.List)
		case key.epoch != kept.Position.Epoch: // it began anew a moment ago
			out.After = 0
			fallthrough
		default:
			out.Gap = gapOf(name, kept.Position)
		}
		return out, nil
	})
	if p.Gap != nil {
		got.Gap = p.Gap
	}
	// What was read for another may be older than what this reader missed.
	got.More = got.More || got.Position.Seq < p.Position.Seq && got.Position.Epoch == p.Position.Epoch
	return got, err
}

// unexpired is part without what must not be delivered any more.
func unexpired(part []*hub.Delivery) []*hub.Delivery {
	now := time.Now()
	for i, d := range part {
		if !d.Message.Expired(now) {
			continue
		}
		out := append([]*hub.Delivery(nil), part[:i]...)
		for _, d := range part[i+1:] {
			if !d.Message.Expired(now) {
				out = append(out, d)
			}
		}
		return out
	}
	return part
}

// gapOf says that messages before a position are lost.
func gapOf(name topic.Name, at message.Position) *hub.Delivery {
	return &hub.Delivery{Event: &parleyv1.Reply{Reply: &parleyv1.Reply_Gap{
		Gap: &parleyv1.Gap{Topic: string(name), Position: protocol.WirePosition(at)},
	}}}
}

// follow does what the flow asks for.
func (f *Feed) follow(e flow.Effects) {
	switch e.End {
	case flow.Flooded:
		f.fail(protocol.Overloaded.Errorf("more was published on %s than could be followed: subscribe again", f.filter))
		return
	case flow.Outrun:
		f.fail(protocol.SlowConsumer.Errorf("of %s more topics wait for this receiver than are remembered", f.filter))
		return
	case flow.Goes:
	}
	if e.Ask && f.receiver.Ready(f.wake) {
		f.wake()
	}
	if e.Work {
		f.s.readers.add(f)
	}
}

// wake is called when the receiver has room again.
func (f *Feed) wake() {
	f.mu.Lock()
	f.flow.Ready()
	e := f.flow.Effects()
	f.mu.Unlock()
	if e.Work {
		f.s.readers.add(f)
	}
}

// turn hands over what is owed, a page of it, and reports whether there is
// more to do at once. It is called by the one whom the flow gave work.
func (f *Feed) turn() (more bool) {
	f.mu.Lock()
	j, ok := f.flow.Next((*hand)(f))
	e := f.flow.Effects()
	f.mu.Unlock()
	if !ok {
		f.follow(e)
		return false
	}
	err := f.do(f.s.base, j)
	if err != nil {
		f.fail(brokerError(err))
		return false
	}
	return true
}

// fail ends the feed.
func (f *Feed) fail(err error) {
	f.Close()
	f.receiver.Ended(f, err)
}

// do reads what a job asks for, and gives it to the flow.
func (f *Feed) do(ctx context.Context, j flow.Job) error {
	switch j.Kind {
	case flow.ReadNews:
		return f.findNews(ctx, j)
	case flow.Compact:
		return f.compact(ctx, j)
	}
	name := topic.Name(j.Topic)
	if name == "" {
		name = topic.Name(f.filter)
	}
	if j.Kind == flow.ReadSince {
		after, err := f.newsOf(ctx, name, j.Mark)
		if err != nil {
			return err
		}
		j.Epoch, j.After = after.Epoch, after.Seq
	}
	p, err := f.s.read(ctx, name, broker.Query{Epoch: j.Epoch, After: j.After}, true)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.flow.Page(p, (*hand)(f))
	e := f.flow.Effects()
	f.mu.Unlock()
	f.follow(e)
	return nil
}
