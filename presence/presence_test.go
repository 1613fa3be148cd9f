package presence_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(s string) { e.mu.Lock(); e.all = append(e.all, s); e.mu.Unlock() }

func (e *events) Joined(topic, user string) { e.add("+" + topic + " " + user) }
func (e *events) Left(topic, user string)   { e.add("-" + topic + " " + user) }

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.all
	e.all = nil
	return out
}

func run(t *testing.T, f func(tr *presence.Tracker, e *events)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := &events{}
		tr := presence.New(5*time.Second, e)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { tr.Run(ctx); close(done) }()
		f(tr, e)
		stop()
		<-done
	})
}

func want(t *testing.T, e *events, events ...string) {
	t.Helper()
	synctest.Wait()
	if got := e.take(); !slices.Equal(got, events) {
		t.Errorf("got %q, want %q", got, events)
	}
}

func wait(d time.Duration) { <-time.After(d) }

func TestOnePersonOverManyDevices(t *testing.T) {
	run(t, func(tr *presence.Tracker, e *events) {
		tr.Join("a", "u1", "Ada")
		tr.Join("a", "u1", "")
		want(t, e, "+a u1")
		if m := tr.Members("a"); len(m) != 1 || m[0].Devices != 2 || m[0].Name != "Ada" {
			t.Errorf("members %+v", m)
		}
		tr.Leave("a", "u1")
		wait(10 * time.Second)
		want(t, e)
		tr.Leave("a", "u1")
		wait(6 * time.Second)
		want(t, e, "-a u1")
		if at, ok := tr.LastSeen("u1"); !ok || time.Since(at) != 6*time.Second {
			t.Errorf("last seen %v ago, %v", time.Since(at), ok)
		}
		if tr.Topics() != 0 {
			t.Error("an empty topic is kept")
		}
		tr.Leave("a", "u1") // once more than joined: nothing
		want(t, e)
	})
}

func TestAReloadIsNotSeen(t *testing.T) {
	run(t, func(tr *presence.Tracker, e *events) {
		tr.Join("a", "u1", "")
		for range 5 {
			tr.Leave("a", "u1")
			wait(4 * time.Second)
			tr.Join("a", "u1", "")
			wait(4 * time.Second)
		}
		want(t, e, "+a u1")
	})
}

func TestGraceBeginsAnewWithEveryDeparture(t *testing.T) {
	run(t, func(tr *presence.Tracker, e *events) {
		tr.Join("a", "u1", "")
		tr.Leave("a", "u1")
		wait(4 * time.Second)
		tr.Join("a", "u1", "")
		tr.Leave("a", "u1")
		wait(4 * time.Second)
		want(t, e, "+a u1")
		wait(2 * time.Second)
		want(t, e, "-a u1")
	})
}

func TestManyLeaveAtOnce(t *testing.T) {
	run(t, func(tr *presence.Tracker, e *events) {
		for i := range 100 {
			tr.Join("a", fmt.Sprint("u", i), "")
		}
		synctest.Wait()
		e.take()
		for i := range 100 {
			tr.Leave("a", fmt.Sprint("u", i))
			wait(10 * time.Millisecond)
		}
		wait(5 * time.Second)
		synctest.Wait()
		if n := len(e.take()); n != 100 {
			t.Errorf("%d left, want 100", n)
		}
	})
}
