package talk_test

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/community/store"
)

// Cursors only move forward, read implies delivered, and unread is what the model says, whatever
// comes in which order.
func TestCursors(t *testing.T) {
	h := newHall(t)
	rapid.Check(t, func(r *rapid.T) {
		room := h.freshRoom(t)
		var last, read, joined int64 = 0, 0, 0
		r.Repeat(map[string]func(*rapid.T){
			"somebody speaks": func(*rapid.T) { last = h.say(t, "ada", room, "x") },
			"bob speaks": func(*rapid.T) {
				last = h.say(t, "bob", room, "y")
				if joined == 0 {
					joined = last
				}
				read = last
			},
			"bob reads": func(r *rapid.T) {
				seq := rapid.Int64Range(-3, 40).Draw(r, "seq")
				at, _, err := h.MarkRead(context.Background(), "bob", room, seq)
				if err != nil {
					r.Fatal(err)
				}
				seq = max(0, min(seq, last))
				if joined == 0 {
					joined = max(1, seq)
				}
				if read = max(read, seq); at != read {
					r.Fatalf("cursor at %d, want %d", at, read)
				}
			},
			"": func(r *rapid.T) { h.checkPlace(t, r, room, last, read, joined) },
		})
	})
}

func (h *hall) freshRoom(t *testing.T) string {
	t.Helper()
	c := store.Conversation{Kind: store.Room, PublicID: "r" + newName(), CreatorID: 1, Title: "r", ReceiptsMode: "who"}
	h.write(t, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.AddConversation(ctx, &c)
		return err
	})
	return c.PublicID
}

func (h *hall) checkPlace(t *testing.T, r *rapid.T, room string, last, read, joined int64) {
	t.Helper()
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Conversation(ctx, room)
		if err != nil {
			return err
		}
		m, err := tx.Membership(ctx, c.ID, 2)
		if errors.Is(err, store.ErrNotFound) && joined == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		want := max(0, last-max(read, joined-1))
		if m.ReadSeq != read || m.DeliveredSeq < m.ReadSeq || m.Unread(c.LastSeq) != want {
			r.Fatalf("read %d delivered %d unread %d of %d; want read %d unread %d", m.ReadSeq, m.DeliveredSeq, m.Unread(c.LastSeq), last, read, want)
		}
		return nil
	})
}
