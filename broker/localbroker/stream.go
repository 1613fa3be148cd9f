package localbroker

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

// maxWaiting bounds the messages of one topic in memory that are placed but
// not yet delivered; a publisher above it waits for the one who delivers.
const maxWaiting = 1024

// stream is one topic: its position, what it keeps, and what is on its way.
//
// Delivery of a topic in memory is by combining: the publisher who finds nobody
// delivering delivers, for itself and for those who publish meanwhile. So the
// order is kept, the lock is not held while receivers are served, and no
// goroutine belongs to a topic. Messages of a durable topic are delivered when
// they are on the disk, by a few goroutines that serve all topics.
type stream struct {
	sequence // guarded by mu, as all below it

	b    *Broker
	name string

	learning sync.Mutex // held by the one who reads what is known; taken before mu

	mu    sync.Mutex // taken after the shard's
	known known

	kept     []*message.Message // oldest first; of a durable topic the newest
	bytes    int64
	lost     uint64 // highest seq that is no longer kept
	age      time.Duration
	retained *message.Message
	used     time.Time
	disk     *durable // nil for a topic in memory

	waiting    []*message.Message
	delivering bool
	slot       int       // of the horizon while delivering numbered messages, else noSlot
	room       sync.Cond // on mu: waiting or disk.pending got shorter, or delivering ended
}

const noSlot = -1

func newStream(b *Broker, name, epoch string) *stream {
	l := &stream{b: b, name: name, sequence: sequence{epoch: epoch}, slot: noSlot}
	l.room.L = &l.mu
	if b.disk == nil {
		l.known = knownPublishers
	}
	return l
}

func itoa(n int64) string { return strconv.FormatInt(n, 36) }

// publish is called with mu held and releases it.
func (l *stream) publish(m *message.Message, o broker.Options, done func(broker.Result, error)) {
	if l.disk != nil || o.Durability > broker.Memory {
		l.publishDurable(m, o, done)
		return
	}
	for len(l.waiting) >= maxWaiting {
		l.room.Wait()
	}
	if err := l.refusal(m, o); err != nil {
		l.mu.Unlock()
		done(broker.Result{}, err)
		return
	}
	now := time.Now()
	l.used = now
	if !o.Ephemeral {
		if r, err := l.repeat(m, o, now); r.Duplicate || err != nil {
			l.mu.Unlock()
			done(r, err)
			return
		}
		if l.slot == noSlot {
			l.slot = l.b.marks.enter(int(l.seq))
		}
		m.Mark = l.b.marks.next()
		l.append(m, o, now)
	} else {
		m.Epoch = l.epoch
	}
	at := m.Position()
	l.waiting = append(l.waiting, m)
	deliver := !l.delivering
	l.delivering = true
	l.mu.Unlock()
	done(broker.Result{Position: at}, nil)
	if deliver {
		l.deliver()
	}
}

// refusal tells why m cannot be taken.
func (l *stream) refusal(m *message.Message, o broker.Options) error {
	switch {
	case l.b.closed.Load():
		return broker.ErrClosed
	case m.Retain && len(m.Payload) > 0 && !o.Ephemeral && l.b.lasts.Load() > l.b.limits.Retained:
		return broker.ErrOverloaded
	}
	return nil
}

// repeat tells whether m was published before.
func (l *stream) repeat(m *message.Message, o broker.Options, now time.Time) (broker.Result, error) {
	if m.Key == "" && m.Producer == "" {
		return broker.Result{}, nil
	}
	l.account(-l.forgetKeys(now, l.maxKeys(o)))
	v := l.judge(m)
	if !v.repeated || v.err != nil {
		return broker.Result{}, v.err
	}
	if m.Producer != "" { // by its key alone: the number is used all the same
		l.advance(m, v.seq)
	}
	return broker.Result{Position: message.Position{Epoch: l.epoch, Seq: v.seq}, Duplicate: true}, nil
}

func (l *stream) maxKeys(o broker.Options) int { return cmp.Or(o.Keys, l.b.limits.Keys) }

