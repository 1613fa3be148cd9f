package pubsub

import (
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
)

// What arrives while the log is read is bounded in number and bytes. Above
// that the log is simply read once more, up to where it has got to; a pattern
// that begins has more patience.
const (
	maxPending      = 256
	maxPendingBytes = 256 << 10
	morePatience    = 16
)

// taker is the receiver of a flow. take reports false when it has no room.
type taker interface {
	take(d *hub.Delivery) bool
}

// flow decides what one subscription hands to its receiver and when, so that it
// gets every message of a topic from its beginning, in order, without gap or
// duplicate. It is pure: no goroutine, no clock, no I/O. Who drives it sees to
// it that calls do not overlap, and asks for effects after each.
//
// A topic is either live, and what arrives is handed over at once. Or it is
// owed: the receiver had no room, or too much was unacknowledged, or the
// subscription has only begun. Then nothing of it is kept here, and what the
// receiver has not got is read from the log, a page at a time. While a page is
// being read, what arrives waits, so that the last page ends with a switch back
// to live.
type flow struct {
	own   string // messages with Except this are passed over
	phase phase
	wild  bool
	stuck bool    // the receiver has no room, and says when it has
	ask   bool    // it is to be asked to say so
	busy  bool    // somebody reads, or will soon
	one   line    // of a subscription to one topic
	acks  *window // nil when nothing is acknowledged
	rare  *rare   // nil when there is nothing of it
}

type phase uint8

const (
	opening  phase = iota // what arrives waits until begin
	greeting              // and until the receiver has what it begins with
	running
	flooded // more arrived before it began than may wait
	outrun  // more topics are owed than can be remembered
	closed
)

// line is how far one topic has got.
type line struct {
	epoch   string
	sent    uint64 // everything up to it was handed over, or is not for this receiver
	came    uint64 // the newest that has arrived while it was owed
	acked   *acked // nil when nothing is acknowledged
	owed    bool
	unknown bool // sent is not
}

// acked is what a receiver has and has not acknowledged of one topic.
type acked struct {
	seq  uint64
	open seqs // handed over since, oldest first
	// found is the newest message of a pattern's topic that is known to be in the
	// log, though it may not have arrived.
	found uint64
}

// window bounds what is handed over and not acknowledged.
type window struct {
	limit, open int
}

// rare is what a flow has while it is opening, behind, or follows many topics.
type rare struct {
	first      *page           // what it begins with, or
	kept       []*hub.Delivery // last values
	pending    []*hub.Delivery
	bytes      int  // of pending
	missed     bool // pending was full
	collecting bool // what arrives of the topic being read waits
	reading    string
	many       *many // of a pattern
	userName   string
}

// arrive takes what the hub delivers.
func (w *flow) arrive(d *hub.Delivery, to taker) {
	m := d.Message
	switch {
	case w.phase == opening || w.phase == greeting:
		w.wait(d)
	case w.phase != running:
	case m == nil || m.Seq == 0:
		w.pass(d, to)
	case w.wild:
		w.arriveAny(d, to)
	case w.rare != nil && w.rare.collecting:
		w.wait(d)
	case !w.one.owed && w.isNew(&w.one, m):
		w.one.owed = !w.hand(&w.one, d, to)
	}
}

// pass hands over what has no place in a history.
func (w *flow) pass(d *hub.Delivery, to taker) bool {
	return w.isOwn(d.Message) || to.take(d)
}

func (w *flow) isOwn(m *message.Message) bool { return m != nil && m.Except != "" && m.Except == w.own }

// hand gives the next message of a topic to the receiver, if it may have it
// and takes it.
func (w *flow) hand(l *line, d *hub.Delivery, to taker) bool {
	if !w.isOwn(d.Message) {
		if w.full() || w.stuck && spills(d) {
			return false
		}
		if !to.take(d) {
			w.stuck, w.ask = true, true
			return false
		}
		if l.acked != nil {
			l.acked.open.push(d.Message.Seq)
			w.acks.open++
		}
	}
	l.sent = d.Message.Seq
	return true
}

func spills(d *hub.Delivery) bool { return d.Shape != nil && d.Shape.Pressure == hub.PressureSpill }

func (w *flow) full() bool { return w.acks != nil && w.acks.open >= w.acks.limit }

