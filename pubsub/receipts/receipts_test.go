package receipts_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
	"github.com/parleyhq/parley/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// room is a Book on a store, with one topic whose position the test sets.
type room struct {
	*receipts.Book

	store store.Receipts
	stop  func()
	mode  receipts.Mode

	mu    sync.Mutex
	at    message.Position
	heard []string
}

func newRoom(s store.Receipts, mode receipts.Mode) *room {
	r := &room{store: s, mode: mode, at: message.Position{Epoch: "e", Seq: 100}}
	r.Book = receipts.New(receipts.Config{
		Store: s, Log: slog.New(slog.DiscardHandler),
		Mode: func(topic.Name) receipts.Mode { return r.mode },
		Position: func(context.Context, topic.Name) (message.Position, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.at, nil
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	r.stop = func() {
		stop()
		<-ended
	}
	return r
}

func (r *room) watch(filter, session string) *receipts.Watcher {
	w := &receipts.Watcher{Filter: topic.Filter(filter), Session: session, Deliver: func(d *hub.Delivery) {
		r.mu.Lock()
		defer r.mu.Unlock()
		e := d.Event.GetReceipt()
		r.heard = append(r.heard, fmt.Sprintf("%s: %s %d/%d %d/%d", session, e.GetUser(), e.GetDelivered(), e.GetRead(), e.GetDeliveredBy(), e.GetReadBy()))
	}}
	r.Watch(w)
	return w
}

// said returns what the watchers have heard since the last time, after a while.
func (r *room) said() (out []string) {
	<-time.NewTimer(time.Second).C
	r.mu.Lock()
	defer r.mu.Unlock()
	out, r.heard = r.heard, nil
	return out
}

func at(seq uint64) message.Position { return message.Position{Epoch: "e", Seq: seq} }

func want(t *testing.T, what string, got []string, words ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(words) {
		t.Errorf("%s: %q, want %q", what, got, words)
	}
}

func TestTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(memorystore.New(memorystore.Limits{}).Receipts(), receipts.Auto)
		defer r.stop()
		a := r.watch("room/1", "phone")
		r.watch("room/+", "phone") // told once all the same
		for seq := range uint64(20) {
			r.Delivered("room/1", at(seq+1), "ada", "laptop")
		}
		want(t, "twenty at once", r.said(), "phone: ada 20/0 0/0")
		r.Read("room/1", at(7), "ada", "laptop")
		r.Delivered("room/1", at(20), "ada", "laptop")
		want(t, "read", r.said(), "phone: ada 20/7 0/0")
		r.Read("room/1", at(5), "ada", "laptop")
		want(t, "never back", r.said())
		r.Read("room/1", at(30), "bob", "phone")
		want(t, "what one did oneself", r.said())
		r.Read("room/1", at(31), "bob", "phone")
		r.Read("room/1", at(32), "bob", "tablet")
		want(t, "from another device, too", r.said(), "phone: bob 32/32 0/0")
		r.Read("room/2", at(1), "ada", "laptop")
		want(t, "through the pattern", r.said(), "phone: ada 1/1 0/0")
		r.Read("hall", at(1), "ada", "laptop")
		r.Read("room/1", at(40), "", "anonymous")
		want(t, "what nobody watches, and nobody's", r.said())
		r.Unwatch(a)
		r.Read("room/1", at(41), "ada", "laptop")
		want(t, "still through the pattern", r.said(), "phone: ada 41/41 0/0")
		list, err := r.List(t.Context(), "room/1")
		if err != nil || len(list) != 2 || list[0].GetUser() != "ada" || list[1].GetRead() != 32 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// Who gets on all the time is told of four times a second: not more often, and
// not only when it ends.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(memorystore.New(memorystore.Limits{}).Receipts(), receipts.Auto)
		defer r.stop()
		r.watch("room/1", "x")
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		for seq := range uint64(500) {
			<-ticks.C
			r.Delivered("room/1", at(seq), "ada", "s")
		}
		if n := len(r.said()); n < 18 || n > 21 {
			t.Errorf("told %d times in 5 seconds", n)
		}
	})
}