// append gives m its place and keeps it as o says.
func (l *stream) append(m *message.Message, o broker.Options, now time.Time) {
	l.place(m)
	l.age = o.HistoryAge
	if m.Retain {
		l.retain(m)
	}
	l.keep(m)
	keep := o.History
	if l.b.bytes.Load() > l.b.limits.Bytes {
		keep = min(keep, len(l.kept)/2)
	}
	if len(l.kept) > keep {
		l.drop(len(l.kept) - keep)
	}
	for o.HistoryBytes > 0 && l.bytesKept() > o.HistoryBytes && len(l.kept) > 1 {
		l.drop(1)
	}
	l.rememberKey(m, o, now)
	l.dropProducers()
}

// bytesKept is about what the kept messages take; keys are few beside them.
func (l *stream) bytesKept() int64 { return l.bytes }

// dropProducers forgets some producers when there are too many.
func (l *stream) dropProducers() []string { return l.forgetProducers(l.b.limits.Producers) }

// retain makes m the last value. An empty one clears it (MQTT 5 §3.3.1.3).
func (l *stream) retain(m *message.Message) {
	if l.retained != nil {
		l.b.lasts.Add(-int64(l.retained.Size()))
		l.retained = nil
	}
	if m != nil && len(m.Payload) > 0 {
		l.b.lasts.Add(int64(m.Size()))
		l.retained = m
	}
}

func (l *stream) account(n int64) {
	l.bytes += n
	l.b.bytes.Add(n)
}

func (l *stream) keep(m *message.Message) {
	l.kept = append(l.kept, m)
	l.account(int64(m.Size()))
}

// drop forgets the n oldest kept messages.
func (l *stream) drop(n int) {
	last := l.kept[n-1].Seq
	l.uncache(n)
	l.lost = max(l.lost, last)
}

// uncache takes the n oldest kept messages out of memory.
func (l *stream) uncache(n int) {
	for _, m := range l.kept[:n] {
		l.account(-int64(m.Size()))
	}
	clear(l.kept[:n])
	if l.kept = l.kept[n:]; len(l.kept) == 0 {
		l.kept = nil
	}
}

// rememberKey remembers the key of a message that has its place.
func (l *stream) rememberKey(m *message.Message, o broker.Options, now time.Time) {
	if m.Key == "" {
		return
	}
	keep := l.maxKeys(o) - 1
	if l.disk == nil && l.b.bytes.Load() > l.b.limits.Bytes {
		keep = min(keep, len(l.keyOrder)/2) // those of durable topics were promised
	}
	l.account(-l.forgetKeys(now, keep))
	l.account(l.remember(keyOf(m), m.Seq, now.Add(o.KeyWindow)))
}

// deliver hands over what waits until nothing does. Only the one who set
// delivering runs it.
func (l *stream) deliver() {
	var batch []*message.Message
	for {
		l.mu.Lock()
		clear(batch)
		batch, l.waiting = l.waiting, batch[:0]
		if len(batch) == 0 {
			l.delivering = false
			l.waiting = nil
			if l.slot != noSlot {
				l.b.marks.leave(l.slot)
				l.slot = noSlot
			}
			l.room.Broadcast()
			l.mu.Unlock()
			return
		}
		l.announce(batch)
		durable := l.disk != nil
		l.room.Broadcast()
		l.mu.Unlock()
		for _, m := range batch {
			l.b.handler.HandleMessage(m)
		}
		if durable {
			l.b.committer.handedOver(batch)
		}
	}
}

// announce says that everything before the batch was handed over.
func (l *stream) announce(batch []*message.Message) {
	if l.slot == noSlot {
		return
	}
	for _, m := range batch {
		if m.Mark != 0 {
			l.b.marks.move(l.slot, m.Mark)
			return
		}
	}
}

// rest returns when nothing is on its way.
func (l *stream) rest(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.room.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.delivering || l.disk != nil && len(l.disk.pending) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.room.Wait()
	}
	return nil
}

// trim drops what is too old from a topic in memory.
func (l *stream) trim(now time.Time) {
	if l.age <= 0 {
		return
	}
	oldest := now.Add(-l.age).UnixMilli()
	n := 0
	for n < len(l.kept) && l.kept[n].Time < oldest {
		n++
	}
	if n > 0 {
		l.drop(n)
	}
}
