package brokertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

type durableCase struct {
	name string
	test func(t *testing.T, reopen func() broker.Broker)
}

func durableCases() []durableCase {
	return []durableCase{
		{"everything is found again", testFoundAgain},
		{"numbers and keys outlive the process", testRepeatsAfterReopening},
		{"what was trimmed stays a gap", testGapAfterReopening},
		{"news outlive the process", testNewsAfterReopening},
		{"every way to sync", testDurabilities},
		{"memory and disk side by side", testBoth},
	}
}

// again closes an engine and starts the next on what it left.
func (b *bench) again(reopen func() broker.Broker) *bench {
	b.tb.Helper()
	if err := b.Close(context.Background()); err != nil {
		b.tb.Fatalf("close: %v", err)
	}
	return start(b.tb, reopen(), b.durability)
}

func testFoundAgain(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	m := text("a", "1")
	m.Headers, m.Binary, m.Except = map[string]string{"k": "v", "": "empty"}, true, "s-1"
	m.ExpiresAt = time.Now().Add(time.Hour).UnixMilli()
	want := *m
	at := b.publish(m, kept(100)).Position
	last := text("r/1", "last")
	last.Retain = true
	b.publish(last, kept(1))
	for round := range 3 {
		b = b.again(reopen)
		p := b.history("a", broker.Query{Epoch: at.Epoch, Limit: 1000})
		if p.Gap || len(p.Messages) != 1+round*10 || p.Position.Epoch != at.Epoch {
			t.Fatalf("round %d: %d messages, gap %v, at %+v, first at %+v", round, len(p.Messages), p.Gap, p.Position, at)
		}
		b.chained(p.Messages, 0)
		same(t, p.Messages[0], &want)
		b.fill("a", 10, kept(100))
		if values, err := b.Retained(context.Background(), "r/#"); err != nil || len(values) != 1 || string(values[0].Payload) != "last" || values[0].Seq != 1 {
			t.Errorf("round %d: last values %v, %v", round, values, err)
		}
	}
	cleared := text("r/1", "")
	cleared.Retain = true
	b.publish(cleared, kept(1))
	b = b.again(reopen)
	if values, err := b.Retained(context.Background(), "r/#"); err != nil || len(values) != 0 {
		t.Errorf("cleared: %v, %v", values, err)
	}
}

// same compares what receivers see of a message.
func same(t *testing.T, got, want *message.Message) {
	t.Helper()
	seen := func(m *message.Message) string {
		return fmt.Sprint(m.ID, m.Topic, m.Type, m.From, m.Time, m.Headers, string(m.Payload), m.Binary, m.ExpiresAt, m.Except)
	}
	if a, b := seen(got), seen(want); a != b {
		t.Errorf("read back:\n%s, was\n%s", a, b)
	}
}

func testRepeatsAfterReopening(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	keyed := func() *message.Message {
		m := text("a", "1")
		m.Key = "k"
		return m
	}
	o := kept(2)
	first := b.publish(keyed(), o)
	for n := range uint64(5) { // the log is trimmed past the key
		b.publish(numbered("a", "p", 2, n+1), o)
	}
	b = b.again(reopen)
	if r := b.publish(keyed(), o); !r.Duplicate || r.Position != first.Position {
		t.Errorf("a key was forgotten: %+v, at first %+v", r, first)
	}
	if r := b.publish(numbered("a", "p", 2, 5), o); !r.Duplicate || r.Position.Seq != 6 {
		t.Errorf("a number was forgotten: %+v", r)
	}
	b.refused(numbered("a", "p", 2, 7), 6)
	if _, err := broker.Publish(context.Background(), b, numbered("a", "p", 1, 6), o); err == nil {
		t.Error("an older connection is not fenced")
	}
	if r := b.publish(numbered("a", "p", 3, 6), o); r.Duplicate || r.Position.Seq != 7 {
		t.Errorf("the next number: %+v", r)
	}
}

func testGapAfterReopening(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	at := b.fill("a", 20, kept(5))
	b = b.again(reopen)
	b.want("behind what was trimmed", b.history("a", broker.Query{Epoch: at[0].Epoch, After: at[2].Seq, Limit: 100}), numbers(16, 20), false, true)
	b.want("behind the future", b.history("a", broker.Query{Epoch: at[0].Epoch, After: at[19].Seq + 1, Limit: 100}), nil, false, true)
	b.want("nothing is missing", b.history("a", broker.Query{Epoch: at[0].Epoch, After: at[14].Seq, Limit: 100}), numbers(16, 20), false, false)
	b.want("backward", b.history("a", broker.Query{Before: at[19].Seq, Limit: 2, Newest: true}), numbers(18, 19), true, false)
}

func testNewsAfterReopening(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	b.fill("a/1", 3, kept(10))
	b.fill("a/2", 3, kept(10))
	b.delivered("a/1", 3)
	b.delivered("a/2", 3)
	b.passed(b.lister(), b.newest())
	mark := b.mark(b.lister())
	b.fill("a/2", 2, kept(10))
	b = b.again(reopen)
	b.wantNews(b.lister(), "a/#", mark, "a/2")
	b.wantNews(b.lister(), "#", 0, "a/1", "a/2")
	if now := b.mark(b.lister()); now < mark {
		t.Errorf("the mark went back from %d to %d", mark, now)
	}
	mark = b.mark(b.lister())
	b.fill("a/0", 1, kept(10))
	b.fill("a/1", 1, kept(10))
	b.wantNews(b.lister(), "a/#", mark, "a/0", "a/1")
}

func testDurabilities(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	for d := broker.SyncNever; d <= broker.SyncAlways; d++ {
		b.durability = d
		b.fill(fmt.Sprint("t/", d), 10, kept(10))
	}
	b = b.again(reopen)
	for d := broker.SyncNever; d <= broker.SyncAlways; d++ {
		b.want("after an orderly end", b.history(fmt.Sprint("t/", d), broker.Query{Limit: 100}), numbers(1, 10), false, false)
	}
}

func testBoth(t *testing.T, reopen func() broker.Broker) {
	b := start(t, reopen(), broker.SyncAlways)
	durable := b.fill("d", 3, kept(10))
	b.durability = broker.Memory
	memory := b.fill("m", 3, kept(10))
	b.want("in memory", b.history("m", broker.Query{Limit: 100}), numbers(1, 3), false, false)
	b = b.again(reopen)
	if p := b.history("m", broker.Query{Epoch: memory[0].Epoch, After: 1, Limit: 10}); !p.Gap || len(p.Messages) != 0 {
		t.Errorf("what was in memory: %+v", p)
	}
	b.want("on the disk", b.history("d", broker.Query{Epoch: durable[0].Epoch, Limit: 100}), numbers(1, 3), false, false)
	if values, err := b.Retained(context.Background(), topic.Filter("#")); err != nil || len(values) > 0 {
		t.Errorf("%v, %v", values, err)
	}
}
