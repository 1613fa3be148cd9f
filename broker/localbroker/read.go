package localbroker

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// maxReadBytes bounds what one request reads from the disk.
const maxReadBytes = 1 << 20

// History is described at broker.Broker.
func (b *Broker) History(ctx context.Context, name topic.Name, q broker.Query) (broker.Page, error) {
	if b.closed.Load() {
		return broker.Page{}, broker.ErrClosed
	}
	l, found, err := b.existing(ctx, name)
	if err != nil {
		return broker.Page{}, err
	}
	if !found {
		return broker.Page{Position: message.Position{Epoch: *b.epoch.Load()}, Gap: q.After > 0}, nil
	}
	if l.disk == nil {
		defer l.mu.Unlock()
		return l.read(q, time.Now()), nil
	}
	return l.readDurable(ctx, q, time.Now())
}

// existing returns the stream of a topic, locked, if anything was ever published
// to it.
func (b *Broker) existing(ctx context.Context, name topic.Name) (l *stream, found bool, err error) {
	if l = b.find(string(name)); l != nil {
		if l.known > knownNothing {
			return l, true, nil
		}
		l.mu.Unlock()
	} else if b.disk == nil {
		return nil, false, nil
	} else if heads, err := b.disk.Topics(ctx, topic.Filter(name), store.TopicQuery{}); err != nil || len(heads) == 0 {
		return nil, false, err
	}
	l, err = b.open(string(name), knownHead)
	return l, err == nil, err
}

// visible is the newest position that anybody may see.
func (l *stream) visible() message.Position {
	if l.disk != nil {
		return message.Position{Epoch: l.epoch, Seq: l.disk.committed}
	}
	return message.Position{Epoch: l.epoch, Seq: l.seq}
}

// begin answers what can be answered without the messages: the position, and
// whether there is a gap. It returns where to read from, and whether to read.
func (l *stream) begin(q broker.Query) (page broker.Page, after uint64, read bool) {
	page.Position = l.visible()
	after = q.After
	if q.Epoch != "" && q.Epoch != l.epoch && (after > 0 || q.Before > 0) {
		page.Gap = true // all there is now came after that history
		after = 0
		if q.Before > 0 {
			return page, after, false
		}
	}
	// A reader at 0 asks for what is kept, unless it names the epoch and reads
	// forward: then, and at every other position, it asks for all that came after.
	if (after > 0 || q.Epoch == l.epoch && !q.Newest) && (after < l.lost || after > page.Position.Seq) {
		page.Gap = true
	}
	return page, after, true
}

// read answers for a topic in memory.
func (l *stream) read(q broker.Query, now time.Time) broker.Page {
	l.trim(now)
	page, after, read := l.begin(q)
	if read && q.Limit > 0 {
		page.Messages, page.More = choose(l.kept, after, q, now)
	}
	return page
}

// choose returns the messages of the selection.
func choose(kept []*message.Message, after uint64, q broker.Query, now time.Time) (chosen []*message.Message, more bool) {
	kept = kept[sort.Search(len(kept), func(i int) bool { return kept[i].Seq > after }):]
	for _, m := range kept {
		if q.Before != 0 && m.Seq >= q.Before || !q.Newest && len(chosen) > q.Limit {
			break
		}
		if !m.Expired(now) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) <= q.Limit {
		return chosen, false
	}
	if q.Newest {
		return chosen[len(chosen)-q.Limit:], true
	}
	return chosen[:q.Limit], true
}

