package localbroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

// handler calls a function for every message.
type handler func(*message.Message)

func (h handler) HandleMessage(m *message.Message) { h(m) }

// run gives f a started engine in a bubble where time is virtual.
func run(t *testing.T, l Limits, f func(b *Broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := New(l)
		if err := b.Start(handler(func(*message.Message) {})); err != nil {
			t.Fatal(err)
		}
		f(b)
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func wait(d time.Duration) { <-time.NewTimer(d).C }

func put(b *Broker, m *message.Message, o broker.Options) (broker.Result, error) {
	m.Time = time.Now().UnixMilli()
	return broker.Publish(context.Background(), b, m, o)
}

// held is everything the engine accounts for.
func held(b *Broker) [3]int64 { return [3]int64{b.topics.Load(), b.bytes.Load(), b.lasts.Load()} }

func TestEverythingEnds(t *testing.T) {
	o := broker.Options{History: 10, HistoryAge: time.Minute, KeyWindow: 2 * time.Minute}
	run(t, Limits{Idle: 5 * time.Minute}, func(b *Broker) {
		for i := range 200 {
			for k := range 20 {
				m := &message.Message{Topic: fmt.Sprint("t/", i), From: "ada", Key: fmt.Sprint(k), Payload: []byte("1"), Retain: k == 0}
				if m.Retain {
					m.ExpiresAt = time.Now().Add(time.Minute).UnixMilli()
				}
				if _, err := put(b, m, o); err != nil {
					t.Fatal(err)
				}
			}
		}
		full := held(b)
		before, err := b.History(t.Context(), "t/1", broker.Query{Limit: 1})
		if err != nil || full[0] != 200 || full[1] == 0 || full[2] == 0 || before.Position.Seq != 20 {
			t.Fatalf("held %v; %+v, %v", full, before, err)
		}
		wait(90 * time.Second) // histories and last values are over, keys are not
		if h := held(b); h[0] != 200 || h[1] != 200*20*sizeOfKey("ada\x0000")-200*10 || h[2] != 0 {
			t.Errorf("after the histories: %v", h)
		}
		wait(time.Minute) // keys are over, positions are not
		if h := held(b); h != [3]int64{200, 0, 0} {
			t.Errorf("after the keys: %v", h)
		}
		if p, err := b.History(t.Context(), "t/1", broker.Query{}); err != nil || p.Position != before.Position {
			t.Errorf("the position did not outlive the history: %+v, %v", p, err)
		}
		wait(5 * time.Minute)
		if h := held(b); h != [3]int64{} {
			t.Errorf("in the end: %v", h)
		}
		r, err := put(b, &message.Message{Topic: "t/1", Payload: []byte("1")}, o)
		if err != nil || r.Position.Seq != 1 || r.Position.Epoch == before.Position.Epoch {
			t.Errorf("a forgotten topic goes on as if nothing had happened: %+v, %v", r, err)
		}
		p, err := b.History(t.Context(), "t/1", broker.Query{Epoch: before.Position.Epoch, After: before.Position.Seq, Limit: 10})
		if err != nil || !p.Gap {
			t.Errorf("a position of the topic's last life: %+v, %v", p, err)
		}
	})
}

func TestATopicInUseIsNotForgotten(t *testing.T) {
	run(t, Limits{Idle: time.Minute}, func(b *Broker) {
		var last uint64
		for range 20 {
			r, err := put(b, &message.Message{Topic: "a"}, broker.Options{})
			if err != nil || r.Position.Seq != last+1 {
				t.Fatalf("%+v, %v after %d", r, err, last)
			}
			last++
			wait(50 * time.Second)
		}
	})
}

func TestTopicsAreLimited(t *testing.T) {
	run(t, Limits{Topics: 3, Idle: time.Minute}, func(b *Broker) {
		for i := range 3 {
			if _, err := put(b, &message.Message{Topic: fmt.Sprint(i)}, broker.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := put(b, &message.Message{Topic: "3"}, broker.Options{}); !errors.Is(err, broker.ErrOverloaded) {
			t.Errorf("one more: %v", err)
		}
		if err := b.Check(t.Context()); !errors.Is(err, broker.ErrOverloaded) {
			t.Errorf("check: %v", err)
		}
		if _, err := put(b, &message.Message{Topic: "1"}, broker.Options{}); err != nil {
			t.Errorf("a known topic: %v", err)
		}
		wait(2 * time.Minute)
		if _, err := put(b, &message.Message{Topic: "3"}, broker.Options{}); err != nil || b.Check(t.Context()) != nil {
			t.Errorf("after the others were forgotten: %v", err)
		}
	})
}

func TestHistoriesAreLimited(t *testing.T) {
	const limit = 1 << 20
	o := broker.Options{History: 1000, HistoryAge: time.Hour, KeyWindow: time.Hour}
	run(t, Limits{Bytes: limit}, func(b *Broker) {
		for i := range 5000 {
			m := &message.Message{Topic: fmt.Sprint("t/", i%7), Key: fmt.Sprint(i), Payload: make([]byte, 1000)}
			if _, err := put(b, m, o); err != nil {
				t.Fatal(err)
			}
			if n := b.bytes.Load(); n > limit+2000 {
				t.Fatalf("%d bytes after %d messages", n, i)
			}
		}
		p, err := b.History(t.Context(), "t/1", broker.Query{Limit: 1000})
		if n := len(p.Messages); err != nil || n < 20 || n > 900 {
			t.Errorf("%d messages are kept, %v", n, err)
		}
	})
}

func TestKeysAreLimited(t *testing.T) {
	run(t, Limits{Keys: 100}, func(b *Broker) {
		for i := range 1000 {
			if _, err := put(b, &message.Message{Topic: "a", Key: fmt.Sprint(i)}, broker.Options{KeyWindow: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		if n, want := b.bytes.Load(), 100*sizeOfKey("\x00999"); n != want {
			t.Errorf("%d bytes for keys, want %d", n, want)
		}
		for _, key := range []string{"999", "900", "0"} { // the last is new again, and pushes another out
			r, err := put(b, &message.Message{Topic: "a", Key: key}, broker.Options{KeyWindow: time.Hour})
			if err != nil || r.Duplicate != (key != "0") {
				t.Errorf("key %s: %+v, %v", key, r, err)
			}
		}
	})
}

func TestLastValuesAreLimited(t *testing.T) {
	run(t, Limits{Retained: 100_000}, func(b *Broker) {
		retain := func(i int, payload string) error {
			_, err := put(b, &message.Message{Topic: fmt.Sprint(i), Payload: []byte(payload), Retain: true}, broker.Options{})
			return err
		}
		n := 0
		for n < 1000 && retain(n, strings.Repeat("x", 1000)) == nil {
			n++
		}
		if n < 50 || n > 100 || b.lasts.Load() > 102_000 {
			t.Errorf("%d last values were taken, %d bytes", n, b.lasts.Load())
		}
		if err := retain(1, "x"); !errors.Is(err, broker.ErrOverloaded) {
			t.Errorf("one more: %v", err)
		}
		if _, err := put(b, &message.Message{Topic: "1", Payload: []byte("x")}, broker.Options{}); err != nil {
			t.Errorf("without retaining: %v", err)
		}
		for i := range n {
			if err := retain(i, ""); err != nil {
				t.Errorf("clearing: %v", err)
			}
		}
		if b.lasts.Load() != 0 || retain(1, "x") != nil {
			t.Errorf("%d bytes are left", b.lasts.Load())
		}
	})
}

// Receivers that take long hold up the publishers of their topic alone, and
// what waits is bounded.
func TestASlowHandlerHoldsPublishersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{})
		release := make(chan struct{})
		seen := 0
		if err := b.Start(handler(func(m *message.Message) {
			if m.Topic == "slow" {
				<-release
				seen++
			}
		})); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		accepted := 0
		const publishers, each = 20, 200
		for range publishers {
			wg.Go(func() {
				for range each {
					if _, err := put(b, &message.Message{Topic: "slow"}, broker.Options{}); err != nil {
						t.Error(err)
					}
					mu.Lock()
					accepted++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if accepted > maxWaiting+1 || accepted < maxWaiting {
			t.Errorf("%d messages were accepted while none was delivered", accepted)
		}
		for range 10 {
			if _, err := put(b, &message.Message{Topic: "quick"}, broker.Options{}); err != nil {
				t.Error(err)
			}
		}
		close(release)
		wg.Wait()
		if err := b.Close(t.Context()); err != nil || seen != publishers*each {
			t.Errorf("%d delivered, %v", seen, err)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	e := New(Limits{})
	if err := e.Start(handler(func(*message.Message) {})); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close(b.Context()) }()
	o := broker.Options{History: 100, HistoryAge: time.Minute}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		done := func(broker.Result, error) {}
		for p.Next() {
			e.Publish(&message.Message{Topic: "a", Payload: []byte(`{"n":1}`)}, o, done)
		}
	})
}
