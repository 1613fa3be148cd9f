package flight

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// frame is a packet on the cable.
type frame struct {
	kind string // publish, ack, rec, rel, comp
	id   uint16
	qos  byte
	dup  bool
	ref  Ref
}

// subscriber is a client as the standard has it. It survives whatever
// happens to the server and the cable.
type subscriber struct {
	holds map[uint16]bool // QoS 2: delivered, not released
	got   []string
}

func (c *subscriber) take(f frame) (answer frame) {
	switch f.kind {
	case "publish":
		if f.qos == 1 {
			c.got = append(c.got, name(f.ref))
			return frame{kind: "ack", id: f.id}
		}
		if !c.holds[f.id] {
			c.got = append(c.got, name(f.ref))
			c.holds[f.id] = true
		}
		return frame{kind: "rec", id: f.id}
	default:
		delete(c.holds, f.id)
		return frame{kind: "comp", id: f.id}
	}
}

func name(r Ref) string { return fmt.Sprintf("%s %d", r.Topic, r.Seq) }

// topicLog is what a topic keeps, with the QoS of each message, and how far
// the session has acknowledged: now, and on the disk.
type topicLog struct {
	qos         []byte
	acked, disk uint64
	next        uint64 // to be handed over
}

// sender is a server with its disk.
type sender struct {
	t         *rapid.T
	logs      map[string]*topicLog
	state     State
	disk      []byte  // the snapshot that survives
	unsaved   []frame // wait for a snapshot to be written
	connected bool
	down, up  []frame // the cable
	client    *subscriber
}

// send hands over the next message of a topic.
func (s *sender) send(topic string) {
	l := s.logs[topic]
	if !s.connected || s.state.Full() || l.next > uint64(len(l.qos)) {
		return
	}
	r := Ref{Topic: topic, Epoch: "e", Seq: l.next}
	l.next++
	out := s.state.Send(r, l.qos[r.Seq-1])
	for _, id := range out.Stale {
		s.t.Fatalf("%d is stale, and nothing was lost", id)
	}
	if out.Skip {
		s.ack(out.Ack)
		return
	}
	f := frame{kind: "publish", id: out.ID, qos: out.QoS, dup: out.Dup, ref: r}
	if out.QoS == 2 || len(s.unsaved) > 0 {
		s.unsaved = append(s.unsaved, f)
	} else {
		s.down = append(s.down, f)
	}
}

// save writes a snapshot, after which what waited for it leaves.
func (s *sender) save() {
	s.disk = s.state.Snapshot()
	s.down = append(s.down, s.unsaved...)
	s.unsaved = nil
}

func (s *sender) ack(a Ack) {
	if a.Seq > 0 {
		s.logs[a.Topic].acked = max(s.logs[a.Topic].acked, a.Seq)
	}
}

func (s *sender) take(f frame) {
	switch f.kind {
	case "ack":
		s.ack(s.state.Acknowledged(f.id))
	case "rec":
		if s.state.Received(f.id) {
			s.unsaved = append(s.unsaved, frame{kind: "rel", id: f.id})
		} else {
			s.down = append(s.down, frame{kind: "rel", id: f.id})
		}
	case "comp":
		s.ack(s.state.Completed(f.id))
	}
}

// cut ends the connection: what is on the cable is gone.
func (s *sender) cut() {
	s.connected, s.down, s.up, s.unsaved = false, nil, nil, nil
}

// crash forgets what is not on the disk.
func (s *sender) crash() {
	s.cut()
	for _, l := range s.logs {
		l.acked = l.disk
	}
	s.restore(s.disk)
}

func (s *sender) restore(snapshot []byte) {
	if snapshot == nil {
		s.state = New()
		return
	}
	var err error
	if s.state, err = Restore(snapshot); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sender) connect(maximum uint16) {
	if s.connected {
		return
	}
	s.restore(s.state.Snapshot())
	s.state.SetMaximum(maximum)
	s.connected = true
	for id := range s.state.Released() {
		s.unsaved = append(s.unsaved, frame{kind: "rel", id: id})
	}
	for _, l := range s.logs {
		l.next = l.acked + 1
	}
}

