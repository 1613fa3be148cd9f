package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// nobody receives direct messages.
type nobody struct{}

func (nobody) DeliverDirect(topic.Name, *hub.Delivery) int { return 0 }

func allowAll(context.Context, auth.Identity, auth.Action, string) error { return nil }

// serve starts a service on the local engine, or on the one that wrap makes of it.
func serve(t *testing.T, s pubsub.Settings, wrap func(broker.Broker) broker.Broker) *pubsub.Service {
	t.Helper()
	var b broker.Broker = localbroker.New(localbroker.Limits{})
	if wrap != nil {
		b = wrap(b)
	}
	service, err := pubsub.New(pubsub.Config{Broker: b, Authorizer: auth.AuthorizerFunc(allowAll), Default: &s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := service.Start(ctx, nobody{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		service.Wait()
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return service
}

// inbox is a receiver that keeps everything.
type inbox struct {
	mu   sync.Mutex
	more chan struct{}
	got  []*hub.Delivery

	ended error
}

func newInbox() *inbox { return &inbox{more: make(chan struct{})} }

func (in *inbox) Deliver(d *hub.Delivery) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, d)
	close(in.more)
	in.more = make(chan struct{})
	return true
}

func (in *inbox) Ready(func()) bool { return true }

func (in *inbox) Ended(_ *pubsub.Feed, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = err
	close(in.more)
	in.more = make(chan struct{})
}

// why returns why the feed ended by itself.
func (in *inbox) why() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

func (in *inbox) all() []*hub.Delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

// until waits for something that ok finds in what came.
func (in *inbox) until(t *testing.T, what string, ok func([]*hub.Delivery) bool) []*hub.Delivery {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		in.mu.Lock()
		got, more := in.got, in.more
		in.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-more:
		case <-late.C:
			t.Fatalf("%s did not come; what came: %q", what, payloads(got))
		}
	}
}

func payloads(got []*hub.Delivery) []string {
	out := make([]string, len(got))
	for i, d := range got {
		if d.Message == nil {
			out[i] = fmt.Sprint(d.Event)
			continue
		}
		out[i] = string(d.Message.Payload)
	}
	return out
}

func subscribe(t *testing.T, s *pubsub.Service, filter string, since *message.Position) (*inbox, *pubsub.Feed, pubsub.Start) {
	t.Helper()
	in := newInbox()
	feed, start, err := s.Open(t.Context(), pubsub.Request{Filter: topic.Filter(filter), Since: since, Receiver: in})
	if err != nil {
		t.Fatal(err)
	}
	feed.Start()
	return in, feed, start
}

func publish(t *testing.T, s *pubsub.Service, name, payload string, change ...func(*pubsub.Publication)) message.Position {
	t.Helper()
	p := pubsub.Publication{Message: &message.Message{Topic: name, Type: "t", Payload: []byte(payload)}}
	for _, c := range change {
		c(&p)
	}
	answer := make(chan message.Position, 1)
	s.Publish(p, func(r broker.Result, err error) {
		if err != nil {
			t.Errorf("publish: %v", err)
		}
		answer <- r.Position
	})
	return <-answer
}

func retain(p *pubsub.Publication) { p.Message.Retain = true }

func short(n int) pubsub.Settings {
	return pubsub.Settings{History: n, HistoryAge: time.Hour}
}

// checkFeed checks what one receiver of one topic got: every message behind
// the position where it began, once and in order, with holes only where a gap
// was told.
func checkFeed(got []*hub.Delivery, begun uint64) error {
	last, gap := begun, false
	for i, d := range got {
		if d.Message == nil {
			if d.Event.GetGap() == nil {
				return fmt.Errorf("delivery %d is %v", i, d.Event)
			}
			gap = true
			continue
		}
		switch m := d.Message; {
		case m.Seq <= last:
			return fmt.Errorf("delivery %d has seq %d after %d", i, m.Seq, last)
		case m.Prev != last && !gap:
			return fmt.Errorf("delivery %d has prev %d after %d, and no gap was told", i, m.Prev, last)
		default:
			last, gap = m.Seq, false
		}
	}
	return nil
}

