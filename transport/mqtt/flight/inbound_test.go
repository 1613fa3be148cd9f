package flight

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// publisher is a client as the standard has it, with what it has not finished.
type publisher struct {
	next   int
	flying map[uint16]*publication
	order  []uint16
}

type publication struct {
	text int
	qos  byte
	rel  bool // PUBREC has come
}

// receiver is a server: its log remembers keys with what it has accepted.
type receiver struct {
	t         *rapid.T
	state     State
	disk      map[byte][]byte // pages
	log       []int
	keys      map[[2]uint32]bool
	waiting   []waiting // in the log's hands
	unsaved   []uint16  // PUBCOMP waits for a page
	client    *publisher
	connected bool
	up, down  []note
}

type waiting struct {
	arrival *Arrival
	text    int
}

type note struct {
	kind string
	id   uint16
	text int
	qos  byte
}

func (r *receiver) save() {
	for _, id := range r.unsaved {
		number, text := r.state.Page(id)
		r.disk[number] = text
	}
	for _, id := range r.unsaved {
		r.down = append(r.down, note{kind: "comp", id: id})
	}
	r.unsaved = nil
}

// take is the server with a packet.
func (r *receiver) take(n note) {
	if n.kind == "rel" {
		r.state.Release(n.id)
		r.unsaved = append(r.unsaved, n.id)
		return
	}
	a, verdict := r.state.Arrive(n.id, n.qos)
	switch verdict {
	case Publish:
		r.waiting = append(r.waiting, waiting{a, n.text})
	case Repeat:
		r.down = append(r.down, note{kind: "rec", id: n.id})
	case Ignore:
	}
}

// accept is the log with one of the messages, in any order.
func (r *receiver) accept(i int) {
	w := r.waiting[i]
	r.waiting = slices.Delete(r.waiting, i, i+1)
	key := [2]uint32{w.arrival.Generation, uint32(w.arrival.ID)}
	if w.arrival.QoS == 1 || !r.keys[key] {
		r.log = append(r.log, w.text)
	}
	if w.arrival.QoS == 2 {
		r.keys[key] = true
	}
	for _, a := range r.state.Answer(w.arrival, 0) {
		kind := map[byte]string{1: "ack", 2: "rec"}[a.QoS]
		r.down = append(r.down, note{kind: kind, id: a.ID})
	}
}

func (r *receiver) cut() {
	r.connected, r.up, r.down, r.unsaved, r.waiting = false, nil, nil, nil, nil
}

func (r *receiver) crash() {
	r.cut()
	r.state = New()
	r.turn()
}

