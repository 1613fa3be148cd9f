package localbroker

import (
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

// maxWaiting bounds the messages of one topic that are placed but not yet
// delivered; a publisher above it waits for the one who delivers.
const maxWaiting = 1024

// log is one topic: its position, what it keeps, and what is on its way.
//
// Delivery is by combining: the publisher who finds nobody delivering
// delivers, for itself and for those who publish meanwhile. So the order is
// kept, the lock is not held while receivers are served, and no goroutine
// belongs to a topic.
type log struct {
	b *Broker

	mu       sync.Mutex // taken after the shard's
	epoch    string
	seq      uint64
	kept     []*message.Message // oldest first
	bytes    int64
	lost     uint64 // highest seq that is no longer kept
	age      time.Duration
	retained *message.Message
	keys     map[string]uint64 // publisher and key → seq
	keyOrder []keyUse          // oldest first
	used     time.Time

	waiting    []*message.Message
	delivering bool
	room       sync.Cond // on mu: waiting got shorter, or delivering ended
}

type keyUse struct {
	key   string
	until time.Time
}

func newLog(b *Broker, epoch string) *log {
	l := &log{b: b, epoch: epoch}
	l.room.L = &l.mu
	return l
}

func itoa(n int64) string { return strconv.FormatInt(n, 36) }

// publish is called with mu held and releases it.
func (l *log) publish(m *message.Message, o broker.Options, done func(broker.Result, error)) {
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
	key := ""
	if m.Key != "" && !o.Ephemeral {
		key = m.From + "\x00" + m.Key
		l.forgetKeys(now)
		if seq, seen := l.keys[key]; seen {
			at := message.Position{Epoch: l.epoch, Seq: seq}
			l.mu.Unlock()
			done(broker.Result{Position: at, Duplicate: true}, nil)
			return
		}
	}
	m.Epoch = l.epoch
	if !o.Ephemeral {
		l.append(m, o)
		if key != "" {
			l.rememberKey(key, m.Seq, now.Add(o.KeyWindow))
		}
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
func (l *log) refusal(m *message.Message, o broker.Options) error {
	switch {
	case l.b.closed.Load():
		return broker.ErrClosed
	case m.Retain && len(m.Payload) > 0 && !o.Ephemeral && l.b.lasts.Load() > l.b.limits.Retained:
		return broker.ErrOverloaded
	}
	return nil
}

// append gives m its place and keeps it as o says.
func (l *log) append(m *message.Message, o broker.Options) {
	m.Prev = l.seq
	l.seq++
	m.Seq = l.seq
	l.age = o.HistoryAge
	if m.Retain {
		l.retain(m)
	}
	l.kept = append(l.kept, m)
	l.account(int64(m.Size()))
	keep := o.History
	if l.b.bytes.Load() > l.b.limits.Bytes {
		keep = min(keep, len(l.kept)/2)
	}
	if len(l.kept) > keep {
		l.drop(len(l.kept) - keep)
	}
}

// retain makes m the last value. An empty one clears it (MQTT 5 §3.3.1.3).
func (l *log) retain(m *message.Message) {
	if l.retained != nil {
		l.b.lasts.Add(-int64(l.retained.Size()))
		l.retained = nil
	}
	if m != nil && len(m.Payload) > 0 {
		l.b.lasts.Add(int64(m.Size()))
		l.retained = m
	}
}

func (l *log) account(n int64) {
	l.bytes += n
	l.b.bytes.Add(n)
}

// drop forgets the n oldest kept messages.
func (l *log) drop(n int) {
	for _, m := range l.kept[:n] {
		l.account(-int64(m.Size()))
	}
	l.lost = l.kept[n-1].Seq
	clear(l.kept[:n])
	l.kept = l.kept[n:]
}

func (l *log) rememberKey(key string, seq uint64, until time.Time) {
	if l.keys == nil {
		l.keys = make(map[string]uint64)
	}
	keep := l.b.limits.Keys - 1
	if l.b.bytes.Load() > l.b.limits.Bytes {
		keep = min(keep, len(l.keyOrder)/2)
	}
	for len(l.keyOrder) > keep {
		l.forgetKey()
	}
	l.keys[key] = seq
	l.keyOrder = append(l.keyOrder, keyUse{key, until})
	l.account(sizeOfKey(key))
}

// forgetKey forgets the oldest key.
func (l *log) forgetKey() {
	key := l.keyOrder[0].key
	l.keyOrder[0] = keyUse{}
	l.keyOrder = l.keyOrder[1:]
	delete(l.keys, key)
	l.account(-sizeOfKey(key))
}

func sizeOfKey(key string) int64 { return int64(len(key)) + 96 }

func (l *log) forgetKeys(now time.Time) {
	for len(l.keyOrder) > 0 && !now.Before(l.keyOrder[0].until) {
		l.forgetKey()
	}
}

// deliver hands over what waits until nothing does. Only the one who set
// delivering runs it.
func (l *log) deliver() {
	var batch []*message.Message
	for {
		l.mu.Lock()
		clear(batch)
		batch, l.waiting = l.waiting, batch[:0]
		if len(batch) == 0 {
			l.delivering = false
			l.waiting = nil
			l.room.Broadcast()
			l.mu.Unlock()
			return
		}
		l.room.Broadcast()
		l.mu.Unlock()
		for _, m := range batch {
			l.b.handler.HandleMessage(m)
		}
	}
}

// rest returns when nothing is being delivered.
func (l *log) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.delivering {
		l.room.Wait()
	}
}

func (l *log) trim(now time.Time) {
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

// sweep reports whether the log has nothing left and may be forgotten.
func (l *log) sweep(now time.Time) bool {
	l.trim(now)
	l.forgetKeys(now)
	if l.retained != nil && l.retained.Expired(now) {
		l.retain(nil)
	}
	return len(l.kept) == 0 && len(l.keys) == 0 && l.retained == nil &&
		!l.delivering && now.Sub(l.used) > l.b.limits.Idle
}

func (l *log) read(q broker.Query, now time.Time) broker.Page {
	l.trim(now)
	page := broker.Page{Position: message.Position{Epoch: l.epoch, Seq: l.seq}}
	after := q.After
	if q.Epoch != "" && q.Epoch != l.epoch && (after > 0 || q.Before > 0) {
		page.Gap = true // all there is now came after that history
		after = 0
		if q.Before > 0 {
			return page
		}
	}
	// A reader at 0 asks for what is kept, unless it names the epoch and reads
	// forward: then, and at every other position, it asks for all that came after.
	if (after > 0 || q.Epoch == l.epoch && !q.Newest) && (after < l.lost || after > l.seq) {
		page.Gap = true
	}
	var chosen []*message.Message
	for _, m := range l.kept {
		if m.Seq > after && (q.Before == 0 || m.Seq < q.Before) && !m.Expired(now) {
			chosen = append(chosen, m)
		}
	}
	if page.More = len(chosen) > q.Limit; page.More {
		if q.Newest {
			chosen = chosen[len(chosen)-q.Limit:]
		} else {
			chosen = chosen[:q.Limit]
		}
	}
	page.Messages = chosen
	return page
}