// readDurable answers for a durable topic: from memory where that has all of
// the selection, else from the disk. It is called with mu held and releases it.
func (l *stream) readDurable(ctx context.Context, q broker.Query, now time.Time) (broker.Page, error) {
	l.used = now
	if q.Limit > 0 && l.aging(now) {
		l.mu.Unlock()
		if err := l.trimAged(ctx, now); err != nil {
			return broker.Page{}, err
		}
		l.mu.Lock()
	}
	page, after, read := l.begin(q)
	if !read || q.Limit <= 0 {
		l.mu.Unlock()
		return page, nil
	}
	after = max(after, l.lost)
	if l.covers(after, q, now) {
		page.Messages, page.More = choose(l.kept, after, q, now)
		l.mu.Unlock()
		return page, nil
	}
	l.mu.Unlock()
	before := page.Position.Seq + 1
	if q.Before != 0 {
		before = min(before, q.Before)
	}
	f := fetch{log: l.b.disk, name: topic.Name(l.name), q: q, after: after, before: before, now: now, page: page}
	err := f.run(ctx)
	return f.page, err
}

// covers tells whether memory has what q selects behind after.
func (l *stream) covers(after uint64, q broker.Query, now time.Time) bool {
	if len(l.kept) == 0 {
		return after >= l.disk.committed
	}
	if after+1 >= l.kept[0].Seq {
		return true
	}
	if !q.Newest {
		return false
	}
	n := 0 // one more than wanted, so that More is known
	for _, m := range l.kept {
		if (q.Before == 0 || m.Seq < q.Before) && !m.Expired(now) {
			n++
		}
	}
	return n > q.Limit
}

// fetch reads a page of a durable topic from the disk.
type fetch struct {
	log           store.Log
	name          topic.Name
	q             broker.Query
	after, before uint64
	now           time.Time
	page          broker.Page
	bytes         int
}

// run reads until the page is full: messages that have expired are left out, so that
// one read may not be enough.
func (f *fetch) run(ctx context.Context) error {
	for f.after+1 < f.before {
		r, err := f.log.Read(ctx, f.name, store.Range{
			After: f.after, Before: f.before, Limit: f.q.Limit + 1 - len(f.page.Messages), Bytes: maxReadBytes, Newest: f.q.Newest,
		})
		if err != nil {
			return err
		}
		f.page.Gap = f.page.Gap || r.Damaged
		if len(r.Messages) > 0 { // all of what was read is dealt with
			if f.q.Newest {
				f.before = r.Messages[0].Seq
			} else {
				f.after = r.Messages[len(r.Messages)-1].Seq
			}
		}
		f.take(r.Messages)
		if len(f.page.Messages) > f.q.Limit {
			f.shorten()
			return nil
		}
		if !r.More {
			return nil
		}
		if f.bytes > maxReadBytes {
			f.page.More = true
			return nil
		}
	}
	return nil
}

// take adds what has not expired.
func (f *fetch) take(messages []*message.Message) {
	messages = slices.DeleteFunc(messages, func(m *message.Message) bool { return m.Expired(f.now) })
	for _, m := range messages {
		f.bytes += m.Size()
	}
	if f.q.Newest {
		f.page.Messages = append(messages, f.page.Messages...)
	} else {
		f.page.Messages = append(f.page.Messages, messages...)
	}
}

// shorten leaves out the message that is one too many.
func (f *fetch) shorten() {
	f.page.More = true
	if f.q.Newest {
		f.page.Messages = f.page.Messages[len(f.page.Messages)-f.q.Limit:]
	} else {
		f.page.Messages = f.page.Messages[:f.q.Limit]
	}
}

// Retained is described at broker.Broker.
func (b *Broker) Retained(ctx context.Context, f topic.Filter) ([]*message.Message, error) {
	if b.closed.Load() {
		return nil, broker.ErrClosed
	}
	now := time.Now()
	var out, stored []*message.Message
	if b.disk != nil {
		var err error
		if stored, err = b.disk.Retained(ctx, f); err != nil {
			return nil, err
		}
	}
	inMemory := make(map[string]bool)
	b.all(f, func(l *stream) {
		if l.known == knownNothing {
			return
		}
		if l.disk != nil {
			inMemory[l.name] = true // the disk may have a value that is not committed
		}
		if m := l.retained; m != nil && !m.Expired(now) {
			out = append(out, m)
		}
	})
	for _, m := range stored {
		if !inMemory[m.Topic] && !m.Expired(now) {
			out = append(out, m)
		}
	}
	return out, nil
}