// step does one thing that may happen.
func (s *sender) step(topic string, what int) {
	switch what {
	case 0:
		s.send(topic)
	case 1:
		s.save()
	case 2:
		if len(s.down) > 0 {
			f := s.down[0]
			s.down = s.down[1:]
			s.up = append(s.up, s.client.take(f))
		}
	case 3:
		if len(s.up) > 0 {
			f := s.up[0]
			s.up = s.up[1:]
			s.take(f)
		}
	case 4:
		s.logs[topic].disk = s.logs[topic].acked
	}
}

// However often the cable is cut and the server killed, wherever it was: the
// client gets every message of QoS 1, every message of QoS 2 once, and those of
// a topic in order.
func TestOutboundIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := []string{"a", "b"}
		s := &sender{t: t, logs: map[string]*topicLog{}, state: New(), client: &subscriber{holds: map[uint16]bool{}}}
		for _, name := range topics {
			qos := rapid.SliceOfN(rapid.SampledFrom([]byte{1, 2, 2}), 0, 12).Draw(t, "messages")
			s.logs[name] = &topicLog{qos: qos, next: 1}
		}
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			topic := rapid.SampledFrom(topics).Draw(t, "topic")
			switch what := rapid.IntRange(0, 16).Draw(t, "what"); what {
			case 15:
				s.cut()
			case 16:
				s.crash()
			default:
				s.connect(rapid.Uint16Range(1, 5).Draw(t, "receive maximum"))
				s.step(topic, what%5)
			}
		}
		for range 200 { // and at last everything works
			s.connect(3)
			for _, topic := range topics {
				for what := range 5 {
					s.step(topic, what)
				}
			}
		}
		if !s.connected || len(s.client.holds) > 0 {
			t.Fatalf("the client still holds %v", s.client.holds)
		}
		s.check(t)
	})
}

func (s *sender) check(t *rapid.T) {
	for topic, l := range s.logs {
		last := uint64(0)
		for i, qos := range l.qos {
			r := Ref{Topic: topic, Seq: uint64(i + 1)}
			n := 0
			for _, got := range s.client.got {
				if got == name(r) {
					n++
				}
			}
			if n == 0 || qos == 2 && n > 1 {
				t.Fatalf("%s of QoS %d came %d times: %v", name(r), qos, n, s.client.got)
			}
			if first := uint64(slices.Index(s.client.got, name(r))) + 1; first < last {
				t.Fatalf("%s came before its predecessor: %v", name(r), s.client.got)
			} else {
				last = first
			}
		}
		if l.acked != uint64(len(l.qos)) {
			t.Fatalf("%s: %d of %d are acknowledged", topic, l.acked, len(l.qos))
		}
	}
	if !s.state.Outbound.idle() {
		t.Fatalf("something is still under way: %+v", s.state.byID)
	}
}

// idle reports whether nothing is under way. What was restored and is not sent
// again, because the acknowledgement was on the disk before the snapshot, waits
// for the next message of its topic.
func (o *Outbound) idle() bool { return o.count == 0 }

