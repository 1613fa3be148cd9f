// Package flow decides what one subscription hands to its receiver, and when.
package flow

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

// Taker is the receiver of a flow. Take reports false when it has no room.
type Taker interface {
	Take(d *hub.Delivery) bool
}

// Flow decides what one subscription hands to its receiver and when, so that it
// gets every message of a topic from its beginning, in order, without gap or
// duplicate. It is pure: no goroutine, no clock, no I/O. Who drives it sees to
// it that calls do not overlap, and asks for Effects after each.
//
// A topic is either live, and what arrives is handed over at once. Or it is
// owed: the receiver had no room, or too much was unacknowledged, or the
// subscription has only begun. Then nothing of it is kept here, and what the
// receiver has not got is read from the log, a page at a time. While a page is
// being read, what arrives waits, so that the last page ends with a switch back
// to live.
type Flow struct {
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
	mark  uint64 // of the newest message that was handed over
}

// window bounds what is handed over and not acknowledged.
type window struct {
	limit, open int
}

// rare is what a flow has while it is opening, behind, or follows many topics.
type rare struct {
	first      *Page           // what it begins with, or
	kept       []*hub.Delivery // last values
	pending    []*hub.Delivery
	bytes      int  // of pending
	missed     bool // pending was full
	collecting bool // what arrives of the topic being read waits
	reading    string
	many       *many // of a pattern
}

// Open prepares a flow. Messages with Except own are passed over. Window is how
// many messages may be handed over without being acknowledged; with 0 none is
// to be. What arrives waits until Begin.
func (w *Flow) Open(own string, pattern bool, limit int) {
	w.own, w.wild = own, pattern
	if limit > 0 {
		both := &struct { // side by side: every message needs both
			window
			acked
		}{window: window{limit: limit}}
		w.acks = &both.window
		if !pattern {
			w.one.acked = &both.acked
		}
	}
	w.aside()
}

// Acknowledged reports whether what is handed over is to be acknowledged.
func (w *Flow) Acknowledged() bool { return w.acks != nil }

// Pattern reports whether the flow is for many topics.
func (w *Flow) Pattern() bool { return w.wild }

// From tells a flow for one topic where it begins: behind at, with what first
// holds if there is that, else with last values.
func (w *Flow) From(at message.Position, first *Page, kept []*hub.Delivery) {
	w.one.epoch, w.one.sent = at.Epoch, at.Seq
	if w.one.acked != nil {
		w.one.acked.seq = at.Seq
	}
	r := w.aside()
	r.first, r.kept = first, kept
}

// Sent returns up to where everything was handed over, of a flow for one topic.
func (w *Flow) Sent() uint64 { return w.one.sent }

