package pubsub_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// window is how many messages are handed over without being acknowledged.
const window = 256

func open(t *testing.T, s *pubsub.Service, r pubsub.Request) (*pubsub.Feed, pubsub.Start) {
	t.Helper()
	feed, start, err := s.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	feed.Start()
	return feed, start
}

// seqs are those of one topic, in the order in which they came.
func seqs(got []*hub.Delivery, name string) (out []uint64) {
	for _, d := range got {
		if d.Message != nil && d.Message.Topic == name {
			out = append(out, d.Message.Seq)
		}
	}
	return out
}

// upTo waits for a message, and checks that all of its topic before it came
// once and in order, behind after.
func upTo(t *testing.T, in *inbox, name string, after, last uint64) {
	t.Helper()
	got := seqs(in.until(t, fmt.Sprintf("message %d of %s", last, name), func(got []*hub.Delivery) bool {
		return slices.Contains(seqs(got, name), last)
	}), name)
	for i, seq := range got {
		if seq != after+uint64(i)+1 {
			t.Fatalf("%s: %d came at place %d", name, seq, i)
		}
	}
}

// A receiver that acknowledges nothing gets no more than a window; what it has
// not got follows when it does, and then what comes live.
func TestTheWindow(t *testing.T) {
	for _, filter := range []string{"a", "+"} {
		t.Run(filter, func(t *testing.T) {
			s, _ := onDisk(t, t.TempDir())
			in := newInbox()
			feed, _ := open(t, s, pubsub.Request{Filter: topic.Filter(filter), QoS: 1, Receiver: in})
			now, _, _ := subscribe(t, s, filter, nil)
			var last message.Position
			for range 5 * window {
				last = publish(t, s, "a", "x")
			}
			upTo(t, now, "a", 0, last.Seq) // at QoS 0 there is no window
			if n := len(in.all()); n != window {
				t.Fatalf("%d came without being acknowledged", n)
			}
			for seq := uint64(window); seq < last.Seq; seq += window {
				if at, moved := feed.Ack("a", seq); !moved || at.Seq != seq {
					t.Fatalf("an acknowledgement of %d: %v, %v", seq, at, moved)
				}
				upTo(t, in, "a", 0, seq+window)
			}
			if n := len(in.all()); n != 5*window {
				t.Errorf("%d came", n)
			}
			feed.Ack("a", last.Seq)
			upTo(t, in, "a", 0, publish(t, s, "a", "live").Seq)
		})
	}
}

// Many receivers have no room, for a long time. They cost no goroutine, and
// get everything when they have.
func TestReceiversWithoutRoom(t *testing.T) {
	const receivers, messages = 5000, 300
	s, _ := onDisk(t, t.TempDir())
	stuck := make([]*closet, receivers)
	for i := range stuck {
		stuck[i] = &closet{inbox: newInbox()}
		filter := topic.Filter("a")
		if i%10 == 0 {
			filter = "+"
		}
		open(t, s, pubsub.Request{Filter: filter, QoS: uint32(i % 2), Receiver: stuck[i]})
	}
	before := runtime.NumGoroutine()
	var last message.Position
	for range messages {
		last = publish(t, s, "a", "x")
	}
	quiet := time.NewTicker(time.Millisecond)
	defer quiet.Stop()
	for late := time.After(patience); runtime.NumGoroutine() > before+5; {
		select {
		case <-quiet.C:
		case <-late:
			t.Fatalf("%d goroutines wait, before there were %d", runtime.NumGoroutine(), before)
		}
	}
	feeds := 0
	for i, c := range stuck {
		if n := len(c.all()); n != 0 {
			t.Fatalf("%d came where there is no room", n)
		}
		c.open()
		if i%2 == 0 {
			feeds++
			upTo(t, c.inbox, "a", 0, last.Seq)
		} else {
			upTo(t, c.inbox, "a", 0, window)
		}
	}
	if feeds != receivers/2 {
		t.Error("nobody looked")
	}
}

// A subscription to a pattern goes on after a restart: with what was not
// acknowledged, what was published meanwhile, and topics that are new.
func TestPatternsGoOn(t *testing.T) {
	dir := t.TempDir()
	s, stop := onDisk(t, dir)
	before, beforeFeed, _ := subscribe(t, s, "room/#", nil)
	publish(t, s, "room/before", "x")
	came(t, before, 1)
	beforeFeed.Close()
	in := newInbox()
	feed, start := open(t, s, pubsub.Request{Filter: "room/#", QoS: 1, Receiver: in})
	if start.QoS != 1 {
		t.Errorf("%+v", start)
	}
	for i := range 300 {
		name := fmt.Sprint("room/", i%100)
		at := publish(t, s, name, "x")
		upTo(t, in, name, 0, at.Seq)
		if i%100 != 7 {
			feed.Ack(name, at.Seq)
		}
	}
	saved := feed.Saved()
	feed.Close()
	publish(t, s, "room/3", "while away")
	stop()
	s, stop = onDisk(t, dir)
	publish(t, s, "room/new", "also")
	publish(t, s, "elsewhere", "not")
	in = newInbox()
	feed, start = open(t, s, pubsub.Request{Filter: "room/#", QoS: 1, Saved: &saved, Receiver: in})
	if !start.Recovered {
		t.Errorf("%+v", start)
	}
	upTo(t, in, "room/7", 0, 3)
	upTo(t, in, "room/3", 3, 4)
	upTo(t, in, "room/new", 0, 1)
	publish(t, s, "room/new", "live")
	upTo(t, in, "room/new", 0, 2)
	if got := in.all(); len(got) != 6 {
		t.Errorf("%d came: %q", len(got), payloads(got))
	}
	for _, name := range []string{"room/7", "room/3", "room/new"} {
		feed.Ack(name, 100) // beyond what was handed over: it says nothing
		feed.Ack(name, uint64(len(seqs(in.all(), name)))+map[string]uint64{"room/3": 3}[name])
	}
	saved = feed.Saved()
	feed.Close()
	in = newInbox()
	open(t, s, pubsub.Request{Filter: "room/#", QoS: 1, Saved: &saved, Receiver: in})
	at := publish(t, s, "room/3", "the last")
	upTo(t, in, "room/3", at.Seq-1, at.Seq)
	if got := in.all(); len(got) != 1 {
		t.Errorf("when all is acknowledged comes %q", payloads(got))
	}
	stop()
}

