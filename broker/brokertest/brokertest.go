// Package brokertest is the contract of package broker as tests. Every engine
// passes it:
//
//	func TestContract(t *testing.T) {
//		brokertest.Test(t, brokertest.Engine{Open: func(tb testing.TB) broker.Broker { return natsbroker.New(…) }})
//	}
package brokertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// patience is how long the suite waits for what should come at once.
const patience = 20 * time.Second

// Engine says how the suite gets engines, and what they can do. Engines that are
// opened were not started and share nothing with earlier ones; the suite closes
// them.
type Engine struct {
	Open func(tb testing.TB) broker.Broker
	// Durable is set for engines that keep durable topics. It makes a new place
	// for them, and returns what opens an engine on what is there; each is closed
	// before the next is opened. Everything is tested with durable topics as well.
	Durable func(tb testing.TB) (reopen func() broker.Broker)
}

// Test runs the suite.
func Test(t *testing.T, e Engine) {
	t.Helper()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) { c.test(t, start(t, e.Open(t), broker.Memory)) })
	}
	if e.Durable == nil {
		t.Run("durable messages are refused", func(t *testing.T) { testNotDurable(t, start(t, e.Open(t), broker.SyncAlways)) })
		return
	}
	for _, c := range cases() {
		t.Run("durable/"+c.name, func(t *testing.T) { c.test(t, start(t, e.Durable(t)(), broker.SyncAlways)) })
	}
	for _, c := range durableCases() {
		t.Run("durable/"+c.name, func(t *testing.T) { c.test(t, e.Durable(t)) })
	}
}

type testCase struct {
	name string
	test func(*testing.T, *bench)
}

func cases() []testCase {
	return []testCase{
		{"one topic has one order", testOrder},
		{"topics do not disturb each other", testTopics},
		{"a publisher's own order is kept", testPipelined},
		{"history forward", testHistoryForward},
		{"history backward", testHistoryBackward},
		{"history is bounded", testHistoryBounds},
		{"history ends with its age", testHistoryAge},
		{"without history there are positions", testNoHistory},
		{"gaps are told", testGaps},
		{"a topic nobody has used", testUnknownTopic},
		{"keys", testKeys},
		{"one key, many publishers at once", testKeyRace},
		{"last values", testRetained},
		{"expired messages are not given out", testExpiry},
		{"ephemeral messages", testEphemeral},
		{"closing", testClose},
		{"closing waits for deliveries", testCloseWaits},
		{"closing under load", testCloseUnderLoad},
		{"readers and publishers at once", testReadersAndPublishers},
		{"history is bounded in bytes", testHistoryBytes},
		{"keys are bounded in number", testKeysBound},
		{"a repeat is answered after the first", testRepeatedAtOnce},
		{"producers", testProducers},
		{"a producer's newer connection", testFencing},
		{"producers on the way", testProducerPipelined},
		{"a number and a key", testNumberAndKey},
		{"marks", testMarks},
		{"marks under load", testMarksUnderLoad},
		{"news", testNews},
	}
}

// bench is a started engine and what it has delivered.
type bench struct {
	broker.Broker

	durability broker.Durability // of everything that is published

	tb    testing.TB
	hook  func(*message.Message) // called within each delivery; may be nil
	mu    sync.Mutex
	more  chan struct{} // closed and replaced with every delivery
	got   map[string][]*message.Message
	total int
	busy  map[string]bool // topics a delivery is under way for
}

func start(tb testing.TB, engine broker.Broker, d broker.Durability) *bench {
	tb.Helper()
	b := &bench{tb: tb, Broker: engine, durability: d, more: make(chan struct{}), got: make(map[string][]*message.Message), busy: make(map[string]bool)}
	if err := b.Start(b); err != nil {
		tb.Fatalf("start: %v", err)
	}
	tb.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	if err := b.Watch(topic.Filter("#")); err != nil {
		tb.Fatalf("watch: %v", err)
	}
	return b
}

// Publish publishes with the durability that is being tested.
func (b *bench) Publish(m *message.Message, o broker.Options, done func(broker.Result, error)) {
	o.Durability = b.durability
	b.Broker.Publish(m, o, done)
}

// HandleMessage is described at broker.Handler.
func (b *bench) HandleMessage(m *message.Message) {
	b.mu.Lock()
	if b.busy[m.Topic] {
		b.tb.Errorf("two messages of %s are delivered at once", m.Topic)
	}
	b.busy[m.Topic] = true
	b.mu.Unlock()
	if b.hook != nil {
		b.hook(m)
	}
	b.mu.Lock() // in between somebody else could have come
	defer b.mu.Unlock()
	b.busy[m.Topic] = false
	b.got[m.Topic] = append(b.got[m.Topic], m)
	b.total++
	close(b.more)
	b.more = make(chan struct{})
}

// delivered waits until n messages of a topic have been delivered.
func (b *bench) delivered(name string, n int) []*message.Message {
	b.tb.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		b.mu.Lock()
		got, more := b.got[name], b.more
		b.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-more:
		case <-late.C:
			b.tb.Fatalf("%d messages of %s were delivered, %d expected", len(got), name, n)
		}
	}
}

func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// kept are the options of a topic that keeps n messages.
func kept(n int) broker.Options {
	return broker.Options{History: n, HistoryAge: time.Hour, KeyWindow: time.Hour}
}

func text(name, payload string) *message.Message {
	return &message.Message{ID: "id-" + payload, Topic: name, Type: "t", From: "ada", Time: time.Now().UnixMilli(), Payload: []byte(payload)}
}

// publish publishes and waits for the answer.
func (b *bench) publish(m *message.Message, o broker.Options) broker.Result {
	b.tb.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	r, err := broker.Publish(ctx, b, m, o)
	if err != nil {
		b.tb.Fatalf("publish %s to %s: %v", m.Payload, m.Topic, err)
	}
	return r
}

// fill publishes the payloads "1" to "n" and returns their positions.
func (b *bench) fill(name string, n int, o broker.Options) []message.Position {
	b.tb.Helper()
	out := make([]message.Position, n)
	for i := range out {
		out[i] = b.publish(text(name, fmt.Sprint(i+1)), o).Position
	}
	return out
}

func (b *bench) history(name string, q broker.Query) broker.Page {
	b.tb.Helper()
	p, err := b.History(context.Background(), topic.Name(name), q)
	if err != nil {
		b.tb.Fatalf("history of %s: %v", name, err)
	}
	return p
}

func payloads(messages []*message.Message) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		out[i] = string(m.Payload)
	}
	return out
}

// numbers are the payloads fill gives from first to last.
func numbers(first, last int) []string {
	out := make([]string, 0, last-first+1)
	for i := first; i <= last; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// chained checks that messages follow each other without a hole.
func (b *bench) chained(messages []*message.Message, prev uint64) {
	b.tb.Helper()
	for i, m := range messages {
		if m.Prev != prev || m.Seq <= m.Prev || m.Epoch == "" || m.Epoch != messages[0].Epoch {
			b.tb.Fatalf("message %d: seq %d after %d in epoch %q, the one before it is %d", i, m.Seq, m.Prev, m.Epoch, prev)
		}
		prev = m.Seq
	}
}
