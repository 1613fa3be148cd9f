package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// want checks a page.
func (b *bench) want(what string, p broker.Page, messages []string, more, gap bool) {
	b.tb.Helper()
	if got := payloads(p.Messages); !slices.Equal(got, messages) || p.More != more || p.Gap != gap {
		b.tb.Errorf("%s: %q, more %v, gap %v; want %q, %v, %v", what, got, p.More, p.Gap, messages, more, gap)
	}
}

func testHistoryForward(t *testing.T, b *bench) {
	at := b.fill("a", 10, kept(100))
	b.want("all", b.history("a", broker.Query{Limit: 100}), numbers(1, 10), false, false)
	b.want("exactly all", b.history("a", broker.Query{Limit: 10}), numbers(1, 10), false, false)
	b.want("the oldest", b.history("a", broker.Query{Limit: 3}), numbers(1, 3), true, false)
	b.want("behind a position", b.history("a", broker.Query{Epoch: at[3].Epoch, After: at[3].Seq, Limit: 100}), numbers(5, 10), false, false)
	b.want("a page behind a position", b.history("a", broker.Query{After: at[3].Seq, Limit: 2}), numbers(5, 6), true, false)
	b.want("behind the newest", b.history("a", broker.Query{After: at[9].Seq, Limit: 2}), nil, false, false)
	b.want("between", b.history("a", broker.Query{After: at[1].Seq, Before: at[5].Seq, Limit: 100}), numbers(3, 5), false, false)
	p := b.history("a", broker.Query{})
	if len(p.Messages) != 0 || p.Position != at[9] {
		t.Errorf("the position alone: %+v", p)
	}
	var read []string
	for after := uint64(0); ; {
		p := b.history("a", broker.Query{After: after, Limit: 3})
		read = append(read, payloads(p.Messages)...)
		if !p.More {
			break
		}
		after = p.Messages[len(p.Messages)-1].Seq
	}
	if !slices.Equal(read, numbers(1, 10)) {
		t.Errorf("page by page: %q", read)
	}
}

func testHistoryBackward(t *testing.T, b *bench) {
	at := b.fill("a", 10, kept(100))
	b.want("the newest", b.history("a", broker.Query{Limit: 3, Newest: true}), numbers(8, 10), true, false)
	b.want("before a position", b.history("a", broker.Query{Before: at[7].Seq, Limit: 3, Newest: true}), numbers(5, 7), true, false)
	b.want("the last page", b.history("a", broker.Query{Before: at[2].Seq, Limit: 3, Newest: true}), numbers(1, 2), false, false)
	b.want("before the oldest", b.history("a", broker.Query{Before: at[0].Seq, Limit: 3, Newest: true}), nil, false, false)
	var read []string
	for before := uint64(0); ; {
		p := b.history("a", broker.Query{Before: before, Limit: 3, Newest: true})
		read = append(payloads(p.Messages), read...)
		if !p.More {
			break
		}
		before = p.Messages[0].Seq
	}
	if !slices.Equal(read, numbers(1, 10)) {
		t.Errorf("page by page: %q", read)
	}
	few := b.fill("b", 10, kept(4))
	backward := broker.Query{Epoch: few[9].Epoch, Before: few[9].Seq, Limit: 2, Newest: true}
	b.want("older ones than are kept were not asked for", b.history("b", backward), numbers(8, 9), true, false)
	b.want("before a position of another history", b.history("a", broker.Query{Epoch: "another", Before: at[7].Seq, Limit: 3, Newest: true}), nil, false, true)
}

func testHistoryBounds(t *testing.T, b *bench) {
	b.fill("a", 25, kept(10))
	b.want("no more than History", b.history("a", broker.Query{Limit: 100}), numbers(16, 25), false, false)
	b.publish(text("a", "26"), kept(3))
	b.want("no more than the newest message's History", b.history("a", broker.Query{Limit: 100}), numbers(24, 26), false, false)
	if n := len(b.delivered("a", 26)); n != 26 {
		t.Errorf("%d delivered", n)
	}
}

func testHistoryAge(t *testing.T, b *bench) {
	o := kept(10)
	o.HistoryAge = time.Minute
	old := text("a", "1")
	old.Time = time.Now().Add(-2 * time.Minute).UnixMilli()
	first := b.publish(old, o).Position
	second := b.publish(text("a", "2"), o).Position
	b.want("younger than HistoryAge", b.history("a", broker.Query{Limit: 100}), numbers(2, 2), false, false)
	b.want("behind the aged one", b.history("a", broker.Query{After: first.Seq, Limit: 100}), numbers(2, 2), false, false)
	if p := b.history("a", broker.Query{}); p.Position != second {
		t.Errorf("position %+v, want %+v", p.Position, second)
	}
}