// Arrive takes what the hub delivers.
func (w *Flow) Arrive(d *hub.Delivery, to Taker) {
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
func (w *Flow) pass(d *hub.Delivery, to Taker) bool {
	return w.isOwn(d.Message) || to.Take(d)
}

func (w *Flow) isOwn(m *message.Message) bool { return m != nil && m.Except != "" && m.Except == w.own }

// hand gives the next message of a topic to the receiver, if it may have it
// and takes it.
func (w *Flow) hand(l *line, d *hub.Delivery, to Taker) bool {
	if !w.isOwn(d.Message) {
		if w.full() || w.stuck && spills(d) {
			return false
		}
		if !to.Take(d) {
			w.stuck, w.ask = true, true
			return false
		}
		if l.acked != nil {
			l.acked.open.push(d.Message.Seq)
			w.acks.open++
		}
	}
	l.sent = d.Message.Seq
	if l.acked != nil {
		l.acked.mark = d.Message.Mark
	}
	return true
}

func spills(d *hub.Delivery) bool { return d.Shape != nil && d.Shape.Pressure == hub.PressureSpill }

func (w *Flow) full() bool { return w.acks != nil && w.acks.open >= w.acks.limit }

// isNew reports whether m was not handed over before. A message can be read
// from the log and only then arrive as a live one.
func (w *Flow) isNew(l *line, m *message.Message) bool {
	if m.Epoch == l.epoch {
		return m.Seq > l.sent
	}
	w.restart(l, m.Epoch, 0)
	return true
}

// restart begins another history: what is known of the old one is void.
func (w *Flow) restart(l *line, epoch string, sent uint64) {
	l.epoch, l.sent = epoch, sent
	if l.acked != nil {
		w.acks.open -= l.acked.open.len()
		*l.acked = acked{seq: sent}
	}
}

// wait keeps d until what comes before it has been handed over.
func (w *Flow) wait(d *hub.Delivery) {
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

func (w *Flow) aside() *rare {
	if w.rare == nil {
		w.rare = &rare{}
	}
	return w.rare
}

// End says why a flow has ended by itself.
type End uint8

// The ends of a flow.
const (
	Goes    End = iota // it has not ended
	Flooded            // more arrived before it began than may wait
	Outrun             // more topics are owed than can be remembered
)

// Effects are what the driver of a flow has to do now.
type Effects struct {
	Ask  bool // ask the receiver to say when it has room, and call Ready then
	Work bool // call Next until it has nothing more
	End  End
}

// Calm reports whether Effects would be none, as nearly always.
func (w *Flow) Calm() bool { return w.phase == running && w.rare == nil && !w.ask }

// Effects returns what is to be done since the last call.
func (w *Flow) Effects() Effects {
	e := Effects{Ask: w.ask}
	w.ask = false
	if w.phase != closed && (w.rare != nil || w.one.owed) {
		e.Work = w.wants()
		w.busy = w.busy || e.Work
	}
	switch w.phase {
	case flooded:
		e.End = Flooded
		w.Close()
	case outrun:
		e.End = Outrun
		w.Close()
	case opening, greeting, running, closed:
	}
	return e
}

// wants reports whether there is something to do that can be done now, and
// nobody does it.
func (w *Flow) wants() bool {
	return !w.busy && !w.stuck && (w.phase == greeting || w.phase == running && !w.full() && w.behind())
}

// behind reports whether the receiver is owed anything.
func (w *Flow) behind() bool {
	return w.one.owed || w.rare != nil && w.rare.many != nil && w.due()
}

// Ready notes that the receiver has room again.
func (w *Flow) Ready() { w.stuck = false }

// Begin ends opening. The receiver gets what was set aside for it first.
func (w *Flow) Begin() {
	if w.phase == opening {
		w.aside()
		w.phase = greeting
	}
}

// Closed reports whether the flow has ended.
func (w *Flow) Closed() bool { return w.phase == closed }

// Close ends the flow. How far it has got is still known.
func (w *Flow) Close() {
	w.phase = closed
	if r := w.rare; r != nil {
		w.rare = &rare{many: r.many}
	}
}

// Next hands over what it can, and tells what to read then; false when nothing
// can be done for now.
func (w *Flow) Next(to Taker) (Job, bool) {
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
	return Job{}, false
}

// Greet is Next for the beginning: it hands over what was set aside for it, and
// reports whether Next has more to do.
func (w *Flow) Greet(to Taker) (more bool) {
	if w.phase == greeting && !w.stuck {
		w.greet(to)
	}
	if w.phase == running && !w.stuck && !w.full() && w.behind() {
		return true
	}
	w.busy = false
	w.relax()
	return false
}

// greet hands over what the subscription begins with, and what arrived
// meanwhile.
func (w *Flow) greet(to Taker) {
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
			w.Arrive(d, to)
		}
		return
	}
	w.one.owed = true
	if first := r.first; first != nil {
		r.first = nil
		w.Page(*first, to)
		return
	}
	w.settle(&w.one, to)
}

// relax gives back what is not needed any more.
func (w *Flow) relax() {
	if r := w.rare; w.phase == running && r != nil && !r.collecting && (r.many == nil || r.many.idle()) {
		w.rare = nil
	}
}

// Kinds of jobs.
const (
	ReadPage  = iota // of topic, behind after
	ReadSince        // of topic, what is newer than mark
	ReadNews         // topics that have something newer than mark, behind the name topic
	Compact          // where all topics are that have something newer than mark
)

