package localbroker

import (
	"context"
	"math"
	"time"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

const (
	sweepEvery = 15 * time.Second
	// visitEvery is how often topics on the disk are trimmed that nobody uses.
	visitEvery = 10 * time.Minute
	visitPage  = 256
	// slack is how many messages more than wanted may be on the disk until they
	// are deleted: deleting is worth it for many.
	slack = 1024
	// markReserve is how many marks are reserved at once: at ten million
	// messages a second they last for a day.
	markReserve = 1 << 40
)

// nextEpoch returns an epoch that no topic has had.
func (b *Broker) nextEpoch() string {
	next := b.origin + "." + itoa(b.lives.Add(1))
	b.epoch.Store(&next)
	return next
}

// reserveMarks makes sure that marks go on growing after a crash.
func (b *Broker) reserveMarks() error {
	until, err := b.disk.Reserve(context.Background(), markReserve)
	if err == nil {
		b.reserved.Store(until)
	}
	return err
}

func (b *Broker) sweepLoop() {
	sweep, visit := time.NewTicker(sweepEvery), time.NewTicker(visitEvery)
	defer sweep.Stop()
	defer visit.Stop()
	for {
		select {
		case <-b.stop:
			return
		case l := <-b.trims:
			l.trimDisk(time.Now())
		case now := <-sweep.C:
			for i := range b.shards {
				b.sweep(&b.shards[i], now)
			}
			if b.disk != nil && b.reserved.Load()-b.marks.newest.Load() < markReserve/2 {
				_ = b.reserveMarks() // tried again with the next sweep, for half a day
			}
		case now := <-visit.C:
			if b.disk != nil {
				b.visit(now)
			}
		}
	}
}

// sweep trims histories by age and forgets topics that have nothing left.
func (b *Broker) sweep(s *shard, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forgot := false
	for name, l := range s.topics {
		l.mu.Lock()
		over, ended := l.sweep(now)
		if over {
			delete(s.topics, name)
			b.topics.Add(-1)
			forgot = forgot || ended
		}
		l.mu.Unlock()
	}
	if forgot {
		b.nextEpoch()
	}
}

// sweep reports whether the stream need not be in memory any longer, and whether
// its epoch ends with that.
func (l *stream) sweep(now time.Time) (over, ended bool) {
	l.account(-l.forgetKeys(now, len(l.keyOrder)))
	if l.retained != nil && l.retained.Expired(now) {
		l.retain(nil)
	}
	idle := !l.delivering && now.Sub(l.used) > l.b.limits.Idle
	if l.disk != nil {
		l.trimSoon(now)
		if !idle || len(l.disk.pending) > 0 || l.disk.trimming {
			return false, false
		}
		l.unload()
		return true, false
	}
	l.trim(now)
	if len(l.producers) > 0 { // they count on where they ended
		idle = idle && now.Sub(l.used) > 6*l.b.limits.Idle
	}
	return len(l.kept) == 0 && len(l.keys) == 0 && l.retained == nil && idle, l.seq > 0
}

// unload gives back the memory of a durable topic.
func (l *stream) unload() {
	l.uncache(len(l.kept))
	l.account(-l.forgetKeys(time.Time{}, 0))
	l.retain(nil)
}

// trimSoon has the disk trimmed when that is worth it.
func (l *stream) trimSoon(now time.Time) {
	d := l.disk
	much := l.lost-d.floor >= max(slack, min(d.keep.Count, keepNothing-1)/8) || // by count
		d.keep.Bytes > 0 && d.bytes > d.keep.Bytes+max(d.keep.Bytes/8, 64<<10) ||
		l.aging(now.Add(-time.Minute))
	if !much || d.trimming {
		return
	}
	select {
	case l.b.trims <- l:
		d.trimming = true
	default: // asked again with the next message, or by the next sweep
	}
}

// aging tells that the disk has messages that are older than they may get, or
// may have.
func (l *stream) aging(now time.Time) bool {
	d := l.disk
	return l.age > 0 && d.floor < d.committed && d.oldest < now.Add(-l.age).UnixMilli()
}

// trimDisk trims what the disk has of a topic. It is called without mu.
func (l *stream) trimDisk(now time.Time) {
	l.mu.Lock()
	t := trimOf(l.disk.keep, now)
	if l.known == knownPublishers {
		t.KeysBelow = l.oldestKey()
	}
	l.mu.Unlock()
	_ = l.trimTo(context.Background(), t) // a disk that failed is told of elsewhere
	l.mu.Lock()
	l.disk.trimming = false
	l.mu.Unlock()
}

// trimOf returns what has to go.
func trimOf(k store.Keep, now time.Time) store.Trim {
	t := store.Trim{Count: k.Count, Bytes: k.Bytes}
	if k.Count == keepNothing {
		t.Before = math.MaxInt64
	} else if k.Age > 0 {
		t.Before = now.UnixMilli() - k.Age
	}
	return t
}

// trimAged forgets what is too old, before somebody reads it.
func (l *stream) trimAged(ctx context.Context, now time.Time) error {
	l.mu.Lock()
	before := now.Add(-l.age).UnixMilli()
	l.mu.Unlock()
	return l.trimTo(ctx, store.Trim{Before: before})
}

// trimTo trims the disk and takes over what is left.
func (l *stream) trimTo(ctx context.Context, t store.Trim) error {
	head, err := l.b.disk.Trim(ctx, topic.Name(l.name), t)
	if err != nil {
		return l.unreadable(err)
	}
	oldest := int64(0)
	if head.First <= head.Last {
		r, err := l.b.disk.Read(ctx, topic.Name(l.name), store.Range{After: head.First - 1, Limit: 1})
		if err != nil {
			return l.unreadable(err)
		}
		if len(r.Messages) > 0 {
			oldest = r.Messages[0].Time
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if head.Epoch != l.epoch {
		return nil
	}
	l.disk.floor, l.disk.bytes, l.disk.oldest = head.First-1, head.Bytes, oldest
	l.lost = max(l.lost, l.disk.floor)
	l.uncacheLost()
	return nil
}

// visit trims topics on the disk that nobody uses.
func (b *Broker) visit(now time.Time) {
	var from topic.Name
	for {
		heads, err := b.disk.Topics(context.Background(), "", store.TopicQuery{From: from, Limit: visitPage})
		if err != nil || len(heads) == 0 {
			return
		}
		for _, h := range heads {
			b.visitOne(h, now)
			from = h.Topic
			select {
			case <-b.stop:
				return
			default:
			}
		}
	}
}

// visitOne trims one topic, unless it is in memory: then its stream sees to it.
func (b *Broker) visitOne(h store.Head, now time.Time) {
	if l := b.find(string(h.Topic)); l != nil {
		l.mu.Unlock()
		return
	}
	_, _ = b.disk.Trim(context.Background(), h.Topic, trimOf(h.Keep, now)) // as in trimDisk
}