// turn makes a state of the pages on the disk, as a process does that begins.
func (r *receiver) turn() {
	for number, text := range r.disk {
		if err := r.state.RestorePage(number, text); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *receiver) connect() {
	if r.connected {
		return
	}
	for number := range r.state.pages { // an orderly end writes all
		_, r.disk[number] = r.state.Page(uint16(number) << 8)
	}
	r.state.Detach()
	var err error
	if r.state, err = Restore(r.state.Snapshot()); err != nil {
		r.t.Fatal(err)
	}
	r.turn()
	r.connected = true
	for _, id := range r.client.order {
		r.send(id)
	}
}

func (r *receiver) send(id uint16) {
	if p := r.client.flying[id]; p.rel {
		r.up = append(r.up, note{kind: "rel", id: id})
	} else {
		r.up = append(r.up, note{kind: "publish", id: id, text: p.text, qos: p.qos})
	}
}

// publish is the client with something new; few identifiers make them come
// round soon.
func (r *receiver) publish(qos byte) {
	for id := range uint16(3) {
		if r.client.flying[id+1] == nil {
			r.client.next++
			r.client.flying[id+1] = &publication{text: r.client.next*10 + int(qos), qos: qos}
			r.client.order = append(r.client.order, id+1)
			r.send(id + 1)
			return
		}
	}
}

// hear is the client with an answer.
func (r *receiver) hear(n note) {
	p := r.client.flying[n.id]
	switch {
	case p == nil:
		r.t.Fatalf("%s for %d, which is not under way", n.kind, n.id)
	case n.kind == "rec":
		p.rel = true
		r.up = append(r.up, note{kind: "rel", id: n.id})
	case n.kind == "comp" && !p.rel:
		r.t.Fatalf("PUBCOMP for %d without a PUBREL", n.id)
	default:
		delete(r.client.flying, n.id)
		r.client.order = slices.DeleteFunc(r.client.order, func(id uint16) bool { return id == n.id })
	}
}

func (r *receiver) step(what int) {
	switch what {
	case 0:
		if len(r.up) > 0 {
			n := r.up[0]
			r.up = r.up[1:]
			r.take(n)
		}
	case 1:
		if len(r.down) > 0 {
			n := r.down[0]
			r.down = r.down[1:]
			r.hear(n)
		}
	case 2:
		if len(r.waiting) > 0 {
			r.accept(rapid.IntRange(0, len(r.waiting)-1).Draw(r.t, "which"))
		}
	case 3:
		r.save()
	}
}

// However often the cable is cut and the server killed: what a client publishes
// is in the log, at QoS 2 once, though identifiers come round all the time.
func TestInboundIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &receiver{
			t: t, state: New(), disk: map[byte][]byte{}, keys: map[[2]uint32]bool{},
			client: &publisher{flying: map[uint16]*publication{}},
		}
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			switch what := rapid.IntRange(0, 14).Draw(t, "what"); what {
			case 13:
				r.cut()
			case 14:
				r.crash()
			default:
				r.connect()
				if what > 10 {
					r.publish(byte(what - 10))
				} else {
					r.step(what % 4)
				}
			}
		}
		for range 100 {
			r.connect()
			for what := range 4 {
				r.step(what)
			}
		}
		if len(r.client.flying) > 0 || r.state.Pending() > 0 {
			t.Fatalf("%v are still under way, %d on the server", slices.Collect(maps.Keys(r.client.flying)), r.state.Pending())
		}
		seen := map[int]int{}
		for _, text := range r.log {
			seen[text]++
		}
		if len(seen) != r.client.next {
			t.Fatalf("%d of %d were accepted", len(seen), r.client.next)
		}
		for text, n := range seen {
			if text%10 == 2 && n > 1 {
				t.Fatalf("%d was accepted %d times", text, n)
			}
		}
	})
}

// Answers leave in the order of the messages, whichever the log is done with
// first.
func TestInboundAnswersInOrder(t *testing.T) {
	in := NewInbound()
	first, _ := in.Arrive(1, 1)
	second, _ := in.Arrive(2, 1)
	other, _ := in.Arrive(3, 2)
	if ready := in.Answer(second, 0); len(ready) > 0 {
		t.Errorf("%+v before the first", ready[0])
	}
	if ready := in.Answer(other, 0); len(ready) != 1 || ready[0] != other {
		t.Errorf("%v: another QoS does not wait", ready)
	}
	if ready := in.Answer(first, 0x87); len(ready) != 2 || ready[0] != first || ready[0].Reason != 0x87 || ready[1] != second {
		t.Errorf("%v", ready)
	}
	if in.Pending() != 1 { // until PUBREL
		t.Errorf("%d pending", in.Pending())
	}
}

// A message of QoS 2 that is refused leaves its identifier free.
func TestInboundRefused(t *testing.T) {
	in := NewInbound()
	a, _ := in.Arrive(1, 2)
	if _, verdict := in.Arrive(1, 2); verdict != Ignore {
		t.Errorf("%v: it is being accepted", verdict)
	}
	in.Answer(a, 0x87)
	if in.Release(1) {
		t.Error("it was refused, there is nothing to release")
	}
	if _, verdict := in.Arrive(1, 2); verdict != Publish {
		t.Errorf("%v: the identifier is free", verdict)
	}
}
