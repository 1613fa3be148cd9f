package mqtt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/flight"
)

// Notes that are kept with a session.
const (
	noteFlight  = "mqtt.flight" // flight.State.Snapshot
	noteIDs     = "mqtt.ids."   // and the number of a page of flight.Inbound
	noteSeed    = "mqtt.seed"
	noteOptions = "mqtt.options" // of subscriptions, where they are not the usual
)

// restore takes the subscriptions that a session goes on with; their options
// follow with resume. Until then nothing is sent.
func (cl *client) restore(list []*parleyv1.Subscribed) {
	for _, s := range list {
		if s.GetError() != nil {
			continue
		}
		share, filter := unshare(s.GetTopic())
		cl.subs.put(subscription{text: s.GetTopic(), filter: filter, share: share, qos: byte(s.GetQos())})
	}
	if len(cl.subs) > 0 {
		cl.flows().opening = true
	}
}

// resume goes on where the last connection of the session was.
func (cl *client) resume(present bool) {
	cl.mu.Lock()
	if present {
		cl.readNotes()
	}
	refill := false
	if f := cl.flow; f != nil {
		f.opening = false
		f.state.Retire(func(name string) bool { return cl.subs.wants(name) }) // what is stale is among the released
		for id := range f.state.Released() {
			f.release(cl, id)
		}
		refill = cl.proceed()
	}
	cl.mu.Unlock()
	cl.save()
	cl.settle()
	if refill {
		cl.behind.Refill(cl.conn)
	}
}

// readNotes takes what the last connection of the session has left; mu is
// held.
func (cl *client) readNotes() {
	cl.readOptions(cl.session.Note(noteOptions))
	if snapshot := cl.session.Note(noteFlight); snapshot != nil {
		state, err := flight.Restore(snapshot)
		if err != nil {
			cl.s.Log.Error("what was under way to a client is not known any more", "session", cl.session.ID(), "error", err)
		}
		cl.flows().state = state
		cl.flow.state.SetMaximum(cl.maximum)
	}
	if seed := cl.session.Note(noteSeed); seed != nil {
		cl.flows().seed, cl.flow.sown = string(seed), true
		cl.readPages()
	}
}

// readPages restores the generations of packet identifiers; mu is held.
func (cl *client) readPages() {
	for number := range 256 {
		text := cl.session.Note(noteIDs + strconv.Itoa(number))
		if text == nil {
			continue
		}
		if err := cl.flow.state.RestorePage(byte(number), text); err != nil {
			cl.s.Log.Error("identifiers that a client has used are not known any more", "session", cl.session.ID(), "error", err)
		}
	}
}

// keep leaves what is under way to the next connection.
func (cl *client) keep() {
	cl.mu.Lock()
	f := cl.flow
	if f == nil || f.opening {
		cl.mu.Unlock()
		return
	}
	f.state.Detach()
	snapshot := f.state.Snapshot()
	empty := f.state.Idle()
	cl.mu.Unlock()
	if !empty || cl.session.Note(noteFlight) != nil {
		cl.session.SetNote(noteFlight, snapshot, nil)
	}
}

// seeded sees to it that the seed of a session is on the disk before the first
// message of QoS 2 is: else nobody would know it again after a crash.
func (cl *client) seeded(f *flow) bool {
	cl.mu.Lock()
	sown := f.sown
	if f.seed == "" {
		f.seed = rand.Text()[:12]
	}
	f.sown = true
	cl.mu.Unlock()
	if sown || !cl.lasting {
		return true
	}
	written := make(chan error, 1)
	cl.session.SetNote(noteSeed, []byte(f.seed), func(err error) { written <- err })
	ctx, stop := context.WithTimeout(context.Background(), cl.s.limits.CallTimeout)
	defer stop()
	select {
	case err := <-written:
		if err == nil {
			return true
		}
		cl.lost(err)
	case <-ctx.Done():
		cl.lost(ctx.Err())
	}
	return false
}

// write writes a note, and says what may be said when it is on the disk.
func (cl *client) write(name string, value []byte, say func()) {
	cl.session.SetNote(name, value, func(err error) {
		if err != nil {
			cl.lost(err)
			return
		}
		cl.mu.Lock()
		defer cl.mu.Unlock()
		say()
	})
}

// lost ends a connection whose state cannot be kept.
func (cl *client) lost(err error) {
	cl.s.Log.Error("the state of a session cannot be kept", "session", cl.session.ID(), "error", err)
	cl.Close(protocol.Internal)
}

// save writes a snapshot if something waits for it, and lets that leave when it
// is on the disk.
func (cl *client) save() {
	cl.mu.Lock()
	f := cl.flow
	if f == nil || f.saving || f.opening || len(f.unsaved) == 0 {
		cl.mu.Unlock()
		return
	}
	f.saving = true
	snapshot, leaving := f.state.Snapshot(), f.unsaved
	f.unsaved = nil
	cl.mu.Unlock()
	cl.session.SetNote(noteFlight, snapshot, func(err error) {
		if err != nil {
			cl.lost(err)
			return
		}
		cl.mu.Lock()
		for _, p := range leaving {
			cl.push(p, unbounded)
		}
		f.saving = false
		cl.mu.Unlock()
		cl.save()
	})
}

// wants reports whether any subscription matches a topic.
func (ss *subscriptions) wants(name string) bool {
	for i := range *ss {
		if (*ss)[i].filter.Matches(topic.Name(name)) {
			return true
		}
	}
	return false
}

// note keeps the options of the subscriptions.
func (cl *client) note() {
	if !cl.lasting {
		return
	}
	cl.mu.Lock()
	text := cl.subs.options()
	cl.mu.Unlock()
	if text != nil || cl.session.Note(noteOptions) != nil {
		cl.session.SetNote(noteOptions, text, nil)
	}
}

// Bits of the options of a subscription.
const (
	optionNoLocal = 1 << iota
	optionAsIs
	optionNoRetained
)

// options returns what is unusual about the subscriptions; nil when nothing is.
func (ss *subscriptions) options() (b []byte) {
	for i := range *ss {
		s := &(*ss)[i]
		var bits byte
		for bit, set := range map[byte]bool{optionNoLocal: s.noLocal, optionAsIs: s.asIs, optionNoRetained: s.noRetained} {
			if set {
				bits |= bit
			}
		}
		if bits != 0 || s.id != 0 {
			b = binary.AppendUvarint(append(b, bits), uint64(s.id))
			b = append(binary.AppendUvarint(b, uint64(len(s.text))), s.text...)
		}
	}
	return b
}

// readOptions restores them; mu is held.
func (cl *client) readOptions(b []byte) {
	for len(b) > 0 {
		bits := b[0]
		id, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return
		}
		size, k := binary.Uvarint(b[1+n:])
		b = b[min(1+n+max(k, 0), len(b)):]
		if k <= 0 || size > uint64(len(b)) {
			return
		}
		if s := cl.subs.find(string(b[:size])); s != nil {
			s.id, s.noLocal, s.asIs, s.noRetained = uint32(id), bits&optionNoLocal != 0, bits&optionAsIs != 0, bits&optionNoRetained != 0
		}
		b = b[size:]
	}
}
