package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/store"
)

func testManySessions(t *testing.T, b *bench) {
	const clients, rounds = 16, 60
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			id, user := fmt.Sprintf("s%d", c), fmt.Sprintf("u%d", c%4)
			for i := range uint64(rounds) {
				s := session(id, user)
				s.Expiry = time.Duration(i+1) * time.Minute
				if err := await(func(done func(error)) { b.Sessions().Save(s, done) }); err != nil {
					t.Error(err)
				}
				b.Sessions().Acked([]store.Ack{{Session: id, Filter: "room/1", Topic: "room/1", Position: at("e1", i)}})
				b.Sessions().Note(id, "n", fmt.Append(nil, i), nil)
				got, err := b.Sessions().Load(t.Context(), id)
				if err != nil {
					t.Errorf("load: %v", err)
					return
				}
				acked, note := got.Subscriptions[0].Acked["room/1"], string(got.Notes["n"])
				if acked != at("e1", i) || note != fmt.Sprint(i) || got.Expiry != time.Duration(i+1)*time.Minute {
					t.Errorf("%s in round %d: %+v", id, i, got)
				}
				if _, err := b.Sessions().Expired(t.Context(), noon(), 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	for u := range 4 {
		if ids := b.of(fmt.Sprintf("u%d", u)); len(ids) != clients/4 {
			t.Errorf("sessions of u%d: %q", u, ids)
		}
	}
	if ids := b.expired(noon().Add(2*time.Hour), 100); len(ids) != clients {
		t.Errorf("%d of %d expire: %q", len(ids), clients, ids)
	}
}

// One moves a cursor on while others note, save another and look.
func testOneSession(t *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	const steps = 400
	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() {
		defer close(ended)
		for i := uint64(8); i < 8+steps; i++ {
			b.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", i)}})
		}
	})
	running.Go(func() {
		for i := range steps {
			b.Sessions().Note("s1", "n", fmt.Append(nil, i), nil)
		}
	})
	running.Go(func() {
		for last := uint64(0); ; {
			s, err := b.Sessions().Load(t.Context(), "s1")
			if err != nil {
				t.Errorf("load: %v", err)
				return
			}
			now := s.Subscriptions[0].Acked["room/1"].Seq
			if now < last {
				t.Errorf("the cursor went back from %d to %d", last, now)
			}
			last = now
			select {
			case <-ended:
				return
			default:
			}
		}
	})
	running.Go(func() { // comes and goes; the index of its user must follow
		for range steps {
			b.Sessions().Save(session("s2", "ada"), nil)
			b.Sessions().Delete("s2", nil)
		}
	})
	running.Wait()
	got := b.load("s1")
	if got.Subscriptions[0].Acked["room/1"].Seq != 7+steps || string(got.Notes["n"]) != fmt.Sprint(steps-1) {
		t.Errorf("%+v", got)
	}
	if _, err := b.Sessions().Load(t.Context(), "s2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("s2: %v", err)
	}
	if ids := b.of("ada"); len(ids) != 1 {
		t.Errorf("sessions of ada: %q", ids)
	}
}

func testManyReceipts(t *testing.T, b *bench) {
	const people, rounds = 40, 30
	var running sync.WaitGroup
	for p := range people {
		running.Go(func() {
			for i := range uint64(rounds) {
				user := fmt.Sprintf("u%d", (p+int(i))%people) // several write for each
				b.Receipts().Advance([]store.Receipt{{Topic: "hall", User: user, Epoch: "e", Delivered: i}})
			}
		})
	}
	running.Wait()
	list, all := b.receipts("hall", "", people+1)
	if all != people || len(list) != people {
		t.Errorf("%d receipts, %d counted, %d people", len(list), all, people)
	}
}
