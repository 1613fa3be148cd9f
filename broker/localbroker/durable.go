package localbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// durable is what a stream has besides when its messages are on a disk.
type durable struct {
	committed uint64    // the highest seq that is on the disk; nobody sees more
	mark      uint64    // that message's
	pending   []pending // in order, from the oldest that is not on the disk
	keep      store.Keep
	floor     uint64 // the highest seq that the disk no longer has
	bytes     int64  // about what the disk has
	oldest    int64  // the time of the oldest message the disk has; 0 when it is not known
	trimming  bool   // somebody has been asked to trim
}

// pending is a message, or the repeat of one, that waits for what was before it.
type pending struct {
	message *message.Message // nil for a repeat
	result  broker.Result
	done    func(broker.Result, error)
}

// known is how much of a stream has been read from the disk.
type known uint8

const (
	knownNothing    known = iota
	knownHead             // its position and what it keeps
	knownPublishers       // its keys and producers as well
)

// maxRecalled bounds the keys read; more than a topic should be told to remember.
const maxRecalled = 1 << 20

// learn reads what is known of a topic from the disk. It is called without mu.
func (l *stream) learn(k known) error {
	l.learning.Lock()
	defer l.learning.Unlock()
	l.mu.Lock()
	has, durable := l.known, l.disk != nil
	l.mu.Unlock()
	if has == knownNothing {
		found, err := l.learnHead()
		if err != nil {
			return err
		}
		has, durable = knownHead, found
	}
	if has >= k || k < knownPublishers {
		return nil
	}
	var p store.Publishers
	if durable {
		var err error
		if p, err = l.b.disk.Recall(context.Background(), topic.Name(l.name), maxRecalled); err != nil {
			return l.unreadable(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = knownPublishers
	l.recall(p)
	return nil
}

func (l *stream) unreadable(err error) error {
	if errors.Is(err, store.ErrClosed) {
		return broker.ErrClosed
	}
	return fmt.Errorf("read the topic %s from the disk: %w", l.name, err)
}

// learnHead reads the position, and tells whether there is any.
func (l *stream) learnHead() (bool, error) {
	heads, err := l.b.disk.Topics(context.Background(), topic.Filter(l.name), store.TopicQuery{})
	if err != nil {
		return false, l.unreadable(err)
	}
	var last []*message.Message
	if len(heads) > 0 {
		if last, err = l.b.disk.Retained(context.Background(), topic.Filter(l.name)); err != nil {
			return false, l.unreadable(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = knownHead
	l.used = time.Now()
	if len(heads) == 0 {
		return false, nil
	}
	h := heads[0]
	l.epoch, l.seq, l.lost = h.Epoch, h.Last, h.First-1
	l.disk = &durable{committed: h.Last, mark: h.Mark, keep: h.Keep, floor: h.First - 1, bytes: h.Bytes}
	l.age = time.Duration(h.Keep.Age) * time.Millisecond
	l.forgetCounted()
	for _, m := range last {
		l.retain(m)
	}
	return true, nil
}

// recall takes over what the disk remembers of publishers.
func (l *stream) recall(p store.Publishers) {
	for _, k := range p.Keys {
		l.account(l.remember(k.From+"\x00"+k.Key, k.Seq, time.UnixMilli(k.Until)))
	}
	for _, r := range p.Producers {
		if l.producers == nil {
			l.producers = make(map[string]*producer, len(p.Producers))
		}
		l.producers[r.Producer] = &producer{epoch: r.Epoch, n: r.N, seqs: []uint64{r.Seq}}
	}
}

// publishDurable is called with mu held and releases it.
func (l *stream) publishDurable(m *message.Message, o broker.Options, done func(broker.Result, error)) {
	answer := l.accept(m, o, done)
	l.mu.Unlock()
	answer()
}

// accept takes a message for the disk, and returns what is to be done without the
// lock: nothing when it is answered later.
func (l *stream) accept(m *message.Message, o broker.Options, done func(broker.Result, error)) (answer func()) {
	if err := l.acceptable(m, o); err != nil {
		return func() { done(broker.Result{}, err) }
	}
	now := time.Now()
	l.used = now
	if o.Ephemeral {
		return l.acceptEphemeral(m, done)
	}
	r, err := l.repeat(m, o, now)
	if err != nil {
		return func() { done(broker.Result{}, err) }
	}
	d := l.disk
	p := pending{message: m, done: done}
	if r.Duplicate {
		if r.Position.Seq <= d.committed && !(r.Position.Seq == 0 && len(d.pending) > 0) {
			return func() { done(r, nil) }
		}
		p.message, p.result = nil, r
	} else {
		l.b.committer.bytes.Add(int64(m.Size()))
		l.place(m)
		p.result = broker.Result{Position: m.Position()}
		l.b.committer.push(placed{stream: l, entry: l.entry(m, o, now), sync: o.Durability == broker.SyncAlways})
	}
	d.pending = append(d.pending, p)
	return later
}

// later answers nothing: release will.
func later() {}

// acceptable tells why m cannot be taken, and makes the topic durable.
func (l *stream) acceptable(m *message.Message, o broker.Options) error {
	if l.b.disk == nil {
		return broker.ErrNotDurable
	}
	if err := l.refusal(m, o); err != nil {
		return err
	}
	if err := l.b.committer.refusal(); err != nil {
		return err
	}
	if l.disk == nil {
		l.becomeDurable()
	}
	return nil
}

// becomeDurable begins a durable topic. What was published to it in memory
// belongs to an epoch that has ended.
func (l *stream) becomeDurable() {
	for l.delivering {
		l.room.Wait()
	}
	if l.disk != nil {
		return // somebody else was quicker
	}
	if l.seq > 0 {
		l.uncache(len(l.kept))
		l.account(-l.forgetKeys(time.Time{}, 0))
		l.retain(nil)
		l.sequence = sequence{epoch: l.b.nextEpoch()}
		l.lost = 0
	}
	l.disk = &durable{}
}

// acceptEphemeral delivers m when all before it is delivered.
func (l *stream) acceptEphemeral(m *message.Message, done func(broker.Result, error)) func() {
	m.Epoch = l.epoch
	l.b.committer.bytes.Add(int64(m.Size()))
	r := broker.Result{Position: m.Position()}
	if len(l.disk.pending) > 0 {
		l.disk.pending = append(l.disk.pending, pending{message: m, result: r, done: done})
		return later
	}
	l.waiting = append(l.waiting, m)
	deliver := !l.delivering
	l.delivering = true
	return func() {
		done(r, nil)
		if deliver {
			l.b.committer.ready.add(l)
		}
	}
}

// entry is what goes to the disk for a message that has its place.
func (l *stream) entry(m *message.Message, o broker.Options, now time.Time) store.Entry {
	e := store.Entry{Message: m, Retain: m.Retain, Forget: l.dropProducers()}
	if l.rememberKey(m, o, now); m.Key != "" {
		e.KeyUntil = now.Add(o.KeyWindow).UnixMilli()
	}
	l.age = o.HistoryAge
	keep := store.Keep{Count: uint64(max(o.History, 0)), Bytes: o.HistoryBytes, Age: o.HistoryAge.Milliseconds()}
	if keep.Count == 0 {
		keep.Count = keepNothing
	}
	if keep != l.disk.keep || m.Seq == 1 {
		l.disk.keep = keep
		e.Keep = &keep
	}
	return e
}

// keepNothing stands for a History of 0 where 0 is no bound: everything that can
// be, is forgotten.
const keepNothing = 1 << 63

// release answers what is on the disk up to seq and what waited for it, and has it
// delivered; or answers everything with failure.
func (l *stream) release(seq uint64, failure *error) {
	l.mu.Lock()
	d := l.disk
	n := 0
	for n < len(d.pending) && (failure != nil || d.pending[n].due(seq)) {
		n++
	}
	due := d.pending[:n:n]
	if d.pending = d.pending[n:]; len(d.pending) == 0 {
		d.pending = nil
	}
	if failure == nil {
		d.committed = max(d.committed, seq)
		l.publishCommitted(due)
	}
	deliver := len(l.waiting) > 0 && !l.delivering
	l.delivering = l.delivering || deliver
	l.room.Broadcast()
	l.mu.Unlock()
	for i := range due {
		if failure != nil {
			due[i].done(broker.Result{}, *failure)
		} else {
			due[i].done(due[i].result, nil)
		}
	}
	if deliver {
		l.b.committer.ready.add(l)
	}
}

// due tells whether p can be answered when everything up to seq is on the disk.
func (p *pending) due(seq uint64) bool { return p.message == nil || p.message.Seq <= seq }

// publishCommitted makes visible what is on the disk.
func (l *stream) publishCommitted(due []pending) {
	for i := range due {
		m := due[i].message
		if m == nil {
			continue
		}
		l.waiting = append(l.waiting, m)
		if m.Seq == 0 {
			continue
		}
		if m.Retain {
			l.retain(m)
		}
		l.disk.bytes += storedSize(m)
		l.disk.mark = m.Mark
		if l.disk.oldest == 0 && m.Seq == l.disk.floor+1 {
			l.disk.oldest = m.Time
		}
		l.keep(m)
	}
	if n := len(l.kept) - l.b.limits.Tail; n > 0 {
		l.uncache(n)
	}
	if l.b.bytes.Load() > l.b.limits.Bytes {
		l.uncache((len(l.kept) + 1) / 2)
	}
	l.forgetCounted()
	l.trimSoon(l.used)
}

// storedSize is about what a message takes on the disk.
func storedSize(m *message.Message) int64 {
	n := 48 + len(m.ID) + len(m.Type) + len(m.From) + len(m.Payload)
	for k, v := range m.Headers {
		n += 2 + len(k) + len(v)
	}
	return int64(n)
}

// forgetCounted moves lost up to where the count says.
func (l *stream) forgetCounted() {
	d := l.disk
	count := d.keep.Count
	switch count {
	case 0:
		return
	case keepNothing:
		count = 0
	}
	if d.committed > count {
		l.lost = max(l.lost, d.committed-count)
	}
	l.uncacheLost()
}

// uncacheLost takes what is lost out of memory too.
func (l *stream) uncacheLost() {
	if n := slices.IndexFunc(l.kept, func(m *message.Message) bool { return m.Seq > l.lost }); n > 0 {
		l.uncache(n)
	} else if n < 0 {
		l.uncache(len(l.kept))
	}
}
