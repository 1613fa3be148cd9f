package group_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub/group"
	"github.com/parleyhq/parley/store"
)

const most = 3

func topics() []string { return []string{"a", "b"} }

// worker is a member in a test, which checks what it is given.
type worker struct {
	group.Member

	t    *rapid.T
	desk *desk
	room int
	has  map[string][]uint64 // by topic, not acknowledged
	last map[string]uint64   // by topic, the newest it was given the first time
}

// desk is the model: where each message is.
type desk struct {
	logs   map[string][]*hub.Delivery
	holder map[*message.Message]*worker // of the original
	dealt  map[*message.Message]bool
	left   map[*message.Message]uint32 // how many gave it back
	buried int
}

func (w *worker) Deliver(d *hub.Delivery) bool {
	if w.room == 0 {
		return false
	}
	w.room--
	m := d.Message
	original := w.desk.logs[m.Topic][m.Seq-1].Message
	switch {
	case m.Share != "g":
		w.t.Fatalf("a message of the group %q", m.Share)
	case w.desk.holder[original] != nil:
		w.t.Fatalf("%s %d is with another member", m.Topic, m.Seq)
	case w.desk.dealt[original]:
		w.t.Fatalf("%s %d was dealt with before", m.Topic, m.Seq)
	case m.Attempt != w.desk.left[original]:
		w.t.Fatalf("%s %d: attempt %d, though %d had it", m.Topic, m.Seq, m.Attempt, w.desk.left[original])
	case m.Except != "" && m.Except == w.Session:
		w.t.Fatalf("%s %d: its publisher has it", m.Topic, m.Seq)
	case m.Attempt == 0 && m.Seq <= w.last[m.Topic]:
		w.t.Fatalf("%s %d after %d", m.Topic, m.Seq, w.last[m.Topic])
	case w.Window > 0 && w.count() >= w.Window:
		w.t.Fatalf("%s %d is too much: %d are not acknowledged", m.Topic, m.Seq, w.count())
	}
	if m.Attempt == 0 {
		w.last[m.Topic] = m.Seq
	}
	if w.Window == 0 {
		w.desk.dealt[original] = true
		return true
	}
	w.desk.holder[original] = w
	w.has[m.Topic] = append(w.has[m.Topic], m.Seq)
	return true
}

func (w *worker) count() (n int) {
	for _, list := range w.has {
		n += len(list)
	}
	return n
}

// giveBack notes that the member no longer has a message.
func (w *worker) giveBack(topic string, seq uint64, dealt bool) {
	m := w.desk.logs[topic][seq-1].Message
	delete(w.desk.holder, m)
	w.has[topic] = slices.DeleteFunc(w.has[topic], func(other uint64) bool { return other == seq })
	if w.desk.dealt[m] = dealt; !dealt {
		w.desk.left[m]++
	}
}

// office drives a group.
type office struct {
	t       *rapid.T
	desk    *desk
	group   *group.Group
	workers []*worker
	given   map[string]uint64 // how far each topic was taken
	done    map[string]uint64
	stored  map[string]store.Group
	names   int
}

// settle takes what the group has to say, and holds it against the model.
func (o *office) settle() {
	for topic, at := range o.group.Done() {
		if at.Seq <= o.done[topic] {
			o.t.Fatalf("%s: done up to %d after %d", topic, at.Seq, o.done[topic])
		}
		o.done[topic] = at.Seq
		for _, d := range o.desk.logs[topic][:at.Seq] {
			if m := d.Message; !o.desk.dealt[m] && m.Except == "" {
				o.t.Fatalf("%s: done up to %d, but not %d", topic, at.Seq, m.Seq)
			}
		}
	}
	for _, d := range o.group.Dead() {
		if o.desk.left[d.Message] < most || d.Attempts != o.desk.left[d.Message] {
			o.t.Fatalf("%s %d is dead after %d", d.Message.Topic, d.Message.Seq, d.Attempts)
		}
		if rapid.Bool().Draw(o.t, "revive") {
			o.group.Revived(d)
		} else {
			o.desk.dealt[d.Message] = true
			o.desk.buried++
			o.group.Buried(d)
		}
		o.settle()
	}
	o.group.Stuck()
}

// take gives the group what is next in every topic, as long as it takes it.
func (o *office) take() {
	for _, topic := range topics() {
		log := o.desk.logs[topic]
		for o.given[topic] < uint64(len(log)) && o.group.Take(log[o.given[topic]]) {
			o.given[topic]++
		}
	}
	o.settle()
}

func (o *office) save() {
	for _, s := range o.group.Changed("key") {
		o.stored[s.Topic] = *s
	}
}

// restart begins anew from what is stored. What members had is given again.
func (o *office) restart() {
	o.save()
	o.group = group.New("g", most, nil)
	o.workers, o.given, o.done = nil, make(map[string]uint64), make(map[string]uint64)
	clear(o.desk.holder)
	for topic, s := range o.stored {
		o.group.Restore(s)
		o.given[topic], o.done[topic] = s.Done.Seq, s.Done.Seq
	}
}

