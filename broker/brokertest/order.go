package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

func testOrder(t *testing.T, b *bench) {
	const publishers, each = 8, 200
	results := make([][]broker.Result, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		results[p] = make([]broker.Result, each)
		wg.Go(func() {
			for i := range each {
				results[p][i] = b.publish(text("a", fmt.Sprintf("%d.%d", p, i)), kept(publishers*each))
			}
		})
	}
	wg.Wait()
	got := b.delivered("a", publishers*each)
	b.chained(got, 0)
	next := make([]int, publishers)
	for _, m := range got {
		var p, i int
		if _, err := fmt.Sscanf(string(m.Payload), "%d.%d", &p, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[p] {
			t.Fatalf("publisher %d: message %d came instead of %d", p, i, next[p])
		}
		next[p]++
		if r := results[p][i]; r.Position != m.Position() || r.Duplicate {
			t.Fatalf("publisher %d was told %+v for message %d, which is at %+v", p, r, i, m.Position())
		}
	}
	page := b.history("a", broker.Query{Limit: publishers * each})
	b.chained(page.Messages, 0)
	for i, m := range page.Messages {
		if m.ID != got[i].ID || m.Seq != got[i].Seq {
			t.Fatalf("history has %s at %d where %s was delivered at %d", m.ID, m.Seq, got[i].ID, got[i].Seq)
		}
	}
}

func testTopics(t *testing.T, b *bench) {
	const topics, each = 50, 20
	var wg sync.WaitGroup
	for i := range topics {
		wg.Go(func() { b.fill(fmt.Sprintf("t/%d", i), each, kept(each)) })
	}
	wg.Wait()
	for i := range topics {
		got := b.delivered(fmt.Sprintf("t/%d", i), each)
		b.chained(got, 0)
		if len(got) != each {
			t.Errorf("topic %d: %d messages", i, len(got))
		}
	}
}

// testPipelined publishes without waiting for answers.
func testPipelined(t *testing.T, b *bench) {
	const n = 3000
	positions := make([]message.Position, n)
	var wg sync.WaitGroup
	wg.Add(n)
	for i := range n {
		b.Publish(text("a", fmt.Sprint(i+1)), kept(0), func(r broker.Result, err error) {
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			positions[i] = r.Position
			wg.Done()
		})
	}
	wg.Wait()
	got := b.delivered("a", n)
	b.chained(got, 0)
	for i, m := range got {
		if string(m.Payload) != fmt.Sprint(i+1) || positions[i] != m.Position() {
			t.Fatalf("at place %d came %s with %+v, told was %+v", i, m.Payload, m.Position(), positions[i])
		}
	}
}

func testClose(t *testing.T, b *bench) {
	b.fill("a", 3, kept(3))
	ctx := context.Background()
	for range 2 {
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := broker.Publish(ctx, b, text("a", "late"), kept(3)); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}
	if _, err := b.History(ctx, "a", broker.Query{Limit: 1}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("history after close: %v", err)
	}
	if _, err := b.Retained(ctx, topic.Filter("#")); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("last values after close: %v", err)
	}
	if c, ok := b.Broker.(broker.Checker); ok && c.Check(ctx) == nil {
		t.Error("a closed broker says it works")
	}
}

func testCloseWaits(t *testing.T, b *bench) {
	entered, release, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	b.hook = func(*message.Message) {
		close(entered)
		<-release
	}
	go b.Publish(text("a", "1"), kept(1), func(broker.Result, error) {})
	<-entered
	go func() { closed <- b.Close(context.Background()) }()
	early := time.NewTimer(50 * time.Millisecond)
	defer early.Stop()
	select {
	case err := <-closed:
		t.Errorf("closed during a delivery: %v", err)
	case <-early.C:
	}
	close(release)
	if err := <-closed; err != nil || b.count() != 1 {
		t.Errorf("%d delivered, %v", b.count(), err)
	}
}

// testCloseUnderLoad closes while many publish: everyone is answered once, and
// nothing is delivered afterwards.
func testCloseUnderLoad(t *testing.T, b *bench) {
	const publishers = 8
	var answered, accepted, calls atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				calls.Add(1)
				closed := make(chan bool, 2)
				b.Publish(text(fmt.Sprintf("t/%d", i%3), fmt.Sprintf("%d.%d", p, i)), kept(10), func(_ broker.Result, err error) {
					answered.Add(1)
					if err == nil {
						accepted.Add(1)
					}
					closed <- err != nil
				})
				if <-closed {
					return
				}
			}
		})
	}
	b.delivered("t/0", 100)
	if err := b.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	after := b.count()
	close(stop)
	wg.Wait()
	if n := b.count(); n != after {
		t.Errorf("%d messages were delivered after close", n-after)
	}
	if answered.Load() != calls.Load() {
		t.Errorf("%d publishes, %d answers", calls.Load(), answered.Load())
	}
	if int64(after) > accepted.Load() {
		t.Errorf("%d messages delivered, %d accepted", after, accepted.Load())
	}
}

// testReadersAndPublishers reads histories while they change: each page must be
// in order and without a hole inside.
func testReadersAndPublishers(t *testing.T, b *bench) {
	const publishers, each = 4, 300
	var readers, writers sync.WaitGroup
	done := make(chan struct{})
	for p := range publishers {
		writers.Go(func() {
			for i := range each {
				m := text("a", fmt.Sprintf("%d.%d", p, i))
				m.Retain = i%10 == 0
				b.publish(m, kept(50))
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			var after uint64
			for {
				select {
				case <-done:
					return
				default:
				}
				page := b.history("a", broker.Query{After: after, Limit: 20})
				if len(page.Messages) > 0 {
					if first := page.Messages[0]; !page.Gap && after > 0 && first.Prev != after {
						t.Errorf("no gap was told, but %d follows %d", first.Seq, after)
					}
					b.chained(page.Messages, page.Messages[0].Prev)
					after = page.Messages[len(page.Messages)-1].Seq
				}
				if last, err := b.Retained(context.Background(), "#"); err != nil || len(last) > 1 {
					t.Errorf("%d last values, %v", len(last), err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	b.chained(b.delivered("a", publishers*each), 0)
}
