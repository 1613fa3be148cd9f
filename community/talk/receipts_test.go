package talk_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/outbox"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

// places publishes as a broker does: it numbers the events of each topic, anew with every epoch.
type places struct {
	epoch string
	last  map[string]int64
}

func (p *places) PublishEvent(_ context.Context, e store.Event) (store.Place, error) {
	p.last[e.Topic]++
	return store.Place{Epoch: p.epoch, Seq: p.last[e.Topic]}, nil
}

// begin loses the history of all topics.
func (p *places) begin(epoch string) { p.epoch, p.last = epoch, make(map[string]int64) }

// cursors are where bob stands in a conversation.
func (h *hall) cursors(t testing.TB, conversation string) (delivered, read int64) {
	t.Helper()
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Conversation(ctx, conversation)
		if err != nil {
			return err
		}
		m, err := tx.Membership(ctx, c.ID, 2)
		delivered, read = m.DeliveredSeq, m.ReadSeq
		return err
	})
	return delivered, read
}

// Positions of the topic, where edits and deletions have numbers too and which begins anew after a
// restart, come to stand for the messages that were published up to there, and no others.
func TestReceiptsAgainstAModel(t *testing.T) {
	h := newHall(t)
	rapid.Check(t, func(r *rapid.T) {
		group := h.group(t, "who")
		id := group.PublicID
		to := &places{}
		to.begin("e0")
		box := outbox.New(h.db, to, slog.New(slog.DiscardHandler))
		var last, delivered, read, published int64
		at := map[int64]int64{} // of the present epoch: message to position
		upTo := func(position int64) (seq int64) {
			for s := int64(1); s <= published; s++ {
				if at[s] <= position {
					seq = s
				}
			}
			return seq
		}
		epochs := 0
		r.Repeat(map[string]func(*rapid.T){
			"ada speaks": func(*rapid.T) { last = h.say(t, "ada", id, "x") },
			"ada edits": func(r *rapid.T) {
				if last == 0 {
					r.Skip()
				}
				if _, err := h.Edit(t.Context(), "ada", id, last, fmt.Sprint("y", h.clock.Add(1))); err != nil {
					r.Fatal(err)
				}
			},
			"published": func(*rapid.T) {
				before := to.last[web.TopicConversation(id)]
				if err := box.Drain(t.Context()); err != nil {
					r.Fatal(err)
				}
				h.read(t, func(ctx context.Context, tx store.Tx) error {
					for s := published + 1; s <= last; s++ {
						m, err := tx.Message(ctx, group.ID, s)
						if err != nil {
							return err
						}
						if m.Place.Seq <= before || m.Place.Epoch != to.epoch {
							r.Fatalf("message %d stands at %+v, behind %d", s, m.Place, before)
						}
						at[s] = m.Place.Seq
					}
					return nil
				})
				published = last
			},
			"restart": func(*rapid.T) {
				epochs++
				to.begin(fmt.Sprint("e", epochs))
				for s := range at {
					at[s] = 0
				}
			},
			"a receipt": func(r *rapid.T) {
				end := to.last[web.TopicConversation(id)]
				if end == 0 {
					r.Skip()
				}
				d := rapid.Int64Range(1, end).Draw(r, "delivered")
				rd := rapid.Int64Range(0, d).Draw(r, "read")
				err := h.Received(t.Context(), []talk.Receipt{{
					Handle: "bob", Conversation: id, Delivered: store.Place{Epoch: to.epoch, Seq: d}, Read: store.Place{Epoch: to.epoch, Seq: rd},
				}})
				if err != nil {
					r.Fatal(err)
				}
				if rd > 0 {
					read = max(read, upTo(rd))
				}
				delivered = max(delivered, upTo(d), read)
			},
			"": func(r *rapid.T) {
				if d, rd := h.cursors(t, id); d != delivered || rd != read {
					r.Fatalf("cursors at %d and %d, want %d and %d of %d", d, rd, delivered, read, last)
				}
			},
		})
	})
}

