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

// eventually waits until what is not due at once comes true.
func (b *bench) eventually(what string, f func() bool) {
	b.tb.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !f() {
		select {
		case <-again.C:
		case <-late.C:
			b.tb.Fatalf("it did not come to pass: %s", what)
		}
	}
}

// lister returns the engine's, or skips the test.
func (b *bench) lister() broker.Lister {
	b.tb.Helper()
	l, ok := b.Broker.(broker.Lister)
	if !ok {
		b.tb.Skip("the engine does not list news")
	}
	return l
}

func (b *bench) mark(l broker.Lister) uint64 {
	b.tb.Helper()
	mark, err := l.Mark(context.Background())
	if err != nil {
		b.tb.Fatal(err)
	}
	return mark
}

// passed waits until the mark is not below one.
func (b *bench) passed(l broker.Lister, mark uint64) {
	b.tb.Helper()
	b.eventually(fmt.Sprintf("the mark reaches %d", mark), func() bool { return b.mark(l) >= mark })
}

func testMarks(t *testing.T, b *bench) {
	l := b.lister()
	last := b.mark(l)
	for i := range 20 {
		name := fmt.Sprintf("t/%d", i%3)
		b.publish(text(name, "x"), kept(10))
		m := b.delivered(name, i/3+1)[i/3]
		if m.Mark <= last {
			t.Errorf("message %d has the mark %d, not above %d", i, m.Mark, last)
		}
		b.passed(l, m.Mark)
		last = b.mark(l)
	}
}

// testMarksUnderLoad asks for the mark while messages are delivered: none that
// is delivered afterwards may be at or below it.
func testMarksUnderLoad(t *testing.T, b *bench) {
	l := b.lister()
	var mu sync.Mutex
	var floor uint64
	b.hook = func(m *message.Message) {
		mu.Lock()
		defer mu.Unlock()
		if m.Seq != 0 && m.Mark <= floor {
			t.Errorf("message %d of %s with the mark %d is delivered after the mark was %d", m.Seq, m.Topic, m.Mark, floor)
		}
	}
	stop := make(chan struct{})
	var asking, writing sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				mark := b.mark(l)
				mu.Lock()
				floor = max(floor, mark)
				mu.Unlock()
			}
		}
	})
	const publishers, each = 8, 200
	for p := range publishers {
		writing.Go(func() {
			for i := range each {
				b.publish(text(fmt.Sprintf("t/%d", (p+i)%5), "x"), kept(10))
			}
		})
	}
	writing.Wait()
	close(stop)
	asking.Wait()
	b.passed(l, b.newest())
}

// newest returns the highest mark that was delivered.
func (b *bench) newest() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var mark uint64
	for _, got := range b.got {
		for _, m := range got {
			mark = max(mark, m.Mark)
		}
	}
	return mark
}

// news returns all topics with news, in pages.
func (b *bench) news(l broker.Lister, f string, mark uint64, limit int) []broker.News {
	b.tb.Helper()
	var out []broker.News
	var from topic.Name
	for {
		page, err := l.News(context.Background(), topic.Filter(f), mark, from, limit)
		if err != nil || len(page) > limit {
			b.tb.Fatalf("%d of %d, %v", len(page), limit, err)
		}
		out = append(out, page...)
		if len(page) < limit {
			return out
		}
		from = page[len(page)-1].Topic
	}
}

func (b *bench) wantNews(l broker.Lister, f string, mark uint64, names ...string) {
	b.tb.Helper()
	for _, limit := range []int{1, 2, 100} {
		var got []string
		for _, n := range b.news(l, f, mark, limit) {
			got = append(got, string(n.Topic))
			b.checkNews(n, mark)
		}
		if !slices.Equal(got, names) {
			b.tb.Errorf("news of %s after %d, by %d: %q, want %q", f, mark, limit, got, names)
		}
	}
}

// checkNews checks one answer against the topic's history.
func (b *bench) checkNews(n broker.News, mark uint64) {
	b.tb.Helper()
	p := b.history(string(n.Topic), broker.Query{Limit: 1000})
	if n.Position != p.Position {
		b.tb.Errorf("%s is at %+v, in the news at %+v", n.Topic, p.Position, n.Position)
	}
	for _, m := range p.Messages {
		if m.Mark > mark != (m.Seq > n.After) {
			b.tb.Errorf("%s: message %d has the mark %d, and the news after %d are behind %d", n.Topic, m.Seq, m.Mark, mark, n.After)
		}
	}
}

func testNews(t *testing.T, b *bench) {
	l := b.lister()
	for _, name := range []string{"a/1", "a/2", "a", "ab", "a/b/c", "b", "$own"} {
		b.fill(name, 3, kept(10))
		b.delivered(name, 3)
	}
	b.passed(l, b.newest())
	mark := b.mark(l)
	b.wantNews(l, "#", 0, "a", "a/1", "a/2", "a/b/c", "ab", "b")
	b.wantNews(l, "$own", 0, "$own")
	b.wantNews(l, "#", mark)
	b.publish(text("a/2", "4"), kept(10))
	b.publish(text("c", "1"), kept(10))
	b.publish(text("a/2", "5"), kept(10))
	b.publish(text("a", "4"), kept(10))
	b.wantNews(l, "#", mark, "a", "a/2", "c")
	b.wantNews(l, "a/#", mark, "a", "a/2")
	b.wantNews(l, "a/+", mark, "a/2")
	b.wantNews(l, "a/2", mark, "a/2")
	b.wantNews(l, "a/1", mark)
	for _, n := range b.news(l, "a/2", mark, 10) {
		if n.After != 3 && n.Position.Seq == 5 {
			t.Errorf("the news of a/2 begin behind %d", n.After)
		}
	}
	b.fill("none", 3, kept(0))
	b.wantNews(l, "none", 0) // nothing is kept
}