// What is saved of a pattern does not grow with the topics that were dealt
// with.
func TestWhatIsSavedStaysSmall(t *testing.T) {
	s, _ := onDisk(t, t.TempDir())
	in := newInbox()
	feed, _ := open(t, s, pubsub.Request{Filter: "room/#", QoS: 1, Receiver: in})
	for i := range 1000 {
		name := fmt.Sprint("room/", i)
		publish(t, s, name, "x")
		upTo(t, in, name, 0, 1)
		feed.Ack(name, 1)
	}
	var saved store.Subscription
	late := time.NewTimer(patience)
	defer late.Stop()
	for saved = feed.Saved(); len(saved.Acked) > 64; saved = feed.Saved() {
		select {
		case <-late.C:
			t.Fatalf("%d topics are saved", len(saved.Acked))
		default:
			runtime.Gosched()
		}
	}
	if saved.Mark == 0 {
		t.Error("no mark is saved")
	}
}

// Nothing is handed over that the receiver says it has, or has acknowledged.
func TestTheLaterOfSinceAndSaved(t *testing.T) {
	s, _ := onDisk(t, t.TempDir())
	var at message.Position
	for range 10 {
		at = publish(t, s, "a", "x")
	}
	for _, tc := range []struct{ since, saved, want uint64 }{{3, 5, 5}, {5, 3, 5}, {0, 4, 4}} {
		in := newInbox()
		saved := store.Subscription{Acked: map[string]message.Position{"a": {Epoch: at.Epoch, Seq: tc.saved}}}
		open(t, s, pubsub.Request{
			Filter: "a", QoS: 2, Since: &message.Position{Epoch: at.Epoch, Seq: tc.since}, Saved: &saved, Receiver: in,
		})
		upTo(t, in, "a", tc.want, 10)
	}
}

// counting is an engine that counts how often messages are read.
type counting struct {
	*localbroker.Broker

	reads atomic.Int64
}

// History counts, and reads.
func (c *counting) History(ctx context.Context, name topic.Name, q broker.Query) (broker.Page, error) {
	if q.Limit > 0 {
		c.reads.Add(1)
	}
	return c.Broker.History(ctx, name, q)
}

// encoding is an encoder that counts.
type encoding struct{ n *atomic.Int64 }

func (encoding) Slot() int { return 0 }

func (e encoding) Encode(*hub.Delivery) []byte {
	e.n.Add(1)
	return []byte{}
}

// What many have missed is read and encoded once for all of them, also what is
// published while they come back, and they all get it.
func TestWhatManyHaveMissedIsReadOnce(t *testing.T) {
	const sessions, missed = 500, 150
	var engine *counting
	s := serve(t, short(1000), func(b broker.Broker) broker.Broker {
		local, ok := b.(*localbroker.Broker)
		if !ok {
			t.Fatal("another engine")
		}
		engine = &counting{Broker: local}
		return engine
	})
	var at message.Position
	for range missed {
		at = publish(t, s, "a", "x")
	}
	var encoded atomic.Int64
	var back sync.WaitGroup
	receivers := make([]*inbox, sessions)
	for i := range receivers {
		receivers[i] = newInbox()
		back.Go(func() {
			open(t, s, pubsub.Request{Filter: "a", Since: &message.Position{Epoch: at.Epoch}, Receiver: receivers[i]})
			if i%50 == 0 {
				publish(t, s, "a", "more")
			}
		})
	}
	back.Wait()
	last := publish(t, s, "a", "last")
	for _, in := range receivers {
		upTo(t, in, "a", 0, last.Seq)
		for _, d := range in.all() {
			d.Frame(encoding{&encoded})
		}
	}
	// What is published while a receiver is live and for the cache is two deliveries.
	if n := encoded.Load(); n > missed+2*(sessions/50+1) {
		t.Errorf("%d messages were encoded %d times", last.Seq, n)
	}
	if n := engine.reads.Load(); n > sessions/10 {
		t.Errorf("%d sessions read %d times", sessions, n)
	}
}
