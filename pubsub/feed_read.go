package pubsub

import (
	"context"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
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
	if f.flow.wild {
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
	start := Start{Position: p.position, Recovered: p.gap == nil}
	if since != nil && p.gap == nil {
		f.set(p.position.Epoch, since.Seq, &p, nil)
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
		if m.Epoch == p.position.Epoch && m.Seq <= p.position.Seq { // else it comes live
			last = append(last, f.s.lastValue(m))
		}
	}
	f.set(p.position.Epoch, p.position.Seq, nil, last)
	return start, nil
}

// since is the later of where the receiver says it is and what it has
// acknowledged.
func (f *Feed) since(r Request) *message.Position {
	if f.flow.acks == nil || r.Saved == nil {
		return r.Since
	}
	saved, ok := r.Saved.Acked[string(f.filter)]
	if !ok || r.Since != nil && (r.Since.Epoch != saved.Epoch || r.Since.Seq > saved.Seq) {
		return r.Since
	}
	return &saved
}

// set tells the flow of one topic how it begins.
func (f *Feed) set(epoch string, sent uint64, first *page, kept []*hub.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &f.flow
	w.one.epoch, w.one.sent = epoch, sent
	if w.acks != nil {
		w.one.acked = &acked{seq: sent}
	}
	w.aside().first, w.rare.kept = first, kept
}

// lastValue is m as it is handed over to one who begins.
func (s *Service) lastValue(m *message.Message) *hub.Delivery {
	kept := *m
	kept.Retained = true
	return &hub.Delivery{Message: &kept, Shape: s.again}
}

// read returns a page of a topic's history; without wanted its position alone.
func (s *Service) read(ctx context.Context, name topic.Name, q broker.Query, wanted bool) (page, error) {
	q.Limit = 0
	at, err := s.broker.History(ctx, name, q)
	if err != nil || !wanted {
		return page{position: at.Position, after: q.After}, err
	}
	p := page{position: at.Position, after: q.After}
	if at.Gap {
		p.gap = gapOf(name, at.Position)
		if q.Epoch != "" && q.Epoch != at.Position.Epoch {
			p.after = 0
		}
	}
	if !at.Gap && at.Position.Seq <= p.after {
		return p, nil
	}
	part, to, ok := s.recent.After(string(name), at.Position.Epoch, p.after, historyPage)
	if !ok {
		return s.readLog(ctx, name, q.Epoch, p)
	}
	p.list, p.more = unexpired(part), to < at.Position.Seq
	return p, nil
}

// readLog is read for what is not at hand. asked is the epoch that was asked
// for: a reader at 0 of none wants what there is, and misses nothing.
func (s *Service) readLog(ctx context.Context, name topic.Name, asked string, p page) (page, error) {
	key := readKey{string(name), p.position.Epoch, p.after}
	if p.after == 0 && asked != p.position.Epoch {
		key.epoch = ""
	}
	got, err := s.reads.do(ctx, key, func() (page, error) {
		kept, err := s.broker.History(s.base, name, broker.Query{Epoch: key.epoch, After: p.after, Limit: historyPage})
		if err != nil {
			return page{}, err
		}
		out := page{position: kept.Position, after: p.after, more: kept.More, list: make([]*hub.Delivery, len(kept.Messages))}
		for i, m := range kept.Messages {
			out.list[i] = &hub.Delivery{Message: m, Kept: true, Shape: s.again}
		}
		to := kept.Position.Seq
		if kept.More {
			to = kept.Messages[len(kept.Messages)-1].Seq
		}
		if kept.Gap { // it was trimmed a moment ago
			out.gap = gapOf(name, kept.Position)
		} else {
			s.recent.Add(string(name), kept.Position.Epoch, p.after, to, out.list)
		}
		return out, nil
	})
	if p.gap != nil {
		got.gap = p.gap
	}
	// What was read for another may be older than what this reader missed.
	got.more = got.more || got.position.Seq < p.position.Seq && got.position.Epoch == p.position.Epoch
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
func (f *Feed) follow(e effects) {
	switch e.end {
	case flooded:
		f.fail(protocol.Overloaded.Errorf("more was published on %s than could be followed: subscribe again", f.filter))
		return
	case outrun:
		f.fail(protocol.SlowConsumer.Errorf("of %s more topics wait for this receiver than are remembered", f.filter))
		return
	case opening, greeting, running, closed:
	}
	if e.ask && f.receiver.Ready(f.wake) {
		f.wake()
	}
	if e.work {
		f.s.readers.add(f)
	}
}

// wake is called when the receiver has room again.
func (f *Feed) wake() {
	f.mu.Lock()
	f.flow.ready()
	e := f.flow.effects()
	f.mu.Unlock()
	if e.work {
		f.s.readers.add(f)
	}
}

// turn hands over what is owed, a page of it, and reports whether there is
// more to do at once. It is called by the one whom the flow gave work.
func (f *Feed) turn(ctx context.Context) (more bool) {
	f.mu.Lock()
	j, ok := f.flow.next(f)
	e := f.flow.effects()
	f.mu.Unlock()
	if !ok {
		f.follow(e)
		return false
	}
	err := f.do(ctx, j)
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
func (f *Feed) do(ctx context.Context, j job) error {
	switch j.kind {
	case readNews:
		return f.findNews(ctx, j)
	case compact:
		return f.compact(ctx, j)
	}
	name := topic.Name(j.topic)
	if name == "" {
		name = topic.Name(f.filter)
	}
	if j.kind == readSince {
		after, err := f.newsOf(ctx, name, j.mark)
		if err != nil {
			return err
		}
		j.epoch, j.after = after.Epoch, after.Seq
	}
	p, err := f.s.read(ctx, name, broker.Query{Epoch: j.epoch, After: j.after}, true)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.flow.page(p, f)
	e := f.flow.effects()
	f.mu.Unlock()
	f.follow(e)
	return nil
}