// isNew reports whether m was not handed over before. A message can be read
// from the log and only then arrive as a live one.
func (w *flow) isNew(l *line, m *message.Message) bool {
	if m.Epoch == l.epoch {
		return m.Seq > l.sent
	}
	w.restart(l, m.Epoch, 0)
	return true
}

// restart begins another history: what is known of the old one is void.
func (w *flow) restart(l *line, epoch string, sent uint64) {
	l.epoch, l.sent = epoch, sent
	if l.acked != nil {
		w.acks.open -= l.acked.open.len()
		*l.acked = acked{seq: sent}
	}
}

// wait keeps d until what comes before it has been handed over.
func (w *flow) wait(d *hub.Delivery) {
	r := w.aside()
	times, begins := 1, w.wild && w.phase != running
	if begins {
		times = morePatience
	}
	switch {
	case r.missed:
	case len(r.pending) < times*maxPending && r.bytes < times*maxPendingBytes:
		r.pending = append(r.pending, d)
		if d.Message != nil {
			r.bytes += d.Message.Size()
		}
	case begins:
		w.overflow(d)
	default:
		r.pending, r.bytes, r.missed = nil, 0, true
	}
}

func (w *flow) aside() *rare {
	if w.rare == nil {
		w.rare = &rare{}
	}
	return w.rare
}

// effects are what the driver of a flow has to do now.
type effects struct {
	ask  bool  // ask the receiver to say when it has room, and call ready then
	work bool  // call next until it has nothing more
	end  phase // flooded or outrun: the flow has ended
}

func (w *flow) effects() effects {
	e := effects{ask: w.ask}
	w.ask = false
	if w.phase != closed && (w.rare != nil || w.one.owed) {
		e.work = w.wants()
		w.busy = w.busy || e.work
	}
	if w.phase == flooded || w.phase == outrun {
		e.end = w.phase
		w.close()
	}
	return e
}

// wants reports whether there is something to do that can be done now, and
// nobody does it.
func (w *flow) wants() bool {
	return !w.busy && !w.stuck && (w.phase == greeting || w.phase == running && !w.full() && w.behind())
}

// behind reports whether the receiver is owed anything.
func (w *flow) behind() bool {
	return w.one.owed || w.rare != nil && w.rare.many != nil && w.rare.many.due()
}

// ready notes that the receiver has room again.
func (w *flow) ready() { w.stuck = false }

// begin ends opening. The receiver gets what was set aside for it first.
func (w *flow) begin() (userName string) {
	if w.phase != opening {
		return ""
	}
	w.phase = greeting
	return w.aside().userName
}

// close ends the flow. How far it has got is still known.
func (w *flow) close() {
	w.phase = closed
	if r := w.rare; r != nil {
		w.rare = &rare{many: r.many}
	}
}

// next hands over what it can, and tells what to read then; false when nothing
// can be done for now.
func (w *flow) next(to taker) (job, bool) {
	if w.phase == greeting && !w.stuck {
		w.greet(to)
	}
	if w.phase == running && !w.stuck && !w.full() {
		if j, ok := w.choose(); ok {
			return j, true
		}
	}
	w.busy = false
	w.relax()
	return job{}, false
}

// greet hands over what the subscription begins with, and what arrived
// meanwhile.
func (w *flow) greet(to taker) {
	r := w.rare
	if w.wild && r.missed {
		w.phase = flooded
		return
	}
	for len(r.kept) > 0 {
		if !w.pass(r.kept[0], to) {
			w.stuck, w.ask = true, true
			return
		}
		r.kept = r.kept[1:]
	}
	r.kept, w.phase = nil, running
	if w.wild {
		waited := r.pending
		r.pending, r.bytes = nil, 0
		for _, d := range waited {
			w.arrive(d, to)
		}
		return
	}
	w.one.owed = true
	if first := r.first; first != nil {
		r.first = nil
		w.page(*first, to)
		return
	}
	w.settle(&w.one, to)
}

// relax gives back what is not needed any more.
func (w *flow) relax() {
	if r := w.rare; w.phase == running && r != nil && !r.collecting && (r.many == nil || r.many.idle()) {
		w.rare = nil
	}
}

// kinds of jobs.
const (
	readPage  = iota // of topic, behind after
	readSince        // of topic, what is newer than mark
	readNews         // topics that have something newer than mark, behind the name topic
	compact          // where all topics are that have something newer than mark
)

