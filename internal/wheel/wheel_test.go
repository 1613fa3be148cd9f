package wheel_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/wheel"
)

func TestFiresWithinATickAndNeverEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step = 100 * time.Millisecond
		w := wheel.New(step)
		ctx, stop := context.WithCancel(t.Context())
		go w.Run(ctx)
		start, fired := time.Now(), 0
		timers := make([]wheel.Timer, 1000)
		for i := range timers {
			d := time.Duration(rand.Int64N(int64(3 * time.Minute))) // several turns of the wheel
			w.Set(&timers[i], d, func(time.Time) {
				fired++
				if late := time.Since(start) - d; late < 0 || late > 2*step {
					t.Errorf("timer of %v fired %v late", d, late)
				}
			})
		}
		<-time.After(4 * time.Minute)
		stop()
		synctest.Wait()
		if fired != len(timers) {
			t.Errorf("%d of %d fired", fired, len(timers))
		}
	})
}

func TestStopAndMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wheel.New(time.Second)
		ctx, stop := context.WithCancel(t.Context())
		go w.Run(ctx)
		var a, b, c wheel.Timer
		var got []string
		note := func(s string) func(time.Time) { return func(time.Time) { got = append(got, s) } }
		w.Set(&a, 2*time.Second, note("a"))
		w.Set(&b, 2*time.Second, note("b, first"))
		w.Set(&b, 5*time.Second, note("b"))
		w.Stop(&a)
		w.Stop(&a)
		w.Set(&c, time.Second, func(time.Time) { w.Set(&c, time.Second, note("c again")) })
		<-time.After(10 * time.Second)
		stop()
		synctest.Wait()
		if len(got) != 2 || got[0] != "c again" || got[1] != "b" {
			t.Errorf("got %q", got)
		}
	})
}
