package memorystore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
	"github.com/parleyhq/parley/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Test(t, storetest.Engine{Open: func(testing.TB, string) store.Store { return memorystore.New(memorystore.Limits{}) }})
}

// there tells which of the sessions s0 to s(n-1) are known, as a word of digits.
func there(t *testing.T, s store.Sessions, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		_, err := s.Load(t.Context(), fmt.Sprintf("s%d", i))
		switch {
		case err == nil:
			fmt.Fprint(&b, i)
		case !errors.Is(err, store.ErrNotFound):
			t.Fatal(err)
		}
	}
	return b.String()
}

func save(s store.Sessions, i int) {
	s.Save(&store.Session{ID: fmt.Sprintf("s%d", i), User: "ada", Seen: time.Now()}, nil)
}

// Who was saved the longest ago is forgotten first.
func TestSessionsBounded(t *testing.T) {
	t.Parallel()
	s := memorystore.New(memorystore.Limits{Sessions: 3}).Sessions()
	for i := range 3 {
		save(s, i)
	}
	s.Note("s0", "n", []byte("a note is no visit"), nil)
	save(s, 3)
	if got := there(t, s, 4); got != "123" {
		t.Errorf("s0 was first: %s", got)
	}
	save(s, 1) // somebody holds it
	save(s, 4)
	if got := there(t, s, 5); got != "134" {
		t.Errorf("s2 was saved before s1: %s", got)
	}
	if ids, err := s.Of(t.Context(), "ada"); err != nil || len(ids) != 3 {
		t.Errorf("%q, %v", ids, err)
	}
}

func TestSessionBytes(t *testing.T) {
	t.Parallel()
	s := memorystore.New(memorystore.Limits{SessionBytes: 5000}).Sessions()
	for i := range 4 {
		save(s, i)
	}
	s.Note("s3", "big", make([]byte, 3900), nil)
	if got := there(t, s, 4); got != "23" {
		t.Errorf("what grows counts: %s", got)
	}
	s.Save(&store.Session{ID: "s2", Subscriptions: []store.Subscription{{Filter: "a/#"}}}, nil)
	for i := range 100 {
		topic := fmt.Sprintf("a/%d", i)
		s.Acked([]store.Ack{{Session: "s2", Filter: "a/#", Topic: topic, Position: message.Position{Seq: 1}}})
	}
	if got := there(t, s, 4); got != "2" {
		t.Errorf("the only one left is kept whatever it takes: %s", got)
	}
	s.Delete("s2", nil)
	for i := range 4 {
		save(s, i)
	}
	if got := there(t, s, 4); got != "0123" {
		t.Errorf("what was forgotten is not counted any more: %s", got)
	}
}

func TestReceiptsBounded(t *testing.T) {
	t.Parallel()
	r := memorystore.New(memorystore.Limits{ReceiptBytes: 2000}).Receipts()
	advance := func(topic string, people int) {
		for i := range people {
			r.Advance([]store.Receipt{{Topic: topic, User: fmt.Sprint(i), Delivered: 1}})
		}
	}
	advance("a", 3)
	advance("b", 3)
	advance("a", 3)
	advance("c", 3)
	for topic, want := range map[string]int{"a": 3, "b": 0, "c": 3} {
		if _, all, err := r.Receipts(t.Context(), topic, "", 1); err != nil || all != want {
			t.Errorf("%s: %d, want %d (%v)", topic, all, want, err)
		}
	}
}

func TestGroupsBounded(t *testing.T) {
	t.Parallel()
	g := memorystore.New(memorystore.Limits{GroupBytes: 1000}).Groups()
	save := func(topic string, beyond int) (err error) {
		g.SaveGroup(&store.Group{Name: "g", Topic: topic, Beyond: make([]uint64, beyond)}, func(e error) { err = e })
		return err
	}
	for i, c := range []struct {
		topic  string
		beyond int
		want   error
	}{{"a", 20, nil}, {"b", 40, store.ErrFull}, {"b", 10, nil}, {"a", 80, store.ErrFull}, {"a", 1, nil}, {"b", 30, nil}} {
		if err := save(c.topic, c.beyond); !errors.Is(err, c.want) {
			t.Errorf("step %d: %v, want %v", i, err, c.want)
		}
	}
	g.DeleteGroup("g", nil)
	if err := save("c", 80); err != nil {
		t.Errorf("what was forgotten is not counted any more: %v", err)
	}
}
