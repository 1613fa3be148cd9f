package talk_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/outbox"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

func TestSendersAtOnce(t *testing.T) {
	const senders, lines = 32, 15 // every fifth line is sent twice: 20 % retries
	h := newHall(t)
	h.write(t, func(ctx context.Context, tx store.Tx) error {
		for i := range senders {
			u := store.User{Handle: fmt.Sprintf("s%02d", i), DisplayName: "s", PasswordHash: "-", Role: store.Member}
			if _, err := tx.AddUser(ctx, &u); err != nil {
				return err
			}
		}
		return nil
	})
	answers := make([]map[string]uint64, senders)
	var all sync.WaitGroup
	for i := range senders {
		answers[i] = make(map[string]uint64)
		all.Go(func() {
			who := fmt.Sprintf("s%02d", i)
			for n := range lines {
				in := talk.Line{Conversation: "lobby", Key: fmt.Sprint("k", n), Body: fmt.Sprint(who, " ", n)}
				first, err := h.Send(context.Background(), who, in)
				if err != nil {
					t.Error(err)
					return
				}
				if n%5 == 0 {
					again, err := h.Send(context.Background(), who, in)
					if err != nil || again.Seq != first.Seq || again.ID != first.ID {
						t.Errorf("repeat of seq %d answered seq %d, %v", first.Seq, again.Seq, err)
					}
				}
				answers[i][in.Body] = first.Seq
			}
		})
	}
	all.Wait()
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Conversation(ctx, "lobby")
		if err != nil {
			return err
		}
		ms, err := tx.MessagesAfter(ctx, c.ID, 0, senders*lines+10)
		if c.LastSeq != senders*lines || len(ms) != senders*lines {
			t.Errorf("last seq %d, %d messages, want %d", c.LastSeq, len(ms), senders*lines)
		}
		for i, m := range ms {
			var n int
			_, _ = fmt.Sscanf(m.Body[1:3], "%d", &n)
			if m.Seq != int64(i+1) || answers[n][m.Body] != uint64(m.Seq) {
				t.Fatalf("message %d has seq %d, was answered %d", i, m.Seq, answers[n][m.Body])
			}
		}
		return err
	})
	var seqs []uint64
	for _, e := range h.drain(t) {
		if e.Type == "message.created" {
			seqs = append(seqs, payload[web.Message](t, e).Seq)
		}
	}
	if len(seqs) != senders*lines || !slices.IsSorted(seqs) || len(slices.Compact(seqs)) != senders*lines {
		t.Errorf("%d events, in order: %v", len(seqs), slices.IsSorted(seqs))
	}
}

func TestSendRefusals(t *testing.T) {
	h := newHall(t)
	direct, err := h.OpenDirect(t.Context(), "ada", "@Bob")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		who  string
		in   talk.Line
		kind fault.Kind
		text string
	}{
		"visitor":        {"", talk.Line{Conversation: "lobby", Key: "k", Body: "x"}, fault.SignedOut, fault.NeedSignIn},
		"unknown person": {"zed", talk.Line{Conversation: "lobby", Key: "k", Body: "x"}, fault.SignedOut, fault.NeedSignIn},
		"no such room":   {"ada", talk.Line{Conversation: "attic", Key: "k", Body: "x"}, fault.NotFound, fault.NoSuchPage},
		"not theirs":     {"cleo", talk.Line{Conversation: direct.PublicID, Key: "k", Body: "x"}, fault.NotFound, fault.NoSuchPage},
		"empty":          {"ada", talk.Line{Conversation: "lobby", Key: "k", Body: " \n\t "}, fault.Invalid, fault.Required},
		"endless":        {"ada", talk.Line{Conversation: "lobby", Key: "k", Body: strings.Repeat("长", 10_001)}, fault.Invalid, fault.TooLong},
		"no key":         {"ada", talk.Line{Conversation: "lobby", Body: "x"}, fault.Invalid, fault.BadRequest},
		"reply to none":  {"ada", talk.Line{Conversation: "lobby", Key: "k", Body: "x", ReplyTo: 7}, fault.NotFound, fault.ReplyMissing},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Send(t.Context(), c.who, c.in)
			refused(t, err, c.kind, c.text)
		})
	}
	if n := h.say(t, "ada", "lobby", "first"); n != 1 {
		t.Errorf("refusals cost seqs: the first line got %d", n)
	}
	refused(t, h.MayRead(t.Context(), "cleo", direct.PublicID), fault.NotFound, fault.NoSuchPage)
	if err := h.MayRead(t.Context(), "", "lobby"); err != nil {
		t.Error(err)
	}
}

func TestOutboxAfterCrash(t *testing.T) {
	h := newHall(t)
	for i := range 3 { // committed, and nobody drains: the process is gone before it publishes
		h.say(t, "ada", "lobby", fmt.Sprint("line ", i))
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}

	h = open(t, h.path)
	broken := errors.New("broker away")
	r := &recorder{}
	r.fail = func(store.Event) error {
		if len(r.events) == 1 {
			return broken
		}
		return nil
	}
	box := outbox.New(h.db, r, slog.New(slog.DiscardHandler))
	if err := box.Drain(t.Context()); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	r.fail = nil
	if err := box.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.say(t, "bob", "lobby", "line 3")
	if err := box.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for _, e := range r.events {
		if e.Topic == web.TopicConversation("lobby") {
			bodies = append(bodies, payload[web.Message](t, e).Body)
		}
	}
	if want := []string{"line 0", "line 1", "line 2", "line 3"}; !slices.Equal(bodies, want) {
		t.Errorf("published %q, want %q", bodies, want)
	}
}

func TestOutboxRunsAndStops(t *testing.T) {
	h := newHall(t)
	got := make(chan store.Event, 10)
	box := outbox.New(h.db, toChannel(got), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { box.Run(ctx) })
	h.say(t, "ada", "lobby", "hello")
	box.Wake()
	if e := <-got; payload[web.Message](t, e).Body != "hello" {
		t.Errorf("got %v", e)
	}
	stop()
	running.Wait()
}

type toChannel chan store.Event

func (c toChannel) PublishEvent(_ context.Context, e store.Event) (store.Place, error) {
	c <- e
	return store.Place{}, nil
}