// What is not kept any more when the client comes back does not hold its
// identifier for ever, and does not hold up the acknowledgements behind it.
func TestOutboundOfWhatIsGone(t *testing.T) {
	s := New()
	for seq := range uint64(3) {
		s.Send(Ref{Topic: "a", Epoch: "e", Seq: seq + 1}, 1+byte(seq%2))
	}
	s, err := Restore(s.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	out := s.Send(Ref{Topic: "a", Epoch: "e", Seq: 4}, 1)
	if !slices.Equal(out.Stale, []uint16{2}) || out.ID != 4 || out.Dup {
		t.Fatalf("%+v", out)
	}
	if a := s.Acknowledged(4); a.Seq != 0 {
		t.Fatalf("acknowledged %d while the client holds 2", a.Seq)
	}
	if a := s.Completed(2); a.Seq != 4 {
		t.Fatalf("acknowledged %d", a.Seq)
	}
	if !s.Outbound.idle() {
		t.Fatalf("%+v", s.byID)
	}
}

// So is what was under way on topics that are not wanted any more.
func TestOutboundOfWhatIsNotWanted(t *testing.T) {
	s := New()
	s.Send(Ref{Topic: "a", Epoch: "e", Seq: 1}, 1)
	s.Send(Ref{Topic: "b", Epoch: "e", Seq: 1}, 2)
	s.Send(Ref{Topic: "c", Epoch: "e", Seq: 1}, 2)
	s.Send(Ref{Topic: "d"}, 2) // it has no place to come from again
	s, _ = Restore(s.Snapshot())
	stale := s.Retire(func(topic string) bool { return topic == "c" })
	if !slices.Equal(stale, []uint16{2}) || !slices.Equal(slices.Collect(s.Released()), []uint16{2, 4}) || len(s.byID) != 3 {
		t.Fatalf("%v, %v, %v", stale, slices.Collect(s.Released()), s.byID)
	}
}

// A group gives its members messages in any order, and the same one again
// after another member had it.
func TestOutboundOfAGroup(t *testing.T) {
	s := New()
	send := func(seq uint64) Sending { return s.Send(Ref{Topic: "a", Epoch: "e", Share: "g", Seq: seq}, 2) }
	complete := func(id uint16) Ack {
		if !s.Received(id) {
			t.Fatalf("%d is not known", id)
		}
		return s.Completed(id)
	}
	first, third := send(1), send(3)
	if a := complete(third.ID); a.Seq != 0 {
		t.Fatalf("%+v while 1 is under way", a)
	}
	if a := complete(first.ID); a != (Ack{"a", "g", 3}) {
		t.Fatalf("%+v", a)
	}
	second := send(2)
	if second.Skip {
		t.Fatal("2 was never handed to this member")
	}
	if a := complete(second.ID); a.Seq != 2 {
		t.Fatalf("%+v", a)
	}
}

// The numbers of a history that is over mean nothing in the next.
func TestOutboundOfANewEpoch(t *testing.T) {
	s := New()
	s.Send(Ref{Topic: "a", Epoch: "old", Seq: 9}, 1)
	s.Send(Ref{Topic: "a", Epoch: "new", Seq: 1}, 1)
	if a := s.Acknowledged(1); a.Seq != 0 {
		t.Fatalf("%+v", a)
	}
	if a := s.Acknowledged(2); a.Seq != 1 {
		t.Fatalf("%+v", a)
	}
}

// A client may acknowledge what was never sent, or twice.
func TestOutboundOfAnybody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		s.SetMaximum(4)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			id := rapid.Uint16Range(0, 6).Draw(t, "id")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				if !s.Full() {
					seq := rapid.Uint64Range(0, 5).Draw(t, "seq")
					s.Send(Ref{Topic: "a", Epoch: "e", Seq: seq}, rapid.SampledFrom([]byte{1, 2}).Draw(t, "qos"))
				}
			case 1:
				s.Acknowledged(id)
			case 2:
				s.Received(id)
			case 3:
				s.Completed(id)
			case 4:
				s.Refused(id)
			case 5:
				again, err := Restore(s.Snapshot())
				if err != nil {
					t.Fatal(err)
				}
				again.SetMaximum(4)
				s = again
			}
			if s.count < 0 || s.count > len(s.byID) {
				t.Fatalf("%d are counted, of %d", s.count, len(s.byID))
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	s := New()
	s.Arrive(3, 2)
	s.Send(Ref{Topic: "a", Epoch: "e", Seq: 1}, 2)
	s.Send(Ref{Topic: "b", Epoch: "e", Seq: 1}, 1)
	s.Acknowledged(2)
	f.Add(s.Snapshot())
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		s, err := Restore(snapshot)
		if err != nil {
			return
		}
		again, err := Restore(s.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if len(again.byID) > len(s.byID) || len(again.held) != len(s.held) {
			t.Fatalf("%+v became %+v", s, again)
		}
	})
}
