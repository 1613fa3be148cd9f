package hub

import (
	"math/rand/v2"
	"testing"
)

type counter struct{ n int }

func (c *counter) Deliver(*Delivery) { c.n++ }
func (c *counter) Owner() any        { return c }

// TestListAgainstAModel adds and removes at random, and holds snapshots that
// must not change.
func TestListAgainstAModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l list
	model := map[*counter]bool{}
	type held struct {
		list
		want map[*counter]bool
	}
	var snapshots []held
	look := func(l list) map[*counter]bool {
		out := map[*counter]bool{}
		l.each(func(s Subscriber) {
			c, _ := s.(*counter)
			if c == nil || out[c] {
				t.Fatalf("a subscriber is missing or there twice: %v", c)
			}
			out[c] = true
		})
		return out
	}
	same := func(a, b map[*counter]bool) bool {
		for c := range a {
			if !b[c] {
				return false
			}
		}
		return len(a) == len(b)
	}
	for step := range 6000 {
		grow := step < 2500 || step > 4000 && step < 4500
		if random.IntN(10) < 7 == grow || len(model) == 0 {
			c := &counter{}
			l.add(c)
			model[c] = true
		} else {
			all := make([]*counter, 0, len(model))
			for c := range model {
				all = append(all, c)
			}
			c := all[random.IntN(len(all))]
			delete(model, c)
			if empty := l.remove(c); empty != (len(model) == 0) {
				t.Fatalf("step %d: empty is %v with %d left", step, empty, len(model))
			}
			if l.remove(c); l.len() != len(model) {
				t.Fatalf("step %d: removing a stranger took somebody else", step)
			}
		}
		if step%97 == 0 {
			if got := look(l); !same(got, model) {
				t.Fatalf("step %d: %d subscribers, want %d", step, len(got), len(model))
			}
			snapshots = append(snapshots, held{l, look(l)})
		}
	}
	for i, h := range snapshots {
		if !same(look(h.list), h.want) {
			t.Errorf("snapshot %d has changed", i)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	h := New()
	for range 5000 {
		h.Subscribe("a/b", &counter{})
	}
	d := &Delivery{}
	b.ReportAllocs()
	for b.Loop() {
		h.Deliver("a/b", d)
	}
}

func BenchmarkUnsubscribe(b *testing.B) {
	h := New()
	subs := make([]*counter, 15000)
	for i := range subs {
		subs[i] = &counter{}
		h.Subscribe("a/b", subs[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s := subs[i%len(subs)]
		h.Unsubscribe("a/b", s)
		h.Subscribe("a/b", s)
	}
}
