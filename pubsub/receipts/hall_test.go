package receipts

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/store"
)

// Cursors only grow, reading implies having got, and what is told is what is
// kept, at every size.
func TestHallAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := Mode(rapid.IntRange(int(Auto), int(Counts)).Draw(t, "mode"))
		people := rapid.SampledFrom([]int{3, MaxNamed, MaxNamed + 1, MaxCounted}).Draw(t, "people")
		h := newHall("room", "e", []store.Receipt{{User: "old", Epoch: "another", Delivered: 9}})
		type got struct{ delivered, read uint64 }
		model := make(map[string]got)
		move := func(user string, delivered, read uint64) {
			was, known := model[user]
			is := got{max(was.delivered, delivered, read), max(was.read, read)}
			if told := h.advance(user, cursors{delivered, read}); told != (is != was || !known) {
				t.Fatalf("%s from %+v to %d %d: news %v", user, was, delivered, read, told)
			}
			model[user] = is
		}
		for i := range people {
			move(fmt.Sprintf("u%04d", i), uint64(i%7), 0)
		}
		for range 30 {
			user := fmt.Sprintf("u%04d", rapid.IntRange(0, people-1).Draw(t, "user"))
			seqs := rapid.Uint64Range(0, 9)
			move(user, seqs.Draw(t, "delivered"), seqs.Draw(t, "read"))
		}
		var front uint64
		for _, m := range model {
			front = max(front, m.delivered)
		}
		atLeast := func(seq uint64) (delivered, read uint32) {
			for _, m := range model {
				if m.delivered >= seq {
					delivered++
				}
				if m.read >= seq {
					read++
				}
			}
			return delivered, read
		}
		named := people <= MaxNamed && mode != Counts || mode == Who
		e, sum, list := h.event(mode, "u0001"), h.summary(mode), h.list(mode)
		if (e != nil) != named || (sum != nil) == named {
			t.Fatalf("%d people, %v: %v, %v", people, mode, e, sum)
		}
		for _, r := range list {
			if d, rd := atLeast(r.GetDelivered()); !named && (r.GetUser() != "" || r.GetDeliveredBy() != d || r.GetReadBy() != rd) {
				t.Fatalf("the list says %v, it is %d %d", r, d, rd)
			}
			if m := model[r.GetUser()]; named && (r.GetDelivered() != m.delivered || r.GetRead() != m.read || r.GetEpoch() != "e") {
				t.Fatalf("the list says %v, it is %+v", r, m)
			}
		}
		if named && len(list) != people {
			t.Fatalf("%d of %d people are listed", len(list), people)
		}
		if d, rd := atLeast(front); sum != nil && (sum.GetDelivered() != front || sum.GetDeliveredBy() != d || sum.GetReadBy() != rd) {
			t.Fatalf("the summary says %v, it is %d: %d %d", sum, front, d, rd)
		}
	})
}

// Above the largest size nothing is kept and nothing told, whatever the mode.
func TestLargeHallsTellNothing(t *testing.T) {
	h := newHall("room", "e", nil)
	for i := range MaxCounted {
		if !h.advance(fmt.Sprint(i), cursors{1, 0}) {
			t.Fatalf("person %d was not taken", i)
		}
	}
	if h.summary(Auto).GetDeliveredBy() != MaxCounted {
		t.Errorf("before: %v", h.summary(Auto))
	}
	if h.advance("one too many", cursors{1, 0}) || h.advance("0", cursors{2, 0}) {
		t.Error("a large hall has news")
	}
	for _, m := range []Mode{Auto, Who, Counts} {
		if e := h.events(m, map[string]string{"0": "s"}); e != nil || h.event(m, "0") != nil || h.summary(m) != nil || h.list(m) != nil || len(h.people) > 0 {
			t.Errorf("%v: %v", m, e)
		}
	}
}

func TestWhoIsTold(t *testing.T) {
	h := newHall("room", "e", []store.Receipt{{User: "ada", Epoch: "e", Delivered: 3, Read: 2}})
	if es := h.events(Auto, map[string]string{"ada": "s1"}); len(es) != 1 || es[0].session != "s1" || es[0].GetUser() != "ada" || es[0].GetRead() != 2 {
		t.Errorf("who: %v", es)
	}
	h.advance("bob", cursors{3, 0})
	if es := h.events(Counts, map[string]string{"ada": "s1"}); len(es) != 1 || es[0].session != "s1" || es[0].GetUser() != "" || es[0].GetDeliveredBy() != 2 || es[0].GetReadBy() != 0 {
		t.Errorf("counts: %v", es)
	}
	if es := h.events(Counts, map[string]string{"ada": "s1", "bob": "s2"}); len(es) != 1 || es[0].session != "" {
		t.Errorf("counts of two: %v", es)
	}
	if es := h.events(Auto, nil); es != nil {
		t.Errorf("nobody moved: %v", es)
	}
	stairs := h.list(Counts)
	want := []*parleyv1.Receipt{{Delivered: 2, DeliveredBy: 2, ReadBy: 1}, {Delivered: 3, DeliveredBy: 2}}
	if len(stairs) != len(want) {
		t.Fatalf("stairs: %v", stairs)
	}
	for i, w := range want {
		if s := stairs[i]; s.GetDelivered() != w.GetDelivered() || s.GetDeliveredBy() != w.GetDeliveredBy() || s.GetReadBy() != w.GetReadBy() {
			t.Errorf("step %d: %v, want %v", i, s, w)
		}
	}
}

func TestModes(t *testing.T) {
	for text, want := range map[string]Mode{"none": None, "auto": Auto, "who": Who, "counts": Counts, "true": Auto, "false": None} {
		var m Mode
		if err := m.UnmarshalText([]byte(text)); err != nil || m != want || !m.Valid() {
			t.Errorf("%s: %v, %v", text, m, err)
		}
		if text != "true" && text != "false" && want.String() != text {
			t.Errorf("%s is written %v", text, want)
		}
	}
	var m Mode
	if m.UnmarshalText([]byte("everybody")) == nil || Mode(9).Valid() {
		t.Error("there is no such mode")
	}
}
