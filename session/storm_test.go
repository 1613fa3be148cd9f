package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore"
)

// counted counts what is written.
type counted struct {
	store.Store

	saves, loads atomic.Int64
}

func (c *counted) Sessions() store.Sessions { return countedSessions{c.Store.Sessions(), c} }

type countedSessions struct {
	store.Sessions

	c *counted
}

func (s countedSessions) Save(r *store.Session, done func(error)) {
	s.c.saves.Add(1)
	s.Sessions.Save(r, done)
}

func (s countedSessions) Load(ctx context.Context, id string) (*store.Session, error) {
	s.c.loads.Add(1)
	return s.Sessions.Load(ctx, id)
}

// seat is a connection that waits for the answer to its connect command.
type seat struct {
	session *session.Session
	welcome chan *parleyv1.Connected
}

func (s *seat) Reply(r *parleyv1.Reply) {
	if r.GetConnected() != nil || r.GetError() != nil {
		s.welcome <- r.GetConnected()
	}
}

func (s *seat) Deliver(*hub.Delivery) bool { return true }
func (s *seat) Ready(func()) bool          { return true }
func (s *seat) Close(r protocol.Reason)    { go s.session.End(r) }
func (s *seat) Abort()                     { s.Close(protocol.Lost) }

type house struct {
	*session.Manager

	tb   testing.TB
	data *counted
}

// newHouse returns a manager on a database in a folder.
func newHouse(tb testing.TB) *house {
	tb.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := pebblestore.Open(tb.TempDir(), pebblestore.Options{Log: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	h := &house{tb: tb, data: &counted{Store: db}}
	engine := localbroker.NewDurable(localbroker.Limits{}, db.Log())
	rules, err := auth.NewRules(auth.DefaultRules()...)
	if err != nil {
		tb.Fatal(err)
	}
	topics, err := pubsub.New(pubsub.Config{Broker: engine, Authorizer: rules, Receipts: db.Receipts(), Log: quiet})
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := ticket.NewKeys(make([]byte, 32))
	if err != nil {
		tb.Fatal(err)
	}
	h.Manager = session.NewManager(session.Config{
		PubSub: topics, Router: routing.New(0, nil), Keys: keys, Store: h.data, Log: quiet,
		Limits: session.Limits{AcceptRate: -1, AcceptRateOneIP: -1},
	})
	ctx, stop := context.WithCancel(context.Background())
	if err := topics.Start(ctx, h.Manager); err != nil {
		tb.Fatal(err)
	}
	h.Start()
	tb.Cleanup(func() {
		_ = h.Drain(ctx)
		h.Manager.Close()
		stop()
		topics.Wait()
		_ = engine.Close(context.Background())
		_ = db.Close(context.Background())
	})
	return h
}

// connect returns the connection of the i-th user, and how it was welcomed.
func (h *house) connect(i int, c *parleyv1.Connect) (*seat, *parleyv1.Connected) {
	if err := h.Admit("192.0.2.1"); err != nil {
		h.tb.Error(err)
	}
	s := &seat{welcome: make(chan *parleyv1.Connected, 1)}
	s.session = h.Accept(s, session.Info{Address: "192.0.2.1", Known: true, Identity: auth.Identity{User: fmt.Sprint("u", i)}})
	s.session.Handle([]protocol.Incoming{{ID: 1, Command: &parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: c}}}})
	return s, <-s.welcome
}

// furnish makes n sessions with three subscriptions each, and returns their
// tickets. Nobody holds them then.
func (h *house) furnish(n int) []string {
	tickets := make([]string, n)
	h.each(n, func(i int) {
		s, c := h.connect(i, &parleyv1.Connect{ExpirySeconds: 3600, Subscriptions: []*parleyv1.Subscribe{
			{Topic: fmt.Sprintf("public/own/%d", i), Qos: 1}, {Topic: fmt.Sprintf("public/ten/%d", i/10), Qos: 1}, {Topic: "public/all", Qos: 1},
		}})
		tickets[i] = c.GetSession()
		s.session.End(protocol.Lost)
	})
	for h.data.saves.Load() < int64(2*n) { // with its subscriptions, and when it went
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
	return tickets
}

// each calls f for 0 to n-1, many at a time.
func (h *house) each(n int, f func(i int)) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(n, 256) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	running.Wait()
}

func (h *house) resume(i int, ticket string) *seat {
	s, c := h.connect(i, &parleyv1.Connect{Session: ticket})
	if !c.GetResumed() || len(c.GetSubscriptions()) != 3 {
		h.tb.Errorf("%d: %v", i, c)
	}
	return s
}

// A storm of clients that come back costs one read each, and no write.
func TestAStormOfResumesWritesNothing(t *testing.T) {
	const n = 2000
	h := newHouse(t)
	tickets := h.furnish(n)
	saves, loads := h.data.saves.Load(), h.data.loads.Load()
	h.each(n, func(i int) { h.resume(i, tickets[i]) })
	if wrote, read := h.data.saves.Load()-saves, h.data.loads.Load()-loads; wrote > n/20 || read > n {
		t.Errorf("%d sessions were resumed with %d reads and %d writes", n, read, wrote)
	}
}

// BenchmarkResume is what one resume costs. Beside it it tells how long clients
// wait that come at a thousand a second, and when 10,000 come at once.
func BenchmarkResume(b *testing.B) {
	const n = 10_000
	h := newHouse(b)
	tickets := h.furnish(n)
	waits := make([]time.Duration, n)
	seats := make([]*seat, n)
	var running sync.WaitGroup
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := range n {
		<-pace.C
		running.Go(func() {
			began := time.Now()
			seats[i] = h.resume(i, tickets[i])
			waits[i] = time.Since(began)
		})
	}
	running.Wait()
	slices.Sort(waits)
	h.each(n, func(i int) { seats[i].session.End(protocol.Lost) })
	began := time.Now()
	h.each(n, func(i int) { seats[i] = h.resume(i, tickets[i]) })
	atOnce := time.Since(began)
	b.ResetTimer() // which forgets what was reported
	for i := range b.N {
		at := i % n
		seats[at].session.End(protocol.Lost)
		seats[at] = h.resume(at, tickets[at])
	}
	b.ReportMetric(float64(waits[n/2].Microseconds()), "µs-p50@1000/s")
	b.ReportMetric(float64(waits[n*99/100].Microseconds()), "µs-p99@1000/s")
	b.ReportMetric(atOnce.Seconds()*1000, "ms/10000-at-once")
}