// What is not settled yet is in the list already, and stored at the end.
func TestListAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memorystore.New(memorystore.Limits{}).Receipts()
		r := newRoom(s, receipts.Auto)
		r.Read("room/1", at(3), "ada", "s")
		if list, err := r.List(t.Context(), "room/1"); err != nil || len(list) != 1 || list[0].GetRead() != 3 {
			t.Errorf("%v, %v", list, err)
		}
		var hooked []store.Receipt
		r.OnReceipt(func(store.Receipt) { panic("an application's mistake") })
		r.OnReceipt(func(got store.Receipt) { hooked = append(hooked, got) })
		r.Delivered("room/1", at(9), "ada", "s")
		r.stop()
		if got, err := s.Receipt(t.Context(), "room/1", "ada"); err != nil || got.Delivered != 9 || got.Read != 3 {
			t.Errorf("stored: %+v, %v", got, err)
		}
		if len(hooked) != 1 || hooked[0].Delivered != 9 || hooked[0].Read != 3 || hooked[0].User != "ada" || hooked[0].Topic != "room/1" {
			t.Errorf("the application heard %+v", hooked)
		}
		again := newRoom(s, receipts.Auto)
		again.watch("room/1", "x")
		again.Delivered("room/1", at(9), "ada", "s")
		want(t, "known from an earlier life", again.said())
		again.Delivered("room/1", at(10), "ada", "s")
		want(t, "goes on", again.said(), "x: ada 10/3 0/0")
		again.stop()
	})
}

// With a new history everything begins anew; what comes from the old one means
// nothing.
func TestNewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memorystore.New(memorystore.Limits{}).Receipts()
		r := newRoom(s, receipts.Auto)
		defer r.stop()
		r.watch("room/1", "x")
		r.Read("room/1", at(50), "ada", "s")
		r.said()
		r.mu.Lock()
		r.at = message.Position{Epoch: "f", Seq: 2}
		r.mu.Unlock()
		r.Delivered("room/1", message.Position{Epoch: "f", Seq: 1}, "ada", "s")
		want(t, "anew", r.said(), "x: ada 1/0 0/0")
		r.Delivered("room/1", at(60), "bob", "s")
		want(t, "late", r.said())
		if got, err := s.Receipt(t.Context(), "room/1", "ada"); err != nil || got.Epoch != "f" || got.Delivered != 1 || got.Read != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if list, err := r.List(t.Context(), "room/1"); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

func TestNoReceiptsUnlessAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memorystore.New(memorystore.Limits{}).Receipts()
		r := newRoom(s, receipts.None)
		defer r.stop()
		r.watch("room/1", "x")
		r.Read("room/1", at(1), "ada", "s")
		want(t, "none", r.said())
		if got, err := s.Receipt(t.Context(), "room/1", "ada"); err != nil || got.User != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Of a crowd only the application hears.
func TestLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memorystore.New(memorystore.Limits{}).Receipts()
		r := newRoom(s, receipts.Auto)
		defer r.stop()
		r.watch("hall", "x")
		var mu sync.Mutex
		hooked := make(map[string]uint64)
		r.OnReceipt(func(got store.Receipt) {
			mu.Lock()
			defer mu.Unlock()
			hooked[got.User] = got.Read
		})
		for i := range 2000 {
			r.Read("hall", at(1), fmt.Sprint("u", i), "s")
		}
		want(t, "a crowd", r.said())
		r.Read("hall", at(2), "u7", "s")
		want(t, "one of them", r.said())
		mu.Lock()
		if len(hooked) != 2000 || hooked["u7"] != 2 {
			t.Errorf("the application heard of %d, of u7 %d", len(hooked), hooked["u7"])
		}
		mu.Unlock()
		if _, all, err := s.Receipts(t.Context(), "hall", "", 1); err != nil || all > receipts.MaxCounted {
			t.Errorf("%d are stored, %v", all, err)
		}
		if list, err := r.List(t.Context(), "hall"); err != nil || len(list) > 0 {
			t.Errorf("%d are listed, %v", len(list), err)
		}
	})
}
