package events

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every hook hears of everything in its order, though another panics; what
// there is no room for is dropped and counted, and the end is still told.
func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(slog.New(slog.DiscardHandler))
		q.Emit(Event{User: "nobody listens"})
		var heard []string
		q.Add(func(Event) { panic("an application's mistake") })
		q.Add(func(e Event) { heard = append(heard, e.User) })
		for i := range maxEvents + 3 {
			q.Emit(Event{User: fmt.Sprint(i)})
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		q.Run(ctx)
		if len(heard) != maxEvents || heard[0] != "0" || heard[maxEvents-1] != fmt.Sprint(maxEvents-1) || q.Dropped() != 3 {
			t.Errorf("heard %d, dropped %d", len(heard), q.Dropped())
		}
	})
}
