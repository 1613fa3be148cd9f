package talk_test

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/outbox"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
)

func TestMain(m *testing.M) {
	// Each step of a property is a synced write: fewer runs than usual, of a small model.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const window = time.Hour

// hall is a community on a real SQLite file.
type hall struct {
	*talk.Service
	db    *store.DB
	path  string
	clock atomic.Int64
	woken atomic.Int64
}

func open(t testing.TB, path string) *hall {
	t.Helper()
	db, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	h := &hall{db: db, path: path}
	h.clock.Store(1_790_000_000_000)
	now := func() time.Time { return time.UnixMilli(h.clock.Load()) }
	md := markup.New()
	h.Service = talk.New(talk.Config{
		DB: db, Markup: md, Now: now, PerSecond: 1e6, Burst: 1e6,
		Draw: view.NewDrawer(md, now, window, func(string) bool { return false }),
		Wake: func() { h.woken.Add(1) },
	})
	return h
}

// newHall has the people ada (admin), bob and cleo, the category "general" and the room "lobby".
func newHall(t testing.TB) *hall {
	t.Helper()
	h := open(t, filepath.Join(t.TempDir(), "community.db"))
	h.write(t, func(ctx context.Context, tx store.Tx) error {
		for _, u := range []store.User{{Handle: "ada", Role: store.Admin}, {Handle: "bob"}, {Handle: "cleo"}} {
			u.DisplayName, u.PasswordHash = u.Handle, "-"
			if u.Role == "" {
				u.Role = store.Member
			}
			if _, err := tx.AddUser(ctx, &u); err != nil {
				return err
			}
		}
		return tx.AddCategory(ctx, &store.Category{Slug: "general", Name: "General"})
	})
	if _, err := h.CreateRoom(t.Context(), "ada", talk.RoomPlan{Title: "Lobby", Slug: "lobby"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hall) write(t testing.TB, f func(context.Context, store.Tx) error) {
	t.Helper()
	if err := h.db.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func (h *hall) read(t testing.TB, f func(context.Context, store.Tx) error) {
	t.Helper()
	if err := h.db.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// say sends a line that must be taken, and returns its seq.
func (h *hall) say(t testing.TB, who, where, body string) int64 {
	t.Helper()
	m, err := h.Send(t.Context(), who, talk.Line{Conversation: where, Key: talk.NewKey(), Body: body})
	if err != nil {
		t.Fatalf("%s says %q in %s: %v", who, body, where, err)
	}
	return int64(m.Seq)
}

func (h *hall) post(t testing.TB, who, title, body string) string {
	t.Helper()
	c, err := h.CreatePost(t.Context(), who, talk.Draft{Category: "general", Title: title, Body: body, Key: talk.NewKey()})
	if err != nil {
		t.Fatal(err)
	}
	return c.PublicID
}

// recorder is a publisher that keeps what it was given, and fails when told to.
type recorder struct {
	events []store.Event
	fail   func(e store.Event) error
}

func (r *recorder) PublishEvent(_ context.Context, e store.Event) (store.Place, error) {
	if r.fail != nil {
		if err := r.fail(e); err != nil {
			return store.Place{}, err
		}
	}
	r.events = append(r.events, e)
	return store.Place{Epoch: "e", Seq: int64(len(r.events))}, nil
}

// drain publishes what waits and returns it.
func (h *hall) drain(t testing.TB) []store.Event {
	t.Helper()
	var r recorder
	if err := outbox.New(h.db, &r, slog.New(slog.DiscardHandler)).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.events
}

// payload reads one field of an event's payload.
func payload[T any](t testing.TB, e store.Event) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.Payload), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func refused(t testing.TB, err error, kind fault.Kind, text string) {
	t.Helper()
	f, ok := fault.Of(err)
	if !ok || f.Kind != kind || f.Text != text {
		t.Errorf("got %v, want %d %s", err, kind, text)
	}
}