func (o *office) join(window int, session string) *worker {
	w := &worker{t: o.t, desk: o.desk, has: make(map[string][]uint64), last: make(map[string]uint64), room: 5}
	w.Member = group.Member{Receiver: w, Session: session, Window: window}
	o.workers = append(o.workers, w)
	o.group.Join(&w.Member)
	return w
}

// TestGroup drives a group with random schedules: members come, go, are slow,
// fail and acknowledge, and the process restarts.
func TestGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &office{
			t: t, group: group.New("g", most, nil), given: make(map[string]uint64), done: make(map[string]uint64), stored: make(map[string]store.Group),
			desk: &desk{
				logs: make(map[string][]*hub.Delivery), holder: make(map[*message.Message]*worker),
				dealt: make(map[*message.Message]bool), left: make(map[*message.Message]uint32),
			},
		}
		some := func(t *rapid.T) *worker {
			if len(o.workers) == 0 {
				t.Skip("nobody is there")
			}
			return o.workers[rapid.IntRange(0, len(o.workers)-1).Draw(t, "member")]
		}
		held := func(t *rapid.T, w *worker) (string, uint64) {
			topic := rapid.SampledFrom(topics()).Draw(t, "topic")
			if len(w.has[topic]) == 0 {
				t.Skip("it has nothing")
			}
			return topic, rapid.SampledFrom(w.has[topic]).Draw(t, "seq")
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				topic := rapid.SampledFrom(topics()).Draw(t, "topic")
				n := uint64(len(o.desk.logs[topic]))
				m := &message.Message{Topic: topic, Epoch: "e", Seq: n + 1, Prev: n, Except: rapid.SampledFrom([]string{"", "", "s"}).Draw(t, "except")}
				o.desk.logs[topic] = append(o.desk.logs[topic], &hub.Delivery{Message: m, Kept: true})
				o.take()
			},
			"join": func(t *rapid.T) {
				o.names++
				o.join(rapid.IntRange(0, 3).Draw(t, "window"), rapid.SampledFrom([]string{"s", "x", "y"}).Draw(t, "session"))
				o.take()
			},
			"leave": func(t *rapid.T) {
				w := some(t)
				o.workers = slices.DeleteFunc(o.workers, func(other *worker) bool { return other == w })
				for _, topic := range topics() {
					list := w.has[topic]
					for _, seq := range slices.Clone(list) {
						w.giveBack(topic, seq, false)
					}
				}
				o.group.Leave(&w.Member)
				o.take()
			},
			"room": func(t *rapid.T) {
				w := some(t)
				w.room = rapid.IntRange(0, 4).Draw(t, "room")
				o.group.Ready(&w.Member)
				o.take()
			},
			"acknowledge": func(t *rapid.T) {
				w := some(t)
				topic, seq := held(t, w)
				for _, other := range slices.Clone(w.has[topic]) {
					if other <= seq {
						w.giveBack(topic, other, true)
					}
				}
				if !o.group.Ack(&w.Member, topic, seq) {
					t.Fatal("that was nothing")
				}
				o.take()
			},
			"fail": func(t *rapid.T) {
				w := some(t)
				topic, seq := held(t, w)
				w.giveBack(topic, seq, false)
				if !o.group.Fail(&w.Member, topic, seq) {
					t.Fatal("it did not have it")
				}
				o.take()
			},
			"save":    func(*rapid.T) { o.save() },
			"restart": func(*rapid.T) { o.restart() },
		})
		o.finish()
	})
}

// finish has one good member deal with all that is left.
func (o *office) finish() {
	for _, w := range slices.Clone(o.workers) {
		for _, topic := range topics() {
			list := w.has[topic]
			for _, seq := range slices.Clone(list) {
				w.giveBack(topic, seq, false)
			}
		}
		o.group.Leave(&w.Member)
		o.settle()
	}
	w := o.join(2, "good")
	for range 10_000 {
		w.room = 10
		o.group.Ready(&w.Member)
		o.take()
		if w.count() == 0 {
			break
		}
		for _, topic := range topics() {
			list := w.has[topic]
			if len(list) > 0 {
				newest := slices.Max(list)
				for _, seq := range slices.Clone(list) {
					w.giveBack(topic, seq, true)
				}
				o.group.Ack(&w.Member, topic, newest)
			}
		}
		o.settle()
	}
	for topic, log := range o.desk.logs {
		if o.given[topic] != uint64(len(log)) || o.done[topic] != uint64(len(log)) {
			o.t.Fatalf("%s: %d of %d were given, %d are done", topic, o.given[topic], len(log), o.done[topic])
		}
	}
	if got := fmt.Sprint(o.group.Room()); got != "true" {
		o.t.Fatal("there is no room though nothing is under way")
	}
}
