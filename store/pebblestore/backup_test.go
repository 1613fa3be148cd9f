package pebblestore

import (
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// A backup made while two write holds everything acknowledged before it, and
// nothing out of order; in new epochs everybody goes on where they were.
func TestBackupWhileWriting(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "store"), Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, db)
	retained := entry("a", 1, "kept")
	retained.Retain = true
	if err := publish(db.Log(), true, retained); err != nil {
		t.Fatal(err)
	}
	session := &store.Session{ID: "s1", User: "ada", Seen: time.UnixMilli(5), Subscriptions: []store.Subscription{
		{Filter: "a", QoS: 1, Acked: map[string]message.Position{"a": {Epoch: "e", Seq: 1}}},
		{Filter: "b", QoS: 1, Acked: map[string]message.Position{"b": {Epoch: "old", Seq: 1}}},
	}}
	db.Sessions().Save(session, nil)
	db.Receipts().Advance([]store.Receipt{{Topic: "a", User: "ada", Epoch: "e", Read: 1}})
	db.Groups().SaveGroup(&store.Group{Name: "g", Topic: "a", Done: message.Position{Epoch: "e", Seq: 1}}, nil)
	number, err := db.Producers().NextEpoch(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}

	var running sync.WaitGroup
	stop, begun := make(chan struct{}), make(chan struct{})
	running.Go(func() {
		for seq := uint64(2); ; seq++ {
			if err := publish(db.Log(), true, entry("a", seq, "x")); err != nil {
				t.Error(err)
			}
			db.Sessions().Note("s1", "n", strconv.AppendUint(nil, seq, 10), nil)
			if seq == 100 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	<-begun
	before := head(t, db.Log(), "a").Last
	dir := filepath.Join(t.TempDir(), "backup")
	if err := db.Backup(dir); err != nil {
		t.Fatal(err)
	}
	close(stop)
	running.Wait()

	copied, err := Open(dir, Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := copied.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	shut(t, copied)
	if copied, err = Open(dir, Options{Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	defer shut(t, copied)
	h := head(t, copied.Log(), "a")
	r, err := copied.Log().Read(t.Context(), "a", store.Range{})
	if err != nil || h.Last < before || h.Epoch == "e" || h.Epoch == "" || uint64(len(r.Messages)) != h.Last || r.Damaged {
		t.Fatalf("%+v of at least %d, %d read, %v", h, before, len(r.Messages), err)
	}
	renewed(t, copied, h.Epoch)
	if n, err := copied.Producers().NextEpoch(t.Context(), "p"); err != nil || n <= number {
		t.Errorf("%d after %d: %v", n, number, err)
	}
}

func renewed(t *testing.T, db *DB, epoch string) {
	t.Helper()
	s, err := db.Sessions().Load(t.Context(), "s1")
	if err != nil || s.Subscriptions[0].Acked["a"] != (message.Position{Epoch: epoch, Seq: 1}) || s.Subscriptions[1].Acked["b"].Epoch != "old" {
		t.Errorf("%+v, %v", s, err)
	}
	if r, err := db.Receipts().Receipt(t.Context(), "a", "ada"); err != nil || r.Epoch != epoch {
		t.Errorf("%+v, %v", r, err)
	}
	if g, err := db.Groups().Groups(t.Context(), "g"); err != nil || len(g) != 1 || g[0].Done.Epoch != epoch {
		t.Errorf("%+v, %v", g, err)
	}
	if m, err := db.Log().Retained(t.Context(), "a"); err != nil || len(m) != 1 || m[0].Epoch != epoch || string(m[0].Payload) != "kept" {
		t.Errorf("%+v, %v", m, err)
	}
}