// group opens one of ada and bob.
func (h *hall) group(t testing.TB, mode string) store.Conversation {
	t.Helper()
	c := store.Conversation{Kind: store.Group, PublicID: "g" + newName(), CreatorID: 1, Title: "Two", ReceiptsMode: mode}
	h.write(t, func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.AddConversation(ctx, &c); err != nil {
			return err
		}
		for _, user := range []int64{1, 2} {
			if err := tx.Enter(ctx, store.Membership{ConversationID: c.ID, UserID: user, Role: store.Participant, JoinedSeq: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

// thread draws a conversation for somebody.
func (h *hall) thread(t testing.TB, who, conversation string) (out web.Thread) {
	t.Helper()
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		p, err := h.Open(ctx, tx, who, conversation)
		if err == nil {
			out, err = h.Thread(ctx, tx, p, 0)
		}
		return err
	})
	return out
}

// What is told of how far people have got depends on the conversation, and on its size.
func TestWhatReceiptsTell(t *testing.T) {
	for _, c := range []struct {
		mode    string
		members int64
		told    string
		live    bool
	}{
		{"who", 2, "who", true},
		{"who", 100, "who", true},
		{"who", 101, "count", true},
		{"who", 1000, "count", true},
		{"who", 1001, "", false},
		{"count", 2, "count", false},
		{"count", 1001, "", false},
		{"none", 2, "", false},
	} {
		t.Run(fmt.Sprint(c.mode, " ", c.members), func(t *testing.T) {
			h := newHall(t)
			group := h.group(t, c.mode)
			h.say(t, "ada", group.PublicID, "one")
			h.say(t, "bob", group.PublicID, "two")
			h.say(t, "ada", group.PublicID, "three")
			h.crowd(t, group.ID, c.members-2, 1)
			h.drain(t)
			for _, who := range []string{"bob", "cleo", "nobody"} { // of whom one is a member
				if err := h.Received(t.Context(), []talk.Receipt{{Handle: who, Conversation: group.PublicID, Delivered: store.Place{Epoch: "e", Seq: 99}}}); err != nil {
					t.Fatal(err)
				}
			}
			thread := h.thread(t, "ada", group.PublicID)
			if got := thread.Receipts; got.Told != c.told || got.Live != c.live {
				t.Errorf("told %q, live %v; want %q, %v", got.Told, got.Live, c.told, c.live)
			}
			var reach []web.Reach
			for _, m := range thread.Messages {
				if m.Reach != nil {
					reach = append(reach, *m.Reach)
				}
			}
			others := int(c.members) - 1
			delivered := 0 // the last line, to bob
			if c.mode == "who" {
				delivered = 1
			}
			if c.told == "count" && !slices.Equal(reach, []web.Reach{{Delivered: others, Read: others}, {Delivered: delivered}}) || c.told != "count" && reach != nil {
				t.Errorf("numbers: %+v", reach)
			}
			if n := len(thread.Receipts.People); (c.told == "who") != (n > 0) || n > 0 && n != others {
				t.Errorf("%d people", n)
			}
			if c.told == "who" {
				if i := slices.IndexFunc(thread.Receipts.People, func(r web.Reader) bool { return r.ID == "bob" }); thread.Receipts.People[i] != (web.Reader{ID: "bob", Display: "bob", Delivered: 3, Read: 2}) {
					t.Errorf("bob: %+v", thread.Receipts.People[i])
				}
			}
			for _, who := range []string{"cleo", ""} {
				h.read(t, func(ctx context.Context, tx store.Tx) error {
					_, err := h.Open(ctx, tx, who, group.PublicID)
					refused(t, err, fault.NotFound, fault.NoSuchPage)
					return nil
				})
			}
		})
	}
	h := newHall(t)
	if r := h.thread(t, "", "lobby").Receipts; r.Told != "" || r.Live {
		t.Errorf("a visitor is told %+v", r)
	}
}

// crowd adds members who have read up to a seq.
func (h *hall) crowd(t testing.TB, conversation, people, read int64) {
	t.Helper()
	h.write(t, func(ctx context.Context, tx store.Tx) error {
		for i := range people {
			u := store.User{Handle: fmt.Sprint("c", i), DisplayName: fmt.Sprint("C ", i), PasswordHash: "-", Role: store.Member}
			if _, err := tx.AddUser(ctx, &u); err != nil {
				return err
			}
			if err := tx.Enter(ctx, store.Membership{ConversationID: conversation, UserID: u.ID, Role: store.Participant, JoinedSeq: 1}); err != nil {
				return err
			}
			if _, err := tx.MoveRead(ctx, conversation, u.ID, read); err != nil {
				return err
			}
		}
		return nil
	})
}
