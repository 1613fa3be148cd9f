package client

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// numbering is a server that keeps the number of the producer's last message on
// each topic, stores what is next, and refuses now and then.
type numbering struct {
	last    map[string]uint64
	stored  map[string][]uint64 // ids of commands, in order
	refused map[uint64]bool     // for good
}

type numbered struct {
	id  uint64
	err *Error
}

// take answers one message; what is drawn decides whether it is refused.
func (m *numbering) take(t *rapid.T, topic string, id, n uint64) numbered {
	switch {
	case n <= m.last[topic]:
		if m.stored[topic][n-1] != id {
			t.Fatalf("%s: message %d came with number %d, which message %d had: it is lost", topic, id, n, m.stored[topic][n-1])
		}
		return numbered{id: id}
	case n != m.last[topic]+1:
		return numbered{id, &Error{Code: "out_of_sequence", Retry: "now", next: m.last[topic] + 1}}
	}
	switch rapid.IntRange(0, 9).Draw(t, "verdict") {
	case 0:
		m.refused[id] = true
		return numbered{id, &Error{Code: "forbidden", Retry: "never"}}
	case 1:
		return numbered{id, &Error{Code: "overloaded", Retry: "later"}}
	case 2: // it is stored, and the server cannot say so
		m.store(topic, id)
		return numbered{id, &Error{Code: "internal", Retry: "later"}}
	}
	m.store(topic, id)
	return numbered{id: id}
}

func (m *numbering) store(topic string, id uint64) {
	m.last[topic]++
	m.stored[topic] = append(m.stored[topic], id)
}

// wire is the state of one run: the outbox, what is on its way to the server
// and back, and what the callers were told.
type wire struct {
	o        outbox
	server   numbering
	onward   []*entry
	back     []numbered
	paused   []*series
	lastID   uint64
	posted   map[string][]uint64
	answered map[uint64]error
}

func (w *wire) post(topic string) {
	w.lastID++
	id := w.lastID
	command := &parleyv1.Command{Id: id, Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: topic, Qos: 1}}}
	_ = w.o.add(&entry{command: command, size: 1, again: true, answer: func(_ *parleyv1.Reply, err error) { w.answered[id] = err }})
	w.posted[topic] = append(w.posted[topic], id)
}

func (w *wire) pump() {
	for e := w.o.next(); e != nil; e = w.o.next() {
		copied := *e
		w.onward = append(w.onward, &copied) // with the number it has now
	}
}

// serve lets the server take one message. Answers may overtake each other only
// where the server gives them at once.
func (w *wire) serve(t *rapid.T) {
	if len(w.onward) == 0 {
		return
	}
	e := w.onward[0]
	w.onward = w.onward[1:]
	a := w.server.take(t, e.command.GetPublish().GetTopic(), e.command.GetId(), e.n)
	if a.err != nil && len(w.back) > 0 && rapid.Bool().Draw(t, "overtakes") {
		w.back = slices.Insert(w.back, rapid.IntRange(0, len(w.back)-1).Draw(t, "at"), a)
		return
	}
	w.back = append(w.back, a)
}

func (w *wire) answer() {
	if len(w.back) == 0 {
		return
	}
	a := w.back[0]
	w.back = w.back[1:]
	e, paused, _ := w.o.settle(a.id, a.err)
	if paused != nil {
		w.paused = append(w.paused, paused)
	}
	if e != nil {
		var err error
		if a.err != nil {
			err = a.err
		}
		e.answer(nil, err)
	}
}

func (w *wire) unpause() {
	for _, s := range w.paused {
		w.o.restart(s)
	}
	w.paused = nil
}

// cut ends the connection: the server has what it took, and nobody hears of it.
func (w *wire) cut(t *rapid.T) {
	for n := rapid.IntRange(0, len(w.onward)).Draw(t, "still taken"); n > 0; n-- {
		w.serve(t)
	}
	w.onward, w.back, w.paused = nil, nil, nil
	w.o.lost(false)
}

// Whatever is refused, repeated and cut: every message is stored once, in the
// order it was published, unless its publisher was told that it is not.
func TestNumbersMakeItOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &wire{
			o:      newOutbox(1000, 1<<20),
			server: numbering{last: map[string]uint64{}, stored: map[string][]uint64{}, refused: map[uint64]bool{}},
			posted: map[string][]uint64{}, answered: map[uint64]error{},
		}
		w.o.numbered = true
		w.o.commands.window = rapid.IntRange(1, 6).Draw(t, "window")
		t.Repeat(map[string]func(*rapid.T){
			"post":    func(t *rapid.T) { w.post(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic")); w.pump() },
			"serve":   func(t *rapid.T) { w.serve(t) },
			"answer":  func(*rapid.T) { w.answer(); w.pump() },
			"unpause": func(*rapid.T) { w.unpause(); w.pump() },
			"cut": func(t *rapid.T) {
				w.cut(t)
				w.pump()
			},
		})
		for round := 0; len(w.o.byID) > 0; round++ {
			if round > 100_000 {
				t.Fatalf("%d messages are never answered", len(w.o.byID))
			}
			w.pump()
			w.serve(t)
			w.answer()
			w.unpause()
		}
		w.check(t)
	})
}

func (w *wire) check(t *rapid.T) {
	for topic, posted := range w.posted {
		var want []uint64
		for _, id := range posted {
			err, ok := w.answered[id]
			if !ok {
				t.Fatalf("%s: message %d has no answer", topic, id)
			}
			if err == nil {
				want = append(want, id)
			} else if !w.server.refused[id] {
				t.Fatalf("%s: message %d failed with %v, which nobody said", topic, id, err)
			}
		}
		if got := w.server.stored[topic]; !slices.Equal(got, want) {
			t.Fatalf("%s: %s", topic, fmt.Sprintf("stored %v, acknowledged %v", got, want))
		}
	}
}