// job is something to be read for a flow.
type job struct {
	kind  int
	topic string // "" for the only one
	epoch string
	after uint64
	mark  uint64
}

// choose says what to read next.
func (w *flow) choose() (job, bool) {
	switch {
	case w.one.owed:
		return w.read("", &w.one), true
	case w.wild && w.rare != nil && w.rare.many != nil:
		return w.chooseAny()
	}
	return job{}, false
}

// read begins a page of one topic.
func (w *flow) read(name string, l *line) job {
	r := w.aside()
	r.pending, r.bytes, r.missed = nil, 0, false
	r.collecting, r.reading = true, name
	return job{kind: readPage, topic: name, epoch: l.epoch, after: l.sent}
}

// page is a part of one topic's history.
type page struct {
	after    uint64 // list is all that was kept above it
	list     []*hub.Delivery
	position message.Position // the newest of the topic; list ends there unless more
	more     bool
	gap      *hub.Delivery // says that messages before list are lost; nil when none are
}

// page takes what was read, and hands it over.
func (w *flow) page(p page, to taker) {
	l := w.readLine()
	if w.phase != running || l == nil {
		return
	}
	if l.unknown || l.epoch != p.position.Epoch {
		w.restart(l, p.position.Epoch, p.after)
	}
	l.unknown = false
	if p.gap != nil {
		to.take(p.gap)
	}
	for _, d := range p.list {
		if !w.hand(l, d, to) {
			w.pause()
			return
		}
	}
	if p.more {
		return
	}
	l.sent = max(l.sent, p.position.Seq)
	w.settle(l, to)
}

func (w *flow) readLine() *line {
	if !w.wild {
		return &w.one
	}
	if w.rare == nil || w.rare.many == nil {
		return nil
	}
	return w.rare.many.lines[w.rare.reading]
}

// settle hands over what arrived while the last page was read, and makes the
// topic live.
func (w *flow) settle(l *line, to taker) {
	r := w.rare
	if r.missed {
		return // the next page begins behind what was handed over
	}
	for _, d := range r.pending {
		switch m := d.Message; {
		case m == nil || m.Seq == 0:
			w.pass(d, to)
		case w.isNew(l, m) && !w.hand(l, d, to):
			w.pause()
			return
		}
	}
	w.pause()
	l.owed = false
	if w.wild {
		w.caughtUp(r.reading)
	}
}

// pause ends reading for now.
func (w *flow) pause() {
	w.rare.pending, w.rare.bytes, w.rare.missed, w.rare.collecting = nil, 0, false, false
}

// ack notes that the receiver has dealt with everything up to seq of a topic,
// and returns where it is to go on from some day; false when that is nothing
// new.
func (w *flow) ack(topic string, seq uint64) (message.Position, bool) {
	l := &w.one
	if w.wild {
		if w.rare == nil || w.rare.many == nil {
			return message.Position{}, false
		}
		l = w.rare.many.lines[topic]
	}
	if l == nil || l.acked == nil || seq > l.sent || seq <= l.acked.seq {
		return message.Position{}, false
	}
	l.acked.seq = seq
	w.acks.open -= l.acked.open.popTo(seq)
	return l.settled(), true
}

// settled is where the receiver goes on from.
func (l *line) settled() message.Position {
	if l.acked == nil || l.acked.open.len() == 0 {
		return message.Position{Epoch: l.epoch, Seq: l.sent}
	}
	return message.Position{Epoch: l.epoch, Seq: l.acked.seq}
}

// seqs is a queue of sequence numbers that takes little while it is short.
type seqs struct {
	ring    []uint64
	head, n int
}

// smallSeqs is how much an empty queue may keep for the next time.
const smallSeqs = 8

func (q *seqs) len() int { return q.n }

func (q *seqs) push(seq uint64) {
	if q.n == len(q.ring) {
		ring := make([]uint64, max(2, 2*q.n))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)%q.n]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)%len(q.ring)] = seq
	q.n++
}

// popTo removes the numbers up to seq and returns how many they were.
func (q *seqs) popTo(seq uint64) int {
	before := q.n
	for q.n > 0 && q.ring[q.head] <= seq {
		q.head = (q.head + 1) % len(q.ring)
		q.n--
	}
	if q.n == 0 && len(q.ring) > smallSeqs {
		q.ring = nil
	}
	return before - q.n
}