// TestHistoryThenLive lets many subscribe, from several positions, while others
// publish. With a history that is shorter than what is published during one
// subscribe, the path for gaps is taken too.
func TestHistoryThenLive(t *testing.T) {
	for _, history := range []int{0, 3, 100, 10_000} {
		t.Run(fmt.Sprint("history of ", history), func(t *testing.T) {
			settings := short(history)
			if history == 0 {
				settings = pubsub.Settings{NoPresence: true}
			}
			s := serve(t, settings, nil)
			historyThenLive(t, s)
		})
	}
	t.Run("on a disk", func(t *testing.T) {
		s, _ := onDisk(t, t.TempDir())
		historyThenLive(t, s)
	})
}

func historyThenLive(t *testing.T, s *pubsub.Service) {
	t.Helper()
	const publishers, each, subscribers = 4, 400, 60
	var publishing, reading sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				publish(t, s, "a", fmt.Sprintf("%d.%d", p, i))
			}
		})
	}
	type reader struct {
		in    *inbox
		begun uint64
	}
	readers := make([]reader, 0, subscribers)
	var mu sync.Mutex
	for i := range subscribers {
		reading.Go(func() {
			var since *message.Position
			switch now, err := s.History(t.Context(), "a", broker.Query{}); {
			case err != nil:
				t.Error(err)
				return
			case i%3 == 1:
				since = &message.Position{Epoch: now.Position.Epoch, Seq: now.Position.Seq - min(now.Position.Seq, uint64(i))}
			case i%3 == 2:
				since = &message.Position{Epoch: now.Position.Epoch, Seq: now.Position.Seq}
			}
			in, _, start := subscribe(t, s, "a", since)
			r := reader{in, start.Position.Seq}
			if since != nil && start.Recovered {
				r.begun = since.Seq
			}
			mu.Lock()
			readers = append(readers, r)
			mu.Unlock()
		})
	}
	publishing.Wait()
	reading.Wait()
	end := publish(t, s, "a", "end")
	for i, r := range readers {
		got := r.in.until(t, "the end", func(got []*hub.Delivery) bool {
			return len(got) > 0 && got[len(got)-1].Message != nil && got[len(got)-1].Message.Seq == end.Seq
		})
		if err := checkFeed(got, r.begun); err != nil {
			t.Errorf("reader %d, from %d: %v", i, r.begun, err)
		}
	}
}

// stepping is a broker whose deliveries a test holds back: the message has its
// place in the history long before it arrives.
type stepping struct {
	broker.Broker
	handler broker.Handler
	held    chan *message.Message
}

func (s *stepping) Start(h broker.Handler) error {
	s.handler = h
	return s.Broker.Start(s)
}

func (s *stepping) HandleMessage(m *message.Message) { s.held <- m }

func (s *stepping) step() { s.handler.HandleMessage(<-s.held) }

func holdBack(t *testing.T, settings pubsub.Settings) (*pubsub.Service, *stepping) {
	t.Helper()
	var b *stepping
	s := serve(t, settings, func(inner broker.Broker) broker.Broker {
		b = &stepping{Broker: inner, held: make(chan *message.Message, 100)}
		return b
	})
	return s, b
}

// A message that was read from the history arrives as a live one afterwards.
func TestALateDeliveryIsNotARepetition(t *testing.T) {
	s, b := holdBack(t, short(10))
	for i := range 3 {
		publish(t, s, "a", fmt.Sprint(i+1))
	}
	all, _, _ := subscribe(t, s, "a", &message.Position{})
	now, _, start := subscribe(t, s, "a", nil)
	if start.Position.Seq != 3 {
		t.Errorf("the feed begins at %+v", start.Position)
	}
	for range 3 {
		b.step()
	}
	publish(t, s, "a", "4")
	b.step()
	if got := payloads(all.all()); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("from the oldest came %q", got)
	}
	if got := payloads(now.all()); !slices.Equal(got, []string{"4"}) {
		t.Errorf("from now came %q", got)
	}
}

