package flight

import (
	"iter"
	"slices"
)

// Ref names a message on its way to a client.
type Ref struct {
	Topic, Epoch string
	Seq          uint64 // 0: it has no place in a history, so it cannot be sent again
	Share        string // the group it came through
}

// Ack says that a client is done with everything of a topic up to Seq.
type Ack struct {
	Topic, Share string
	Seq          uint64
}

// place is what is acknowledged cumulatively.
type place struct{ topic, share string }

func (r Ref) place() place { return place{r.Topic, r.Share} }

// stage is how far a message has got.
type stage byte

const (
	restored stage = iota // was sent on an earlier connection, and not yet on this one
	sent
	released // QoS 2: PUBREC has come, or the message will not come any more
	finished
)

// flying is a message that is not acknowledged, or not all before it are.
type flying struct {
	Ref

	id    uint16
	qos   byte
	stage stage
}

// Outbound is the sending side: what a client is handed.
//
// A message that is sent again keeps its packet identifier, by which the client
// knows it; at QoS 2 even when the server was killed in between. So a snapshot
// must be on the disk before a PUBLISH of QoS 2 leaves, and before a PUBREL
// does.
type Outbound struct {
	max    int // receive maximum of the client
	last   uint16
	count  int // of those that are sent or released
	byID   map[uint16]*flying
	lanes  map[place][]*flying // of each topic, in its order
	floors floors
}

// maxID is how many identifiers are used before they come round: fewer than
// there are, so that who uses this can have a frame ready for each.
const maxID = 1 << 13

// NewOutbound returns the state of a new session.
func NewOutbound() *Outbound {
	return &Outbound{max: maxID, byID: make(map[uint16]*flying), lanes: make(map[place][]*flying)}
}

// SetMaximum bounds what may be under way at once.
func (o *Outbound) SetMaximum(n uint16) { o.max = int(n) }

// Full reports whether the client may get no more for now.
func (o *Outbound) Full() bool { return o.count >= o.max || len(o.byID) >= maxID }

// Idle reports whether there is nothing to remember.
func (s State) Idle() bool {
	return len(s.held) == 0 && len(s.byID) == 0 && len(s.lanes) == 0 && len(s.floors.order) == 0
}

// Sending says how a message is sent.
type Sending struct {
	ID  uint16
	QoS byte
	Dup bool // it was sent before
	// Skip: nothing is sent, the client has it. Ack, where it has a Seq, was
	// lost and is to be said again.
	Skip bool
	Ack  Ack
	// Stale are identifiers of QoS 2 whose message will not come any more: a
	// PUBREL tells the client to forget them.
	Stale []uint16
}

// Send takes a message of QoS 1 or 2 that is due. It must not be called while
// Full. Those of one topic come in its order; after a new connection again
// from the last acknowledged on.
func (o *Outbound) Send(r Ref, qos byte) (s Sending) {
	if r.Seq > 0 && r.Share == "" {
		s.Stale = o.retire(func(f *flying) bool { return f.Epoch != r.Epoch || f.Seq < r.Seq }, r.place())
		if o.floors.cover(r) {
			s.Skip, s.Ack = true, Ack{r.Topic, r.Share, r.Seq}
			return s
		}
	}
	for _, f := range o.lanes[r.place()] {
		if f.Seq == r.Seq && f.Epoch == r.Epoch {
			return o.again(f, s)
		}
	}
	f := &flying{Ref: r, id: o.free(), qos: qos, stage: sent}
	o.byID[f.id] = f
	o.count++
	if r.Seq > 0 {
		o.join(f)
	}
	s.ID, s.QoS = f.id, qos
	return s
}

// join puts a message into its lane. Those of a topic come in their order;
// what a group gives may come late, because another member had it before.
func (o *Outbound) join(f *flying) {
	lane := o.lanes[f.place()]
	at := len(lane)
	for at > 0 && lane[at-1].Epoch == f.Epoch && lane[at-1].Seq > f.Seq {
		at--
	}
	o.lanes[f.place()] = slices.Insert(lane, at, f)
}

// again takes a message that is in the lane already.
func (o *Outbound) again(f *flying, s Sending) Sending {
	s.ID, s.QoS, s.Dup, s.Skip = f.id, f.qos, true, f.stage != restored
	if f.stage == restored {
		f.stage = sent
		o.count++
	}
	return s
}

// free returns an identifier that is not in use.
func (o *Outbound) free() uint16 {
	for {
		if o.last = o.last%maxID + 1; o.byID[o.last] == nil {
			return o.last
		}
	}
}

