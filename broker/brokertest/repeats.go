package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

func testNotDurable(t *testing.T, b *bench) {
	if _, err := broker.Publish(context.Background(), b, text("a", "1"), kept(1)); !errors.Is(err, broker.ErrNotDurable) {
		t.Errorf("%v", err)
	}
}

func testHistoryBytes(t *testing.T, b *bench) {
	o := kept(100_000)
	o.HistoryBytes = 1 << 20
	const n, size = 3000, 1000
	for i := range n {
		m := text("a", fmt.Sprint(i))
		m.Payload = make([]byte, size)
		b.publish(m, o)
	}
	// Engines may be late and count in their own way, but not by much.
	b.eventually("the history takes its bytes", func() bool {
		held := 0
		for p, more := (broker.Page{}), true; more; more = p.More {
			var before uint64
			if len(p.Messages) > 0 {
				before = p.Messages[0].Seq
			}
			p = b.history("a", broker.Query{Before: before, Limit: 100, Newest: true})
			for _, m := range p.Messages {
				held += len(m.Payload)
			}
		}
		return held > 1<<19 && held < 2<<20
	})
	if p := b.history("a", broker.Query{}); p.Position.Seq < n {
		t.Errorf("position %+v after %d messages", p.Position, n)
	}
}

func testKeysBound(t *testing.T, b *bench) {
	o := kept(100)
	o.Keys = 10
	keyed := func(i int) *message.Message {
		m := text("a", fmt.Sprint(i))
		m.Key = fmt.Sprint(i)
		return m
	}
	for i := range 100 {
		b.publish(keyed(i), o)
	}
	for _, i := range []int{99, 95, 91} {
		if r := b.publish(keyed(i), o); !r.Duplicate {
			t.Errorf("key %d of the newest ten is forgotten", i)
		}
	}
	if r := b.publish(keyed(50), o); r.Duplicate {
		t.Error("a key is remembered beyond the number")
	}
}

// testRepeatedAtOnce publishes a message and its repeats without waiting: each is
// answered with the same position, the first before the others.
func testRepeatedAtOnce(t *testing.T, b *bench) {
	const rounds, repeats = 100, 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := make([][]broker.Result, rounds)
	for i := range rounds {
		for range repeats {
			wg.Add(1)
			m := text("a", fmt.Sprint(i+1))
			m.Key = fmt.Sprint(i)
			b.Publish(m, kept(rounds), func(r broker.Result, err error) {
				defer wg.Done()
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[i] = append(answers[i], r)
			})
		}
	}
	wg.Wait()
	for i, a := range answers {
		for j, r := range a {
			if r.Position != a[0].Position || r.Duplicate != (j > 0) {
				t.Fatalf("message %d: answer %d is %+v, the first %+v", i, j, r, a[0])
			}
		}
	}
	b.want("each is kept once", b.history("a", broker.Query{Limit: rounds + 1}), numbers(1, rounds), false, false)
}

func numbered(name, producer string, epoch, n uint64) *message.Message {
	m := text(name, fmt.Sprint(n))
	m.Producer, m.ProducerEpoch, m.N = producer, epoch, n
	return m
}

// refused checks that a number is refused because another is missing.
func (b *bench) refused(m *message.Message, next uint64) {
	b.tb.Helper()
	_, err := broker.Publish(context.Background(), b, m, kept(100))
	if missing := (*broker.SequenceError)(nil); !errors.As(err, &missing) || missing.Next != next {
		b.tb.Errorf("number %d: %v, want %d to be asked for", m.N, err, next)
	}
}

func testProducers(t *testing.T, b *bench) {
	b.refused(numbered("a", "ada\x00p", 1, 2), 1)
	first := b.publish(numbered("a", "ada\x00p", 1, 1), kept(100))
	b.publish(numbered("a", "ada\x00p", 1, 2), kept(100))
	b.refused(numbered("a", "ada\x00p", 1, 4), 3)
	third := b.publish(numbered("a", "ada\x00p", 1, 3), kept(100))
	for n, want := range map[uint64]broker.Result{1: first, 3: third} {
		r := b.publish(numbered("a", "ada\x00p", 1, n), kept(100))
		if !r.Duplicate || r.Position.Seq != 0 && r.Position != want.Position {
			t.Errorf("number %d again: %+v, at first %+v", n, r, want)
		}
	}
	for _, m := range []*message.Message{numbered("a", "ben\x00p", 1, 1), numbered("b", "ada\x00p", 1, 1)} {
		if r := b.publish(m, kept(100)); r.Duplicate {
			t.Errorf("%q on %s is taken for a repetition", m.Producer, m.Topic)
		}
	}
	if n := len(b.delivered("a", 4)); n != 4 {
		t.Errorf("%d delivered", n)
	}
}

func testFencing(t *testing.T, b *bench) {
	b.publish(numbered("a", "p", 1, 1), kept(100))
	b.publish(numbered("a", "p", 3, 2), kept(100)) // a newer connection goes on
	if _, err := broker.Publish(context.Background(), b, numbered("a", "p", 2, 3), kept(100)); !errors.Is(err, broker.ErrFenced) {
		t.Errorf("an older connection: %v", err)
	}
	if r := b.publish(numbered("a", "p", 3, 1), kept(100)); !r.Duplicate {
		t.Errorf("what the older connection sent: %+v", r)
	}
	if r := b.publish(numbered("a", "p", 4, 2), kept(100)); !r.Duplicate { // a repeat announces it as well
		t.Errorf("what the older connection sent: %+v", r)
	}
	if _, err := broker.Publish(context.Background(), b, numbered("a", "p", 3, 3), kept(100)); !errors.Is(err, broker.ErrFenced) {
		t.Errorf("an older connection: %v", err)
	}
	b.publish(numbered("a", "p", 4, 3), kept(100))
}

// testProducerPipelined sends without waiting, everything twice.
func testProducerPipelined(t *testing.T, b *bench) {
	const n = 500
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range n {
		for range 2 {
			wg.Add(1)
			b.Publish(numbered("a", "p", 1, uint64(i+1)), kept(n), func(r broker.Result, err error) {
				defer wg.Done()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if !r.Duplicate {
					fresh++
				}
			})
		}
	}
	wg.Wait()
	b.want("each is kept once", b.history("a", broker.Query{Limit: n + 1}), numbers(1, n), false, false)
	if fresh != n {
		t.Errorf("%d were told to be new", fresh)
	}
}

// testNumberAndKey repeats a message by its key under a new number: the number
// is used all the same.
func testNumberAndKey(t *testing.T, b *bench) {
	m := numbered("a", "p", 1, 1)
	m.Key = "k"
	first := b.publish(m, kept(100))
	again := numbered("a", "p", 1, 2)
	again.Key = "k"
	if r := b.publish(again, kept(100)); !r.Duplicate || r.Position != first.Position {
		t.Errorf("%+v, at first %+v", r, first)
	}
	if r := b.publish(numbered("a", "p", 1, 3), kept(100)); r.Duplicate {
		t.Errorf("the next: %+v", r)
	}
}