func testNoHistory(t *testing.T, b *bench) {
	at := b.fill("a", 3, kept(0))
	b.chained(b.delivered("a", 3), 0)
	b.want("nothing is kept", b.history("a", broker.Query{Limit: 10}), nil, false, false)
	b.want("what came after a position is lost", b.history("a", broker.Query{After: at[1].Seq, Limit: 10}), nil, false, true)
	b.want("nothing came after the newest", b.history("a", broker.Query{After: at[2].Seq, Limit: 10}), nil, false, false)
	if p := b.history("a", broker.Query{}); p.Position != at[2] {
		t.Errorf("position %+v, want %+v", p.Position, at[2])
	}
}

func testGaps(_ *testing.T, b *bench) {
	at := b.fill("a", 10, kept(4)) // 7 to 10 are kept
	epoch := at[0].Epoch
	after := func(i int) uint64 { return at[i-1].Seq }
	b.want("from the oldest kept", b.history("a", broker.Query{Limit: 10}), numbers(7, 10), false, false)
	b.want("from the beginning of this history", b.history("a", broker.Query{Epoch: epoch, Limit: 10}), numbers(7, 10), false, true)
	b.want("behind the first", b.history("a", broker.Query{Epoch: epoch, After: after(1), Limit: 10}), numbers(7, 10), false, true)
	b.want("one is missing", b.history("a", broker.Query{After: after(5), Limit: 10}), numbers(7, 10), false, true)
	b.want("none is missing", b.history("a", broker.Query{Epoch: epoch, After: after(6), Limit: 10}), numbers(7, 10), false, false)
	b.want("another history", b.history("a", broker.Query{Epoch: "another", After: after(8), Limit: 10}), numbers(7, 10), false, true)
	b.want("behind the future", b.history("a", broker.Query{Epoch: epoch, After: after(10) + 5, Limit: 10}), nil, false, true)
}

func testUnknownTopic(t *testing.T, b *bench) {
	p := b.history("never/used", broker.Query{Limit: 10})
	b.want("from the oldest kept", p, nil, false, false)
	if p.Position.Seq != 0 || p.Position.Epoch == "" {
		t.Errorf("position %+v", p.Position)
	}
	b.want("at its position", b.history("never/used", broker.Query{Epoch: p.Position.Epoch, Limit: 10}), nil, false, false)
	b.want("behind a position it never had", b.history("never/used", broker.Query{After: 7, Limit: 10}), nil, false, true)
	first := b.publish(text("never/used", "1"), kept(10))
	b.want("after its first message", b.history("never/used", broker.Query{Epoch: p.Position.Epoch, Limit: 10}), numbers(1, 1), false, false)
	if first.Position.Seq == 0 {
		t.Errorf("first position %+v", first.Position)
	}
}

func testKeys(t *testing.T, b *bench) {
	keyed := func(name, from, key, payload string) *message.Message {
		m := text(name, payload)
		m.From, m.Key = from, key
		return m
	}
	first := b.publish(keyed("a", "ada", "k", "1"), kept(10))
	b.publish(text("a", "2"), kept(10))
	again := b.publish(keyed("a", "ada", "k", "not this"), kept(10))
	if first.Duplicate || !again.Duplicate || again.Position != first.Position {
		t.Errorf("first %+v, repeated %+v", first, again)
	}
	for _, m := range []*message.Message{keyed("a", "ben", "k", "3"), keyed("a", "ada", "K", "4"), keyed("a", "", "k", "5"), keyed("b", "ada", "k", "1")} {
		if r := b.publish(m, kept(10)); r.Duplicate {
			t.Errorf("%s by %q under %q is taken for a repetition", m.Topic, m.From, m.Key)
		}
	}
	b.want("each is stored once", b.history("a", broker.Query{Limit: 10}), numbers(1, 5), false, false)
	if n := len(b.delivered("a", 5)); n != 5 {
		t.Errorf("%d delivered", n)
	}
	short := kept(10)
	short.KeyWindow = 20 * time.Millisecond
	b.publish(keyed("c", "ada", "k", "1"), short)
	over := time.NewTimer(60 * time.Millisecond)
	defer over.Stop()
	<-over.C
	if r := b.publish(keyed("c", "ada", "k", "2"), short); r.Duplicate {
		t.Error("a key outlives its window")
	}
}

