package flow

import (
	"slices"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
)

// maxOwed bounds the topics of a pattern without acknowledgements that wait in
// the log: beyond it the receiver is further behind than can be remembered.
const maxOwed = 4096

// compactFrom is how many topics with acknowledgements a pattern remembers
// before it looks which of them it can forget.
const compactFrom = 64

// many is how far the topics of a pattern have got. Without acknowledgements
// only those have a line that are owed, or had a last value that may still
// arrive as a live message; with them, all that had a message since base.
type many struct {
	lines map[string]*line
	queue []string // the owed ones
	// base is the message.Mark up to which everything is dealt with, apart from
	// what the lines say. While scanning, topics with news since base are still
	// to be found: those behind the name from.
	base      uint64
	scanning  bool
	from      string
	compactAt int               // lines; 0: never
	rest      int               // lines that could not be forgotten though all was acknowledged
	before    map[string]uint64 // compacting: the lines that may be forgotten, as they were before
}

func newMany() *many { return &many{lines: make(map[string]*line)} }

// Beginning says how a flow for a pattern begins.
type Beginning struct {
	// Mark is the message.Mark that what is handed over is above, and Marked
	// that there is one: without it nothing can be gone on from.
	Mark   uint64
	Marked bool
	// Resumed goes on from an earlier flow: the topics in At from there, all
	// others from Mark.
	Resumed bool
	At      map[string]message.Position
	// Kept are last values to begin with, and Late those of them that may still
	// arrive as live messages.
	Kept []*hub.Delivery
	Late []*message.Message
}

// FromMark tells a flow for a pattern where it begins.
func (w *Flow) FromMark(b Beginning) {
	y := newMany()
	if b.Marked {
		y.base, y.scanning, y.compactAt = b.Mark, b.Resumed, compactFrom
	}
	for name, at := range b.At {
		y.lines[name] = &line{epoch: at.Epoch, sent: at.Seq, acked: &acked{seq: at.Seq}, owed: true}
		y.queue = append(y.queue, name)
	}
	slices.Sort(y.queue)
	for _, m := range b.Late {
		y.lines[m.Topic] = &line{epoch: m.Epoch, sent: m.Seq}
	}
	r := w.aside()
	if r.many != nil { // topics of which too much arrived meanwhile
		for _, name := range r.many.queue {
			if y.lines[name] == nil {
				y.lines[name] = r.many.lines[name]
				y.queue = append(y.queue, name)
			}
		}
	}
	r.many, r.kept = y, b.Kept
}

func (y *many) idle() bool { return len(y.lines) == 0 && y.compactAt == 0 && !y.scanning }

// due reports whether there is something to read.
func (w *Flow) due() bool {
	y := w.rare.many
	return len(y.queue) > 0 || y.scanning || w.crowded()
}

// crowded reports whether it is worth while to look which topics can be
// forgotten: sooner when all is acknowledged, for then it is most of them.
func (w *Flow) crowded() bool {
	y := w.rare.many
	return y.compactAt > 0 && (len(y.lines) >= y.compactAt || w.acks.open == 0 && len(y.lines) >= max(compactFrom, 2*y.rest))
}

func (w *Flow) topics() *many {
	r := w.aside()
	if r.many == nil {
		r.many = newMany()
	}
	return r.many
}

// arriveAny takes a message of one of many topics.
func (w *Flow) arriveAny(d *hub.Delivery, to Taker) {
	m := d.Message
	var l *line
	if w.rare != nil && w.rare.many != nil {
		l = w.rare.many.lines[m.Topic]
	}
	switch {
	case l != nil:
		w.arriveLine(l, d, to)
	case w.acks != nil && d.Kept:
		w.arriveFirst(d, to)
	case w.stuck && spills(d):
		w.owe(m.Topic, &line{epoch: m.Epoch, sent: m.Prev, came: m.Seq})
	case !w.pass(d, to):
		w.stuck, w.ask = true, true
		w.owe(m.Topic, &line{epoch: m.Epoch, sent: m.Prev, came: m.Seq})
	}
}

// arriveLine takes a message of a topic that is known.
func (w *Flow) arriveLine(l *line, d *hub.Delivery, to Taker) {
	m := d.Message
	switch {
	case l.owed:
		l.came = m.Seq
		if w.rare.collecting && w.rare.reading == m.Topic {
			w.wait(d)
		}
		return
	case !w.isNew(l, m):
	case !w.hand(l, d, to):
		l.came = m.Seq
		w.owe(m.Topic, l)
		return
	}
	if l.acked == nil && m.Seq >= l.sent {
		delete(w.rare.many.lines, m.Topic)
	}
}

