package order_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/session/order"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spawn(f func()) { go f() }

// Whatever is done first, steps run in their order, once, with what they were
// given, and none before it is done.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			var q order.Queue
			var mu sync.Mutex
			var ran []int
			var done []func(error)
			ready := make(map[int]bool)
			n := 0
			t.Repeat(map[string]func(*rapid.T){
				"add": func(*rapid.T) {
					i := n
					n++
					done = append(done, q.Add(spawn, func(err error) {
						mu.Lock()
						defer mu.Unlock()
						if ran = append(ran, i); (err != nil) != (i%3 == 0) {
							t.Fatalf("step %d got %v", i, err)
						}
					}))
				},
				"done": func(t *rapid.T) {
					i := rapid.IntRange(0, 20).Draw(t, "step")
					if i >= n || ready[i] {
						t.Skip("there is none")
					}
					ready[i] = true
					if i%3 == 0 {
						done[i](errors.New("no"))
					} else {
						done[i](nil)
					}
				},
				"": func(t *rapid.T) {
					synctest.Wait()
					want := 0
					for ready[want] {
						want++
					}
					mu.Lock()
					defer mu.Unlock()
					if len(ran) != want || !slices.IsSorted(ran) || q.Len() != n-want {
						t.Fatalf("%v ran, %d of %d were ready in a row, %d wait", ran, want, n, q.Len())
					}
				},
			})
		})
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q order.Queue
		q.Wait(t.Context()) // nothing to wait for
		began := time.Now()
		first := q.Add(spawn, func(error) { <-time.NewTimer(time.Second).C })
		second := q.Add(spawn, func(error) {})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		q.Wait(ctx)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("gave up after %v", took)
		}
		second(nil)
		first(nil)
		q.Wait(t.Context())
		if took := time.Since(began); took != time.Minute+time.Second || q.Len() != 0 {
			t.Errorf("waited until %v, %d steps are left", took, q.Len())
		}
	})
}
