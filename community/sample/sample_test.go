package sample_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/sample"
	"github.com/parleyhq/parley/community/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlantTwice(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "community.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	accounts := account.New(db, time.Now)
	if _, err := accounts.Create(t.Context(), "admin", "", "long enough", store.Admin); err != nil {
		t.Fatal(err)
	}
	count := func() (rooms, posts, lines int) {
		err := db.Read(t.Context(), func(ctx context.Context, tx store.Tx) error {
			rs, err := tx.Rooms(ctx)
			if err != nil {
				return err
			}
			ps, err := tx.Posts(ctx, store.PostQuery{Limit: 100})
			if err != nil {
				return err
			}
			rooms, posts = len(rs), len(ps)
			for _, c := range append(rs, ps...) {
				lines += int(c.LastSeq)
				if ago := time.Since(time.UnixMilli(c.LastMessageAt)); ago < 0 || ago > 48*time.Hour {
					t.Errorf("%s: last spoken in %s ago", c.Title, ago)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return rooms, posts, lines
	}
	if err := sample.Plant(t.Context(), db, time.Now()); err != nil {
		t.Fatal(err)
	}
	r1, p1, l1 := count()
	if err := sample.Plant(t.Context(), db, time.Now()); err != nil {
		t.Fatalf("planting again: %v", err)
	}
	if r2, p2, l2 := count(); r1 != r2 || p1 != p2 || l1 != l2 || r1 == 0 || p1 == 0 {
		t.Errorf("planted %d rooms, %d posts, %d lines; again %d, %d, %d", r1, p1, l1, r2, p2, l2)
	}
}
