package talk_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
)

func TestOnePersonMayNotFlood(t *testing.T) {
	h := newHall(t)
	now := func() time.Time { return time.UnixMilli(h.clock.Load()) }
	md := markup.New()
	s := talk.New(talk.Config{
		DB: h.db, Markup: md, Now: now, PerSecond: 2, Burst: 3, Wake: func() {},
		Draw: view.NewDrawer(md, now, window, func(string) bool { return false }),
	})
	say := func(who string) error {
		_, err := s.Send(t.Context(), who, talk.Line{Conversation: "lobby", Key: talk.NewKey(), Body: "x"})
		return err
	}
	for range 3 {
		if err := say("ada"); err != nil {
			t.Fatal(err)
		}
	}
	err := say("ada")
	refused(t, err, fault.TooMany, fault.TooFast)
	if f, _ := fault.Of(err); f.After != 500*time.Millisecond {
		t.Errorf("told to wait %s, want half a second", f.After)
	}
	if err := say("bob"); err != nil {
		t.Errorf("another person must wait too: %v", err)
	}
	h.clock.Add(500)
	if err := say("ada"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// BenchmarkSend measures committed lines with 32 people speaking in one room.
func BenchmarkSend(b *testing.B) {
	h := open(b, filepath.Join(b.TempDir(), "community.db"))
	h.write(b, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.AddUser(ctx, &store.User{Handle: "ada", DisplayName: "ada", PasswordHash: "-", Role: store.Member})
		return err
	})
	if _, err := h.CreateRoom(b.Context(), "ada", talk.RoomPlan{Title: "Lobby", Slug: "lobby"}); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.Send(b.Context(), "ada", talk.Line{Conversation: "lobby", Key: talk.NewKey(), Body: "hello *there*"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