// retire gives up the restored messages of some topics that are gone. It
// returns the identifiers of QoS 2 among them.
func (o *Outbound) retire(gone func(*flying) bool, of ...place) (stale []uint16) {
	for _, p := range of {
		kept := o.lanes[p][:0]
		for _, f := range o.lanes[p] {
			switch {
			case f.stage != restored || !gone(f):
				kept = append(kept, f)
			case f.qos == 2:
				f.stage = released
				o.count++
				stale = append(stale, f.id)
				kept = append(kept, f)
			default:
				delete(o.byID, f.id)
			}
		}
		o.put(p, kept)
	}
	return stale
}

func (o *Outbound) put(p place, lane []*flying) {
	if len(lane) == 0 {
		delete(o.lanes, p)
	} else {
		o.lanes[p] = lane
	}
}

// Retire gives up what was under way on topics that the client no longer
// wants. It returns identifiers as Sending.Stale does.
func (o *Outbound) Retire(wanted func(topic string) bool) []uint16 {
	var of []place
	for p := range o.lanes {
		if !wanted(p.topic) {
			of = append(of, p)
		}
	}
	return o.retire(func(*flying) bool { return true }, of...)
}

// Released yields the identifiers for which a PUBREL is under way, to be sent
// again on a new connection.
func (o *Outbound) Released() iter.Seq[uint16] {
	var ids []uint16
	for id, f := range o.byID {
		if f.stage == released {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Values(ids)
}

// Acknowledged takes a PUBACK.
func (o *Outbound) Acknowledged(id uint16) (a Ack) {
	if f := o.byID[id]; f != nil && f.qos == 1 && f.stage == sent {
		return o.finish(f)
	}
	return a
}

// Received takes a PUBREC that accepts the message. It reports whether the
// identifier was known; if so, a snapshot must be safe before PUBREL is said.
func (o *Outbound) Received(id uint16) bool {
	f := o.byID[id]
	if f == nil || f.qos != 2 || f.stage == restored {
		return false
	}
	f.stage = released
	return true
}

// Refused takes a PUBREC that refuses the message, which ends it.
func (o *Outbound) Refused(id uint16) (a Ack) {
	if f := o.byID[id]; f != nil && f.qos == 2 && f.stage == sent {
		return o.finish(f)
	}
	return a
}

// Discard ends a message that was taken but cannot be sent to this client.
func (o *Outbound) Discard(id uint16) (a Ack) {
	if f := o.byID[id]; f != nil && f.stage == sent {
		return o.finish(f)
	}
	return a
}

// Completed takes a PUBCOMP.
func (o *Outbound) Completed(id uint16) (a Ack) {
	if f := o.byID[id]; f != nil && f.stage == released {
		return o.finish(f)
	}
	return a
}

// finish ends a message. The Ack has no Seq when one before it is not done.
func (o *Outbound) finish(f *flying) (a Ack) {
	delete(o.byID, f.id)
	o.count--
	f.stage = finished
	if f.Seq == 0 {
		return a
	}
	p := f.place()
	lane := o.lanes[p]
	n := 0
	for n < len(lane) && lane[n].stage == finished {
		n++
	}
	if n == 0 {
		return a
	}
	newest, done := lane[len(lane)-1], lane[n-1]
	if done.Share == "" && slices.ContainsFunc(lane[:n], func(f *flying) bool { return f.qos == 2 }) {
		o.floors.raise(done.Ref)
	}
	o.put(p, slices.Clone(lane[n:]))
	if done.Epoch != newest.Epoch {
		return a // of a history that is over: its numbers mean nothing in the new one
	}
	return Ack{done.Topic, done.Share, done.Seq}
}

// maxFloors bounds the topics whose floor is remembered. An acknowledgement
// that was lost in a crash is of the last second: nobody finishes messages of
// QoS 2 on more topics in that time.
const maxFloors = 256

// floors are how far each topic is done at QoS 2. The acknowledgement of it
// may be lost in a crash though the client has forgotten the identifier.
type floors struct {
	at    map[place]Ref
	order []place // the oldest first; each once
}

func (fl *floors) cover(r Ref) bool {
	at, ok := fl.at[r.place()]
	return ok && at.Epoch == r.Epoch && r.Seq <= at.Seq
}

func (fl *floors) raise(r Ref) {
	if fl.at == nil {
		fl.at = make(map[place]Ref)
	}
	p := r.place()
	if _, known := fl.at[p]; !known {
		if len(fl.order) == maxFloors {
			delete(fl.at, fl.order[0])
			fl.order = slices.Clone(fl.order[1:])
		}
		fl.order = append(fl.order, p)
	}
	fl.at[p] = r
}
