package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/parleyhq/parley/store"
)

func (b *bench) receipts(topic, after string, limit int) ([]store.Receipt, int) {
	b.tb.Helper()
	list, all, err := b.Receipts().Receipts(b.tb.Context(), topic, after, limit)
	if err != nil {
		b.tb.Fatal(err)
	}
	return list, all
}

func testReceipts(t *testing.T, b *bench) {
	one := func(topic, user string) store.Receipt {
		t.Helper()
		r, err := b.Receipts().Receipt(t.Context(), topic, user)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := one("room/1", "ada"); r != (store.Receipt{}) {
		t.Errorf("nobody has read anything: %+v", r)
	}
	first := store.Receipt{Topic: "room/1", User: "ada", Epoch: "e1", Delivered: 5}
	b.Receipts().Advance([]store.Receipt{first, {Topic: "room/1", User: "bob", Epoch: "e1", Delivered: 6, Read: 6}, {Topic: "room/11", User: "eve"}})
	if r := one("room/1", "ada"); r != first {
		t.Errorf("%+v", r)
	}
	second := store.Receipt{Topic: "room/1", User: "ada", Epoch: "e2", Delivered: 1, Read: 1}
	b.Receipts().Advance([]store.Receipt{first, second}) // the later of two counts
	if r := one("room/1", "ada"); r != second {
		t.Errorf("%+v", r)
	}
	if list, all := b.receipts("room/1", "", 9); all != 2 || len(list) != 2 || list[0] != second {
		t.Errorf("%+v of %d", list, all)
	}
	if list, all := b.receipts("room/2", "", 9); all != 0 || len(list) != 0 {
		t.Errorf("%+v of %d", list, all)
	}
	if list, all := b.receipts("room/1", "", 0); all != 2 || len(list) != 0 {
		t.Errorf("only the count was asked for: %+v of %d", list, all)
	}
}

func testReceiptPages(t *testing.T, b *bench) {
	const people = 57
	var want []string
	for i := range people {
		user := fmt.Sprintf("u%02d", (i*31)%people) // not in their order
		want = append(want, user)
		b.Receipts().Advance([]store.Receipt{{Topic: "hall", User: user, Delivered: uint64(i)}, {Topic: "hall", User: user, Delivered: uint64(i + 1)}})
	}
	slices.Sort(want)
	var got []string
	for after := ""; ; {
		list, all := b.receipts("hall", after, 10)
		if all != people {
			t.Fatalf("%d of %d are counted", all, people)
		}
		if len(list) == 0 {
			break
		}
		for _, r := range list {
			got = append(got, r.User)
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func (b *bench) groups(name string) []store.Group {
	b.tb.Helper()
	list, err := b.Groups().Groups(b.tb.Context(), name)
	if err != nil {
		b.tb.Fatal(err)
	}
	slices.SortFunc(list, func(x, y store.Group) int { return len(x.Topic) - len(y.Topic) })
	return list
}

func testGroups(t *testing.T, b *bench) {
	first := store.Group{Name: "g", Topic: "jobs", Done: at("e", 4), Beyond: []uint64{7, 9}, Attempts: map[uint64]uint32{5: 2, 6: 3}}
	other := store.Group{Name: "g", Topic: "jobs/more", Done: at("f", 1)}
	for _, g := range []store.Group{first, other, {Name: "gg", Topic: "jobs", Done: at("e", 1)}} {
		b.wait(func(done func(error)) { b.Groups().SaveGroup(&g, done) })
	}
	if got := b.groups("g"); len(got) != 2 || !reflect.DeepEqual(got[0], first) || got[1].Done != other.Done || got[1].Topic != other.Topic {
		t.Errorf("%+v", got)
	}
	next := store.Group{Name: "g", Topic: "jobs", Done: at("e", 9)}
	b.wait(func(done func(error)) { b.Groups().SaveGroup(&next, done) })
	if got := b.groups("g"); len(got) != 2 || got[0].Done != next.Done || len(got[0].Beyond)+len(got[0].Attempts) != 0 {
		t.Errorf("saved again: %+v", got)
	}
	b.wait(func(done func(error)) { b.Groups().DeleteGroup("g", done) })
	b.wait(func(done func(error)) { b.Groups().DeleteGroup("unknown", done) })
	if got := b.groups("g"); len(got) != 0 {
		t.Errorf("forgotten, and there: %+v", got)
	}
	if got := b.groups("gg"); len(got) != 1 {
		t.Errorf("the other group: %+v", got)
	}
}

func (b *bench) epoch(producer string) uint64 {
	b.tb.Helper()
	ctx, stop := context.WithTimeout(b.tb.Context(), patience)
	defer stop()
	n, err := b.Producers().NextEpoch(ctx, producer)
	if err != nil {
		b.tb.Fatal(err)
	}
	return n
}

func testProducers(t *testing.T, b *bench) {
	const callers, each = 8, 500
	var running sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{0: true}
	for range callers {
		running.Go(func() {
			last := uint64(0)
			for range each {
				n, err := b.Producers().NextEpoch(t.Context(), "p")
				mu.Lock()
				if err != nil || n <= last || seen[n] {
					t.Errorf("%d after %d: %v", n, last, err)
				}
				seen[n] = true
				mu.Unlock()
				last = n
			}
		})
	}
	running.Wait()
	if b.epoch("another") == 0 {
		t.Error("0 is no epoch")
	}
}

func testProducersReopen(t *testing.T, b *bench) {
	last := b.epoch("p")
	for range 5 {
		b.reopen()
		n := b.epoch("p")
		if n <= last {
			t.Fatalf("%d after %d", n, last)
		}
		last = b.epoch("p")
		if last <= n {
			t.Fatalf("%d after %d", last, n)
		}
	}
}

// Every write is answered, also when the engine is being closed or was.
func testClosed(t *testing.T, b *bench) {
	engine := b.Store
	const writers = 200
	answers := make(chan error, writers+1)
	for i := range writers {
		engine.Sessions().Save(session(fmt.Sprintf("s%d", i), "ada"), func(err error) { answers <- err })
	}
	b.close()
	for range writers {
		if err := <-answers; err != nil {
			t.Errorf("a write before the end: %v", err)
		}
	}
	for name, write := range map[string]func(done func(error)){
		"save":         func(done func(error)) { engine.Sessions().Save(session("s", "ada"), done) },
		"note":         func(done func(error)) { engine.Sessions().Note("s", "n", []byte("v"), done) },
		"delete":       func(done func(error)) { engine.Sessions().Delete("s", done) },
		"save group":   func(done func(error)) { engine.Groups().SaveGroup(&store.Group{Name: "g", Topic: "t"}, done) },
		"delete group": func(done func(error)) { engine.Groups().DeleteGroup("g", done) },
	} {
		if err := await(write); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	engine.Sessions().Acked([]store.Ack{{Session: "s", Filter: "f", Topic: "f"}})
	engine.Receipts().Advance([]store.Receipt{{Topic: "t", User: "u"}})
	for name, read := range closedReads(t.Context(), engine) {
		if err := read(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	if err := engine.Close(t.Context()); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if len(answers) != 0 {
		t.Errorf("a write was answered twice: %v", <-answers)
	}
}

func closedReads(ctx context.Context, engine store.Store) map[string]func() error {
	return map[string]func() error{
		"load":     func() error { _, err := engine.Sessions().Load(ctx, "s0"); return err },
		"of":       func() error { _, err := engine.Sessions().Of(ctx, "ada"); return err },
		"expired":  func() error { _, err := engine.Sessions().Expired(ctx, noon(), 1); return err },
		"receipts": func() error { _, _, err := engine.Receipts().Receipts(ctx, "t", "", 1); return err },
		"receipt":  func() error { _, err := engine.Receipts().Receipt(ctx, "t", "u"); return err },
		"groups":   func() error { _, err := engine.Groups().Groups(ctx, "g"); return err },
		"epoch":    func() error { _, err := engine.Producers().NextEpoch(ctx, "p"); return err },
	}
}
