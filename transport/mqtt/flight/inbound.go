// Package flight is what the two sides of an MQTT connection owe each other
// (MQTT 5 §4.3, §4.4, §4.6): which messages of QoS 1 and 2 are under way, under
// which packet identifiers, and what may be sent when. It is pure: no goroutine,
// no clock, no I/O. Calls must not overlap.
//
// Some of it must survive a crash of the server. Both sides say what has to be
// on the disk before which packet leaves; with that, a message of QoS 2 is
// neither lost nor doubled, whatever dies when.
package flight

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Inbound is the receiving side: what a client publishes.
//
// A message of QoS 2 that a client sends again, after the server was killed,
// must be known again; and once it was released, its packet identifier must
// stand for another message. So the log is given a key with each message, made
// of the identifier and its generation, and refuses what it has. A release
// begins the next generation of that identifier, which must be on the disk
// before it is confirmed; a message needs no other write than its own.
// Generations are kept in pages, so that a release writes little.
type Inbound struct {
	held    map[uint16]*held // QoS 2, by packet identifier
	pending [3][]*Arrival    // by QoS: not answered yet, in the order they came
	pages   map[byte]*page
}

// held is a message of QoS 2 between PUBLISH and PUBREL.
type held struct {
	accepted bool     // PUBREC may be said again
	arrival  *Arrival // while it is being accepted
}

// page has the generations of 256 identifiers.
type page [256]uint32

// Arrival is a message that has come and is not answered yet.
type Arrival struct {
	ID         uint16
	QoS        byte
	Generation uint32 // with ID, what the log knows a message of QoS 2 by
	Reason     byte   // the answer, when Done
	Done       bool
}

// NewInbound returns the state of a new session.
func NewInbound() *Inbound { return &Inbound{} }

// Verdict says what to do with a message that has come.
type Verdict byte

// The verdicts.
const (
	Publish Verdict = iota // it is new, or only the log can tell: publish it under its key
	Repeat                 // it was accepted before: say PUBREC again
	Ignore                 // it is being accepted: its answer will come
)

// Arrive takes a message of QoS 1 or 2. When the verdict is Publish, Answer
// follows with the arrival, once.
func (in *Inbound) Arrive(id uint16, qos byte) (*Arrival, Verdict) {
	a := &Arrival{ID: id, QoS: qos}
	if qos == 2 {
		switch h := in.held[id]; {
		case h == nil:
			if in.held == nil {
				in.held = make(map[uint16]*held)
			}
			in.held[id] = &held{arrival: a}
		case h.accepted:
			return nil, Repeat
		default:
			return nil, Ignore
		}
		if p := in.pages[byte(id>>8)]; p != nil {
			a.Generation = p[byte(id)]
		}
	}
	in.pending[qos] = append(in.pending[qos], a)
	return a, Publish
}

// Pending is how many messages are not fully acknowledged: what the client's
// send quota counts (§4.9).
func (in *Inbound) Pending() int { return len(in.pending[1]) + len(in.held) }

// Unanswered is how many messages are being accepted.
func (in *Inbound) Unanswered() int { return len(in.pending[1]) + len(in.pending[2]) }

// Answer says how a message ended: reason codes from 0x80 on refuse it. It
// returns the arrivals that are to be answered now; answers of one QoS leave in
// the order in which the messages came [MQTT-4.6.0-2, -3].
func (in *Inbound) Answer(a *Arrival, reason byte) []*Arrival {
	a.Done, a.Reason = true, reason
	if h := in.held[a.ID]; a.QoS == 2 && h != nil && h.arrival == a {
		if h.arrival = nil; reason >= 0x80 {
			delete(in.held, a.ID) // the identifier is free again (§4.3.3)
		} else {
			h.accepted = true
		}
	}
	line := in.pending[a.QoS]
	n := 0
	for n < len(line) && line[n].Done {
		n++
	}
	ready := slices.Clone(line[:n])
	if n == len(line) {
		in.pending[a.QoS] = nil
	} else {
		in.pending[a.QoS] = line[n:]
	}
	return ready
}

// Release takes a PUBREL, and reports whether its message was known, as it is
// not after a crash. In any case the page of the identifier must be on the disk
// before PUBCOMP is said.
func (in *Inbound) Release(id uint16) (known bool) {
	known = in.held[id] != nil
	delete(in.held, id)
	n := byte(id >> 8)
	if in.pages == nil {
		in.pages = make(map[byte]*page)
	}
	if in.pages[n] == nil {
		in.pages[n] = new(page)
	}
	in.pages[n][byte(id)]++
	return known
}

// Page returns what is to be written of the page of an identifier, and its
// number.
func (in *Inbound) Page(id uint16) (number byte, text []byte) {
	number = byte(id >> 8)
	for low, generation := range in.pages[number] {
		if generation > 0 {
			text = binary.AppendUvarint(append(text, byte(low)), uint64(generation))
		}
	}
	return number, text
}

// RestorePage takes a page that was written.
func (in *Inbound) RestorePage(number byte, text []byte) error {
	p := new(page)
	for r := (reader{rest: text}); len(r.rest) > 0; {
		low, generation := r.byte(), r.number()
		if r.bad {
			return ErrSnapshot
		}
		p[low] = uint32(generation)
	}
	if in.pages == nil {
		in.pages = make(map[byte]*page)
	}
	in.pages[number] = p
	return nil
}

// appendTo appends which messages are accepted and not released. The log would
// tell, too, though not for ever.
func (in *Inbound) appendTo(b []byte) []byte {
	var ids []uint16
	for id, h := range in.held {
		if h.accepted {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func (in *Inbound) restore(r *reader) {
	for range r.count() {
		if in.held == nil {
			in.held = make(map[uint16]*held)
		}
		in.held[r.id()] = &held{accepted: true}
	}
}

// Detach gives up what is being accepted when the connection ends: nobody is
// there to be answered, and the client sends it again.
func (in *Inbound) Detach() {
	in.pending = [3][]*Arrival{}
	maps.DeleteFunc(in.held, func(_ uint16, h *held) bool { return !h.accepted })
}
