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

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/store/memorystore"
	"github.com/parleyhq/parley/store/pebblestore"
	"github.com/parleyhq/parley/topic"
)

// onDisk starts a service whose topics and groups are in dir; stop ends it as
// a process ends.
func onDisk(t *testing.T, dir string) (s *pubsub.Service, stop func()) {
	t.Helper()
	db, err := pebblestore.Open(dir, pebblestore.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	engine := localbroker.NewDurable(localbroker.Limits{}, db.Log())
	settings := pubsub.Settings{History: 10_000, HistoryAge: time.Hour, Durable: true, Sync: pubsub.SyncInterval}
	s, err = pubsub.New(pubsub.Config{
		Broker: engine, Authorizer: auth.AuthorizerFunc(allowAll), Default: &settings, Groups: db.Groups(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Start(ctx, nobody{}); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		s.Wait()
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func member(t *testing.T, s *pubsub.Service, filter string) (*inbox, *pubsub.Feed) {
	t.Helper()
	in := newInbox()
	feed, start, err := s.Open(t.Context(), pubsub.Request{Filter: topic.Filter(filter), QoS: 1, Receiver: in})
	if err != nil {
		t.Fatal(err)
	}
	if start.QoS != 1 {
		t.Errorf("QoS %d", start.QoS)
	}
	feed.Start()
	return in, feed
}

// came waits until so many messages have come, and returns what they are with
// the number of those who had them before.
func came(t *testing.T, in *inbox, n int) []string {
	t.Helper()
	got := in.until(t, fmt.Sprint(n, " messages"), func(got []*hub.Delivery) bool { return len(got) >= n })
	out := make([]string, len(got))
	for i, d := range got {
		out[i] = fmt.Sprintf("%s.%d", d.Message.Payload, d.Message.Attempt)
	}
	return out
}

func seqOf(in *inbox, payload string) uint64 {
	for _, d := range in.all() {
		if string(d.Message.Payload) == payload {
			return d.Message.Seq
		}
	}
	return 0
}

func TestAGroupTakesTurns(t *testing.T) {
	for _, filter := range []string{"jobs/a", "jobs/+"} {
		t.Run(filter, func(t *testing.T) {
			s, stop := onDisk(t, t.TempDir())
			all, allFeed, _ := subscribe(t, s, filter, nil)
			publish(t, s, "jobs/a", "before")
			came(t, all, 1)
			allFeed.Close()
			ann, annFeed := member(t, s, "$share/g/"+filter)
			bob, bobFeed := member(t, s, "$share/g/"+filter)
			other, _ := member(t, s, "$share/h/"+filter)
			for i := range 6 {
				publish(t, s, "jobs/a", fmt.Sprint(i))
			}
			both := append(came(t, ann, 3), came(t, bob, 3)...)
			slices.Sort(both)
			if want := []string{"0.0", "1.0", "2.0", "3.0", "4.0", "5.0"}; !slices.Equal(both, want) {
				t.Errorf("both together got %q", both)
			}
			if got := came(t, other, 6); !slices.IsSorted(got) || len(got) != 6 {
				t.Errorf("the other group got %q", got)
			}
			first := ann.all()[0].Message
			if first.Share != "g" || first.Topic != "jobs/a" {
				t.Errorf("%+v", first)
			}
			annFeed.Ack("jobs/a", first.Seq)
			annFeed.Close() // two of its three are not acknowledged
			rest := came(t, bob, 5)[3:]
			if len(rest) != 2 || rest[0] >= rest[1] || rest[0][1:] != ".1" || rest[1][1:] != ".1" {
				t.Errorf("of the one who left came %q", rest)
			}
			bobFeed.Ack("jobs/a", 100)
			bobFeed.Close()
			for i := range 3 {
				publish(t, s, "jobs/a", fmt.Sprint("away", i))
			}
			cid, cidFeed := member(t, s, "$share/g/"+filter)
			if got := came(t, cid, 3); !slices.Equal(got, []string{"away0.0", "away1.0", "away2.0"}) {
				t.Errorf("what came while nobody was there: %q", got)
			}
			cidFeed.Ack("jobs/a", seqOf(cid, "away0"))
			stop()
		})
	}
}

// What a group has dealt with before a restart is not given to it again; all
// else is, also of topics that came to be while nobody was there.
func TestAGroupGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := onDisk(t, dir)
	ann, annFeed := member(t, s, "$share/g/jobs/#")
	for i := range 4 {
		publish(t, s, "jobs/a", fmt.Sprint("a", i))
	}
	came(t, ann, 4)
	annFeed.Ack("jobs/a", seqOf(ann, "a1"))
	annFeed.Fail("jobs/a", seqOf(ann, "a3"))
	came(t, ann, 5)
	annFeed.Close()
	publish(t, s, "jobs/a", "a4")
	publish(t, s, "jobs/b", "b0")
	publish(t, s, "other", "x")
	stop()
	s, _ = onDisk(t, dir)
	publish(t, s, "jobs/c", "c0")
	bob, _ := member(t, s, "$share/g/jobs/#")
	got := came(t, bob, 5)
	slices.Sort(got)
	if want := []string{"a2.1", "a3.2", "a4.0", "b0.0", "c0.0"}; !slices.Equal(got, want) {
		t.Errorf("after the restart came %q", got)
	}
}

func TestADeadLetter(t *testing.T) {
	s, _ := onDisk(t, t.TempDir())
	dead, deadFeed, _ := subscribe(t, s, "$dead/g/jobs/a", nil)
	defer deadFeed.Close()
	ann, feed := member(t, s, "$share/g/jobs/a")
	publish(t, s, "jobs/a", "poison", func(p *pubsub.Publication) { p.Message.Headers = map[string]string{"k": "v"} })
	publish(t, s, "jobs/a", "good")
	for i := range 5 {
		came(t, ann, 2+i)
		feed.Fail("jobs/a", seqOf(ann, "poison"))
	}
	letter := dead.until(t, "the dead letter", func(got []*hub.Delivery) bool { return len(got) > 0 })[0].Message
	want := map[string]string{"k": "v", "dead-group": "g", "dead-topic": "jobs/a", "dead-seq": "1", "dead-attempts": "5"}
	for name, value := range want {
		if letter.Headers[name] != value {
			t.Errorf("%s is %q", name, letter.Headers[name])
		}
	}
	if string(letter.Payload) != "poison" || letter.Seq != 1 {
		t.Errorf("%+v", letter)
	}
	if got := came(t, ann, 6); !slices.Equal(got, []string{"poison.0", "good.0", "poison.1", "poison.2", "poison.3", "poison.4"}) {
		t.Errorf("it was given as %q", got)
	}
}

// A member without room loses nothing and holds nobody up.
func TestAMemberWithoutRoom(t *testing.T) {
	s, _ := onDisk(t, t.TempDir())
	slow := &closet{inbox: newInbox()}
	feed, _, err := s.Open(t.Context(), pubsub.Request{Filter: "$share/g/jobs", QoS: 1, Receiver: slow})
	if err != nil {
		t.Fatal(err)
	}
	feed.Start()
	for i := range 20 {
		publish(t, s, "jobs", fmt.Sprint(i))
	}
	if n := len(slow.all()); n != 0 {
		t.Fatalf("%d came where there is no room", n)
	}
	ann, annFeed := member(t, s, "$share/g/jobs")
	came(t, ann, 20)
	slow.open()
	annFeed.Close()
	got := came(t, slow.inbox, 20)
	if !slices.ContainsFunc(got, func(text string) bool { return text == "19.1" }) {
		t.Errorf("what came when there was room: %q", got)
	}
}

// closet is an inbox that has no room until it is opened.
type closet struct {
	*inbox

	mu   sync.Mutex
	room bool
	wake []func()
}

func (c *closet) Deliver(d *hub.Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room && c.inbox.Deliver(d)
}

func (c *closet) Ready(wake func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.room {
		c.wake = append(c.wake, wake)
	}
	return c.room
}

func (c *closet) open() {
	c.mu.Lock()
	c.room = true
	wake := c.wake
	c.wake = nil
	c.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// A group that nobody was in for more than a week begins anew; one whose
// members had nothing to do for that long does not.
func TestGroupsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, engine := memorystore.New(memorystore.Limits{}), localbroker.New(localbroker.Limits{})
		settings := pubsub.Settings{History: 1000, HistoryAge: 1000 * time.Hour}
		s, err := pubsub.New(pubsub.Config{
			Broker: engine, Authorizer: auth.AuthorizerFunc(allowAll), Default: &settings,
			Groups: kept.Groups(), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		if err := s.Start(ctx, nobody{}); err != nil {
			t.Fatal(err)
		}
		day := 24 * time.Hour
		ann, feed := member(t, s, "$share/g/a")
		<-time.NewTimer(8 * day).C
		publish(t, s, "a", "1")
		synctest.Wait()
		feed.Close()
		<-time.NewTimer(6 * day).C
		publish(t, s, "a", "2")
		bob, feed := member(t, s, "$share/g/a")
		synctest.Wait()
		if got := payloads(bob.all()); !slices.Equal(got, []string{"1", "2"}) || len(ann.all()) != 1 {
			t.Errorf("after six days came %q", got)
		}
		feed.Close()
		<-time.NewTimer(8 * day).C
		publish(t, s, "a", "3")
		cid, feed := member(t, s, "$share/g/a")
		synctest.Wait()
		if got := payloads(cid.all()); len(got) != 0 {
			t.Errorf("after eight days came %q", got)
		}
		feed.Close()
		stop()
		s.Wait()
		if err := errors.Join(engine.Close(t.Context()), kept.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}
