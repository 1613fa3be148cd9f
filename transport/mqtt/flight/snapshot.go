package flight

import (
	"encoding/binary"
	"errors"
)

// State is both sides of a session.
type State struct {
	*Inbound
	*Outbound
}

// New returns the state of a new session.
func New() State { return State{NewInbound(), NewOutbound()} }

// form is the first byte of a snapshot.
const form = 1

// Snapshot returns what has to outlive the connection, and a crash, besides
// the pages of Inbound.
func (s State) Snapshot() []byte {
	b := s.appendTo([]byte{form})
	b = binary.AppendUvarint(b, uint64(s.last))
	all := s.flying()
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, f := range all {
		b = append(appendRef(b, f.Ref), f.qos, byte(f.stage))
		b = binary.AppendUvarint(b, uint64(f.id))
	}
	b = binary.AppendUvarint(b, uint64(len(s.floors.order)))
	for _, p := range s.floors.order {
		b = appendRef(b, s.floors.at[p])
	}
	return b
}

// flying returns what is to be remembered: the lanes, and those of QoS 2 that
// are in none.
func (o *Outbound) flying() (all []*flying) {
	for _, lane := range o.lanes {
		all = append(all, lane...)
	}
	for _, f := range o.byID {
		if f.Seq == 0 && f.qos == 2 {
			all = append(all, f)
		}
	}
	return all
}

func appendRef(b []byte, r Ref) []byte {
	for _, s := range []string{r.Topic, r.Epoch, r.Share} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return binary.AppendUvarint(b, r.Seq)
}

// ErrSnapshot is returned for what Snapshot did not make.
var ErrSnapshot = errors.New("flight: this is no snapshot")

// Restore returns the state of a session that goes on. What was under way keeps
// its identifier; Released says for which PUBREL is to be said again.
func Restore(snapshot []byte) (State, error) {
	r := reader{rest: snapshot}
	s := New()
	if r.byte() != form {
		return s, ErrSnapshot
	}
	s.Inbound.restore(&r)
	s.last = r.id()
	for range r.count() {
		s.Outbound.restore(&flying{Ref: r.ref(), qos: r.byte(), stage: stage(r.byte()), id: r.id()})
	}
	for range r.count() {
		s.floors.raise(r.ref())
	}
	if r.bad || len(r.rest) > 0 {
		return New(), ErrSnapshot
	}
	return s, nil
}

func (o *Outbound) restore(f *flying) {
	if f.stage == sent {
		f.stage = restored
		if f.Seq == 0 { // it cannot come again
			f.stage = released
		}
	}
	if f.stage == released {
		o.count++
	}
	if f.stage != finished {
		o.byID[f.id] = f
	}
	if f.Seq > 0 {
		o.lanes[f.place()] = append(o.lanes[f.place()], f)
	}
}

// reader reads a snapshot; after the first mistake everything is empty.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() { r.rest, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is a number of things that take a byte each at least.
func (r *reader) count() uint64 {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) id() uint16 { return uint16(r.number()) }

func (r *reader) text() string {
	n := r.count()
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) ref() Ref {
	return Ref{Topic: r.text(), Epoch: r.text(), Share: r.text(), Seq: r.number()}
}
