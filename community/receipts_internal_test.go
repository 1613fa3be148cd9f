package community

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
)

// Many receipts cost one transaction, nothing but conversations is kept, a database that is away gets
// the latest when it is back, and what is left at the end is kept, too.
func TestReceiptsAreKeptTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept [][]talk.Receipt
		away := errors.New("away")
		var fail error
		r := newReceipts(func(_ context.Context, rs []talk.Receipt) error {
			if fail != nil {
				return fail
			}
			slices.SortFunc(rs, func(a, b talk.Receipt) int { return strings.Compare(a.Handle, b.Handle) })
			kept = append(kept, rs)
			return nil
		}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		go r.run(ctx)
		note := func(user, topic string, delivered, read uint64) {
			r.note(parley.Receipt{User: user, Topic: topic, Epoch: "e", Delivered: delivered, Read: read})
		}
		wait := func() {
			<-time.After(6 * pause)
			synctest.Wait()
		}
		want := func(what string, batches ...[]talk.Receipt) {
			t.Helper()
			if !slices.EqualFunc(kept, batches, slices.Equal) {
				t.Fatalf("%s: kept %+v, want %+v", what, kept, batches)
			}
			kept = nil
		}
		got := func(user string, delivered, read int64) talk.Receipt {
			return talk.Receipt{Handle: user, Conversation: "x", Delivered: store.Place{Epoch: "e", Seq: delivered}, Read: store.Place{Epoch: "e", Seq: read}}
		}
		note("ann", "public/x", 1, 0)
		wait()
		want("another topic")
		note("ann", "community/c/x", 1, 0)
		note("ben", "community/c/x", 1, 1)
		note("ann", "community/c/x", 2, 1)
		wait()
		want("together", []talk.Receipt{got("ann", 2, 1), got("ben", 1, 1)})
		fail = away
		note("ann", "community/c/x", 3, 1)
		wait()
		fail = nil
		note("ann", "community/c/x", 4, 4)
		wait()
		want("away", []talk.Receipt{got("ann", 4, 4)})
		note("ben", "community/c/x", 5, 5)
		stop()
		synctest.Wait()
		want("at the end", []talk.Receipt{got("ben", 5, 5)})
		note("ben", "community/c/x", 6, 6) // nobody waits for what has ended
	})
}
