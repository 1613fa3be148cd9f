package pebblestore

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func shut(tb testing.TB, db *DB) {
	tb.Helper()
	if err := db.Close(tb.Context()); err != nil && tb.Context().Err() == nil {
		tb.Error(err)
	}
}

// publish appends one message and waits for the disk.
func publish(l store.Log, sync bool, entries ...store.Entry) error {
	done := make(chan error, 1)
	l.Append(entries, sync, func(err error) { done <- err })
	return <-done
}

func entry(name string, seq uint64, payload string) store.Entry {
	return store.Entry{Message: &message.Message{
		ID: "01", Topic: name, Type: "t", From: "ada", Epoch: "e", Seq: seq, Prev: seq - 1, Mark: seq, Time: int64(seq), Payload: []byte(payload),
	}}
}

func head(tb testing.TB, l store.Log, name string) store.Head {
	tb.Helper()
	h, err := l.Topics(tb.Context(), topic.Filter(name), store.TopicQuery{})
	if err != nil || len(h) != 1 {
		tb.Fatalf("topics %s: %v, %v", name, h, err)
	}
	return h[0]
}

func TestADatabaseIsFoundAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for round := range uint64(3) {
		db, err := Open(dir, Options{Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if err := publish(db.Log(), true, entry("a", round+1, "x")); err != nil {
			t.Fatal(err)
		}
		if h := head(t, db.Log(), "a"); h.Last != round+1 || h.Epoch != "e" {
			t.Errorf("%+v", h)
		}
		if other, err := Open(dir, Options{Log: quiet()}); err == nil {
			t.Error("opened twice at once")
			shut(t, other)
		}
		for range 2 {
			shut(t, db)
		}
		if err := publish(db.Log(), true, entry("a", 9, "x")); !errors.Is(err, store.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}
