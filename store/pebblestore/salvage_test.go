package pebblestore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/store"
)

// What a flipped bit in a table took is named by its numbers; all the rest is in
// the new database.
func TestSalvage(t *testing.T) {
	dir := filled(t)
	edit(t, file(t, dir, "*.sst"), flip(func(n int) int { return n / 2 }))
	db, err := Open(dir, Options{Log: quiet(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, db)
	to := filepath.Join(t.TempDir(), "saved")
	report, err := db.Salvage(t.Context(), to, Options{Log: quiet()})
	if err != nil || len(report.Damage) != 1 || !strings.HasPrefix(report.Damage[0], "topic a, epoch e: messages ") ||
		report.Topics != 1 || report.Messages < 3400 || report.Messages > 3499 {
		t.Fatalf("%+v, %v", report, err)
	}
	saved, err := Open(to, Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, saved)
	r, err := saved.Log().Read(t.Context(), "a", store.Range{})
	if err != nil || !r.Damaged || len(r.Messages) != report.Messages {
		t.Errorf("%d messages, damaged %v, %v", len(r.Messages), r.Damaged, err)
	}
	if h := head(t, saved.Log(), "a"); h.Epoch == "e" {
		t.Errorf("%+v", h)
	}
	again, err := saved.Inspect(t.Context(), nil)
	if err != nil || len(again.Damage) != 1 || again.Messages != report.Messages {
		t.Errorf("%+v, %v", again, err)
	}
}

// Nothing is wrong with a database in use.
func TestInspectSound(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "store"), Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, db)
	for seq := uint64(1); seq <= 9; seq++ {
		e := entry("a", seq, "x")
		e.Message.Key, e.KeyUntil, e.Message.Producer, e.Retain = "k", 9, "p", true
		if err := publish(db.Log(), true, e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Log().Trim(t.Context(), "a", store.Trim{Count: 4}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Log().Reserve(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	db.Sessions().Save(&store.Session{ID: "s1", User: "ada", Seen: time.UnixMilli(5)}, nil)
	db.Sessions().Acked([]store.Ack{{Session: "gone", Filter: "a", Topic: "a"}})
	db.Receipts().Advance([]store.Receipt{{Topic: "a", User: "ada"}})
	db.Groups().SaveGroup(&store.Group{Name: "g", Topic: "a"}, nil)
	report, err := db.Inspect(t.Context(), nil)
	if err != nil || len(report.Damage) != 0 || report.Topics != 1 || report.Messages != 4 || report.Sessions != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}