func testKeyRace(t *testing.T, b *bench) {
	const publishers, keys = 8, 50
	var mu sync.Mutex
	positions := make(map[string]map[message.Position]bool)
	fresh := 0
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for k := range keys {
				m := text("a", fmt.Sprint(k))
				m.Key = fmt.Sprint(k)
				r := b.publish(m, kept(keys))
				mu.Lock()
				if !r.Duplicate {
					fresh++
				}
				if positions[m.Key] == nil {
					positions[m.Key] = make(map[message.Position]bool)
				}
				positions[m.Key][r.Position] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := b.delivered("a", keys); len(got) != keys || fresh != keys {
		t.Errorf("%d delivered, %d told to be new, want %d", len(got), fresh, keys)
	}
	for k, p := range positions {
		if len(p) != 1 {
			t.Errorf("key %s has the positions %v", k, p)
		}
	}
}

func testRetained(t *testing.T, b *bench) {
	put := func(name, payload string, retain bool) {
		t.Helper()
		m := text(name, payload)
		m.Retain = retain
		b.publish(m, kept(0))
	}
	want := func(filter string, values ...string) {
		t.Helper()
		last, err := b.Retained(context.Background(), topic.Filter(filter))
		got := payloads(last)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, values) {
			t.Errorf("last values of %s: %q, %v; want %q", filter, got, err, values)
		}
	}
	want("#")
	put("a/1", "one", true)
	put("a/2", "two", true)
	put("b/1", "three", true)
	put("a/1", "passing", false)
	want("a/1", "one")
	want("a/+", "one", "two")
	want("#", "one", "three", "two")
	want("a/3")
	put("a/1", "four", true)
	want("a/1", "four")
	put("a/1", "", true) // an empty one clears
	want("a/1")
	want("a/+", "two")
	put("$own/1", "hidden", true)
	want("#", "three", "two")
	want("$own/#", "hidden")
	brief := text("c", "brief")
	brief.Retain, brief.ExpiresAt = true, time.Now().Add(-time.Second).UnixMilli()
	b.publish(brief, kept(0))
	want("c")
	last, err := b.Retained(context.Background(), "b/1")
	if err != nil || len(last) != 1 || last[0].Seq == 0 || last[0].Epoch == "" {
		t.Errorf("a last value without a position: %+v, %v", last, err)
	}
}

func testExpiry(_ *testing.T, b *bench) {
	b.publish(text("a", "1"), kept(10))
	gone := text("a", "gone")
	gone.ExpiresAt = time.Now().Add(-time.Second).UnixMilli()
	at := b.publish(gone, kept(10)).Position
	later := text("a", "2")
	later.ExpiresAt = time.Now().Add(time.Hour).UnixMilli()
	b.publish(later, kept(10))
	b.want("all", b.history("a", broker.Query{Limit: 10}), numbers(1, 2), false, false)
	b.want("exactly those that are left", b.history("a", broker.Query{Limit: 2}), numbers(1, 2), false, false)
	b.want("behind the expired one", b.history("a", broker.Query{After: at.Seq, Limit: 10}), numbers(2, 2), false, false)
}

func testEphemeral(t *testing.T, b *bench) {
	passing := kept(10)
	passing.Ephemeral = true
	b.publish(text("a", "1"), kept(10))
	m := text("a", "typing")
	m.Key, m.Retain = "k", true
	if r := b.publish(m, passing); r.Position.Seq != 0 || r.Duplicate {
		t.Errorf("an ephemeral message has the answer %+v", r)
	}
	b.publish(text("a", "2"), kept(10))
	got := b.delivered("a", 3)
	if !slices.Equal(payloads(got), []string{"1", "typing", "2"}) {
		t.Fatalf("delivered %q", payloads(got))
	}
	if got[1].Seq != 0 || got[1].Prev != 0 {
		t.Errorf("an ephemeral message has the position %d after %d", got[1].Seq, got[1].Prev)
	}
	b.chained([]*message.Message{got[0], got[2]}, 0)
	b.want("kept", b.history("a", broker.Query{Limit: 10}), numbers(1, 2), false, false)
	if last, err := b.Retained(context.Background(), "a"); err != nil || len(last) != 0 {
		t.Errorf("an ephemeral message became the last value: %v, %v", last, err)
	}
	repeated := text("a", "typing")
	repeated.Key = "k"
	b.publish(repeated, passing)
	b.delivered("a", 4)
}