// arriveFirst takes the first message of a topic since base.
func (w *Flow) arriveFirst(d *hub.Delivery, to Taker) {
	m, y := d.Message, w.topics()
	if m.Mark != 0 && m.Mark <= y.base {
		return
	}
	l := &line{epoch: m.Epoch, sent: m.Prev, acked: &acked{seq: m.Prev}, unknown: y.scanning}
	y.lines[m.Topic] = l
	if l.unknown || !w.hand(l, d, to) {
		w.owe(m.Topic, l)
	}
}

// owe has the rest of a topic read from the log.
func (w *Flow) owe(topic string, l *line) {
	y := w.topics()
	if w.acks == nil && len(y.queue) >= maxOwed {
		w.phase = outrun
		return
	}
	l.owed = true
	y.lines[topic] = l
	y.queue = append(y.queue, topic)
}

// overflow takes what arrives when too much waits already.
func (w *Flow) overflow(d *hub.Delivery) {
	if w.acks == nil || !d.Kept {
		w.rare.pending, w.rare.missed = nil, true // known when it begins
		return
	}
	topic := d.Message.Topic
	l := w.topics().lines[topic]
	if l == nil {
		l = &line{epoch: d.Message.Epoch, acked: &acked{}, unknown: true}
	}
	if !l.owed {
		w.owe(topic, l)
	}
}

// chooseAny says what to read next: first what is owed, so that little is.
func (w *Flow) chooseAny() (Job, bool) {
	y := w.rare.many
	switch {
	case len(y.queue) > 0:
		name := y.queue[0]
		l := y.lines[name]
		j := w.read(name, l)
		if l.unknown {
			j.Kind, j.Mark = ReadSince, y.base
		}
		return j, true
	case y.scanning:
		return Job{Kind: ReadNews, Topic: y.from, Mark: y.base}, true
	case w.crowded():
		y.before = make(map[string]uint64)
		for topic, l := range y.lines {
			if l.done() {
				y.before[topic] = l.sent
			}
		}
		return Job{Kind: Compact, Mark: y.base}, true
	}
	return Job{}, false
}

// done reports whether all that is known of was acknowledged.
func (l *line) done() bool {
	return !l.owed && l.acked != nil && l.acked.open.len() == 0 && l.sent >= l.acked.found
}

// caughtUp forgets that a topic, the first of the queue, is owed.
func (w *Flow) caughtUp(topic string) {
	y := w.rare.many
	y.queue = y.queue[1:]
	if len(y.queue) == 0 {
		y.queue = nil
	}
	if l := y.lines[topic]; l.acked == nil && l.came >= l.sent { // else what was read is still to come live
		delete(y.lines, topic)
	}
}

// News takes topics that have something since base, in the order of their
// names; last tells that there are no more.
func (w *Flow) News(list []broker.News, last bool) {
	if w.phase != running {
		return
	}
	y := w.rare.many
	for _, n := range list {
		topic := string(n.Topic)
		if y.from = topic; y.lines[topic] == nil { // else more is known by now
			w.owe(topic, &line{epoch: n.Position.Epoch, sent: n.After, acked: &acked{seq: n.After}})
		}
	}
	if last {
		y.scanning, y.from = false, ""
	}
}

// Compacted makes mark the base and forgets the topics of which everything up
// to it is dealt with. list is all topics that have something since the base so
// far; it was read after mark, and mark after the job was given.
func (w *Flow) Compacted(mark uint64, list []broker.News) {
	if w.phase != running {
		return
	}
	y := w.rare.many
	for topic, l := range y.lines {
		if l.acked.found > l.sent && !l.owed { // it was found the last time, has not come yet, and may have expired
			w.owe(topic, l)
		}
	}
	newest := make(map[string]broker.News, len(list))
	for _, n := range list {
		topic := string(n.Topic)
		newest[topic] = n
		l := y.lines[topic]
		if l == nil { // on its way
			l = &line{epoch: n.Position.Epoch, sent: n.After, acked: &acked{seq: n.After}}
			y.lines[topic] = l
		}
		if l.epoch == n.Position.Epoch {
			l.acked.found = n.Position.Seq
		}
	}
	stays := 0
	for topic, sent := range y.before {
		l := y.lines[topic]
		if l == nil || !l.done() || l.sent != sent {
			continue
		}
		n, ok := newest[topic]
		if l.acked.mark > mark || ok && l.epoch != n.Position.Epoch { // a mark may be behind what was handed over
			stays++
			continue
		}
		delete(y.lines, topic)
	}
	y.before = nil
	y.base = max(y.base, mark)
	y.compactAt, y.rest = max(compactFrom, 2*len(y.lines)), 0
	if w.acks.open > 0 {
		return
	}
	for _, l := range y.lines {
		if !l.done() {
			stays++
		}
	}
	y.rest = stays
}

// saved are the positions to go on from, by topic.
func (y *many) saved() map[string]message.Position {
	out := make(map[string]message.Position, len(y.lines))
	for topic, l := range y.lines {
		if l.acked != nil && !l.unknown {
			out[topic] = l.settled()
		}
	}
	return out
}