func TestLastValues(t *testing.T) {
	for _, filter := range []string{"a", "+"} {
		t.Run(filter, func(t *testing.T) {
			s, b := holdBack(t, short(10))
			publish(t, s, "a", "1", retain)
			publish(t, s, "a", "2", retain)
			in, _, _ := subscribe(t, s, filter, nil)
			for range 2 {
				b.step()
			}
			publish(t, s, "a", "3", retain)
			publish(t, s, "a", "4")
			for range 2 {
				b.step()
			}
			if got := payloads(in.all()); !slices.Equal(got, []string{"2", "3", "4"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// between publishes when last values are read, as somebody else might.
type between struct {
	broker.Broker
	before func()
}

func (b *between) Retained(ctx context.Context, f topic.Filter) ([]*message.Message, error) {
	if before := b.before; before != nil {
		b.before = nil
		before()
	}
	return b.Broker.Retained(ctx, f)
}

func TestALastValueThatComesWhileTheFeedBegins(t *testing.T) {
	for _, filter := range []string{"a", "+"} {
		t.Run(filter, func(t *testing.T) {
			var b *between
			s := serve(t, short(10), func(inner broker.Broker) broker.Broker {
				b = &between{Broker: inner}
				return b
			})
			publish(t, s, "a", "1", retain)
			b.before = func() {
				publish(t, s, "a", "2")
				publish(t, s, "a", "3", retain)
			}
			in, _, _ := subscribe(t, s, filter, nil)
			publish(t, s, "a", "4")
			want := []string{"2", "3", "4"}
			if filter == "+" { // it begins with the last values
				want = want[1:]
			}
			if got := payloads(in.all()); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A topic that was forgotten between Open and Run begins a new history there.
func TestAHistoryThatBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, pubsub.Settings{History: 1000, HistoryAge: time.Minute}, nil)
		for range 500 {
			publish(t, s, "a", "old")
		}
		in := newInbox()
		feed, _, err := s.Open(t.Context(), pubsub.Request{Filter: "a", Receiver: in})
		if err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(20 * time.Minute).C
		for i := range 300 { // more than can wait
			publish(t, s, "a", fmt.Sprint(i))
		}
		feed.Start()
		synctest.Wait()
		publish(t, s, "a", "300")
		got := in.all()
		if len(got) != 302 || got[0].Event.GetGap() == nil || feed.Sent() != 301 {
			t.Fatalf("%d deliveries, sent %d", len(got), feed.Sent())
		}
		for i, d := range got[1:] {
			if string(d.Message.Payload) != fmt.Sprint(i) {
				t.Fatalf("at place %d: %s", i, d.Message.Payload)
			}
		}
	})
}

// What is published between the answer to a subscribe and the moment when last
// values are handed over is neither lost nor out of order.
func TestLastValuesWhileMoreIsPublished(t *testing.T) {
	for _, filter := range []string{"a", "+"} {
		t.Run(filter, func(t *testing.T) {
			s := serve(t, short(10), nil)
			publish(t, s, "a", "1", retain)
			in := newInbox()
			feed, _, err := s.Open(t.Context(), pubsub.Request{Filter: topic.Filter(filter), Receiver: in})
			if err != nil {
				t.Fatal(err)
			}
			publish(t, s, "a", "2")
			publish(t, s, "a", "3", retain)
			publish(t, s, "a", "4")
			feed.Start()
			publish(t, s, "a", "5")
			if got := payloads(in.all()); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// More arrives between Open and Run than a feed keeps waiting: it reads the
// history again, and says so when that does not reach back far enough.
func TestMoreThanCanWait(t *testing.T) {
	const n = 1000
	flood := func(t *testing.T, s *pubsub.Service, filter string, n int) (*inbox, error) {
		t.Helper()
		in := newInbox()
		feed, _, err := s.Open(t.Context(), pubsub.Request{Filter: topic.Filter(filter), Receiver: in})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			publish(t, s, "a", fmt.Sprint(i+1))
		}
		feed.Start()
		until := func(payload string) {
			in.until(t, payload, func(got []*hub.Delivery) bool {
				return in.why() != nil || slices.Contains(payloads(got), payload)
			})
		}
		until(fmt.Sprint(n))
		publish(t, s, "a", "after")
		until("after")
		err = in.why()
		return in, err
	}
	for _, tc := range []struct{ history, messages, gaps int }{{n, n + 1, 0}, {10, 11, 1}} {
		in, err := flood(t, serve(t, short(tc.history), nil), "a", n)
		if err != nil {
			t.Fatal(err)
		}
		got := in.all()
		gaps := 0
		for _, d := range got {
			if d.Event.GetGap() != nil {
				gaps++
			}
		}
		if err := checkFeed(got, 0); err != nil || gaps != tc.gaps || len(got)-gaps != tc.messages {
			t.Errorf("history of %d: %d messages and %d gaps, %v", tc.history, len(got)-gaps, gaps, err)
		}
	}
	in, err := flood(t, serve(t, short(10), nil), "+", n)
	if err != nil || len(in.all()) != n+1 {
		t.Errorf("a pattern: %d of %d came, %v", len(in.all()), n+1, err)
	}
	in, err = flood(t, serve(t, short(10), nil), "+", 5*n)
	var refused *protocol.Error
	if !errors.As(err, &refused) || refused.Code != "overloaded" || len(in.all()) != 0 {
		t.Errorf("a pattern under a flood: %v, %d came", err, len(in.all()))
	}
}

func TestPositionsThatCannotBeRecovered(t *testing.T) {
	for _, tc := range []struct {
		since     message.Position
		recovered bool
		want      []string
	}{
		{message.Position{}, true, []string{"8", "9", "10", "new"}},
		{message.Position{Epoch: "this"}, false, []string{"new"}},
		{message.Position{Epoch: "this", Seq: 6}, false, []string{"new"}},
		{message.Position{Epoch: "this", Seq: 7}, true, []string{"8", "9", "10", "new"}},
		{message.Position{Epoch: "this", Seq: 10}, true, []string{"new"}},
		{message.Position{Epoch: "this", Seq: 11}, false, []string{"new"}},
		{message.Position{Epoch: "another", Seq: 9}, false, []string{"new"}},
	} {
		s := serve(t, short(3), nil)
		var at message.Position
		for i := range 10 {
			at = publish(t, s, "a", fmt.Sprint(i+1))
		}
		since := tc.since
		if since.Epoch == "this" {
			since.Epoch = at.Epoch
		}
		in, feed, start := subscribe(t, s, "a", &since)
		if start.Recovered != tc.recovered {
			t.Errorf("since %+v: %+v", tc.since, start)
		}
		last := publish(t, s, "a", "new")
		if got := payloads(in.all()); !slices.Equal(got, tc.want) {
			t.Errorf("since %+v: got %q, want %q", tc.since, got, tc.want)
		}
		if feed.Sent() != last.Seq {
			t.Errorf("since %+v: sent %d of %d", tc.since, feed.Sent(), last.Seq)
		}
	}
	s := serve(t, short(3), nil)
	_, _, err := s.Open(t.Context(), pubsub.Request{Filter: "+", Since: &message.Position{Seq: 7}, Receiver: newInbox()})
	var refused *protocol.Error
	if !errors.As(err, &refused) || refused.Code != "bad_request" {
		t.Errorf("a position in a pattern: %v", err)
	}
}

func TestClosedFeedsAreForgotten(t *testing.T) {
	s := serve(t, short(3), nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for j := range 20 {
				filter := []string{"a", "b/+", "#", fmt.Sprint("c/", i)}[j%4]
				_, feed, _ := subscribe(t, s, filter, nil)
				publish(t, s, "a", "x")
				feed.Close()
				feed.Close()
			}
		})
	}
	wg.Wait()
	if n := s.Stats().Topics; n != 0 {
		t.Errorf("%d filters are left", n)
	}
}