// Job is something to be read for a flow.
type Job struct {
	Kind  int
	Topic string // "" for the only one
	Epoch string
	After uint64
	Mark  uint64
}

// choose says what to read next.
func (w *Flow) choose() (Job, bool) {
	switch {
	case w.one.owed:
		return w.read("", &w.one), true
	case w.wild && w.rare != nil && w.rare.many != nil:
		return w.chooseAny()
	}
	return Job{}, false
}

// read begins a page of one topic.
func (w *Flow) read(name string, l *line) Job {
	r := w.aside()
	r.pending, r.bytes, r.missed = nil, 0, false
	r.collecting, r.reading = true, name
	return Job{Kind: ReadPage, Topic: name, Epoch: l.epoch, After: l.sent}
}

// Page is a part of one topic's history.
type Page struct {
	After    uint64 // List is all that was kept above it
	List     []*hub.Delivery
	Position message.Position // the newest of the topic; List ends there unless More
	More     bool
	To       uint64        // with More: up to where List is complete
	Gap      *hub.Delivery // says that messages before List are lost; nil when none are
}

// Page takes what was read, and hands it over.
func (w *Flow) Page(p Page, to Taker) {
	l := w.readLine()
	if w.phase != running || l == nil {
		return
	}
	if l.unknown || l.epoch != p.Position.Epoch {
		w.restart(l, p.Position.Epoch, p.After)
	}
	l.unknown = false
	if p.Gap != nil {
		to.Take(p.Gap)
	}
	for _, d := range p.List {
		if !w.hand(l, d, to) {
			w.pause()
			return
		}
	}
	if p.More {
		l.sent = max(l.sent, p.To)
		return
	}
	l.sent = max(l.sent, p.Position.Seq)
	w.settle(l, to)
}

func (w *Flow) readLine() *line {
	if w.rare == nil {
		return nil
	}
	return w.line(w.rare.reading)
}

// settle hands over what arrived while the last page was read, and makes the
// topic live.
func (w *Flow) settle(l *line, to Taker) {
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
func (w *Flow) pause() {
	w.rare.pending, w.rare.bytes, w.rare.missed, w.rare.collecting = nil, 0, false, false
}

// Ack notes that the receiver has dealt with everything up to seq of a topic,
// and returns where it is to go on from some day; false when that is nothing
// new.
func (w *Flow) Ack(topic string, seq uint64) (message.Position, bool) {
	l := w.line(topic)
	if l == nil || l.acked == nil || seq > l.sent || seq <= l.acked.seq {
		return message.Position{}, false
	}
	l.acked.seq = seq
	w.acks.open -= l.acked.open.popTo(seq)
	return l.settled(), true
}

// line returns how far a topic has got; nil when nothing is known of it.
func (w *Flow) line(topic string) *line {
	switch {
	case !w.wild:
		return &w.one
	case w.rare == nil || w.rare.many == nil:
		return nil
	}
	return w.rare.many.lines[topic]
}

// AckAt is Ack for a position; one of another epoch means nothing.
func (w *Flow) AckAt(topic string, at message.Position) {
	if l := w.line(topic); l != nil && l.epoch == at.Epoch {
		w.Ack(topic, at.Seq)
	}
}

// Saved returns where a later flow goes on: the message.Mark that a pattern's
// topics have all got to but for those named, and these. name is the topic of a
// flow for one.
func (w *Flow) Saved(name string) (mark uint64, at map[string]message.Position) {
	switch {
	case w.acks == nil:
		return 0, nil
	case !w.wild:
		return 0, map[string]message.Position{name: w.one.settled()}
	case w.rare == nil || w.rare.many == nil:
		return 0, nil
	}
	return w.rare.many.base, w.rare.many.saved()
}

// settled is where the receiver goes on from.
func (l *line) settled() message.Position {
	if l.acked == nil || l.acked.open.len() == 0 {
		return message.Position{Epoch: l.epoch, Seq: l.sent}
	}
	return message.Position{Epoch: l.epoch, Seq: l.acked.seq}
}
