package session

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
)

// newManager returns a running manager that ends with the test.
func newManager(t *testing.T, l Limits, change ...func(*Config)) *Manager {
	t.Helper()
	engine := localbroker.New(localbroker.Limits{})
	rules, err := auth.NewRules(auth.DefaultRules()...)
	if err != nil {
		t.Fatal(err)
	}
	topics, err := pubsub.New(pubsub.Config{Broker: engine, Authorizer: rules})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ticket.NewKeys(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	c := Config{PubSub: topics, Router: routing.New(0, nil), Keys: keys, Anonymous: true, Limits: l}
	for _, f := range change {
		f(&c)
	}
	m := NewManager(c)
	ctx, stop := context.WithCancel(context.Background())
	if err := topics.Start(ctx, m); err != nil {
		t.Fatal(err)
	}
	m.Start()
	t.Cleanup(func() {
		_ = m.Drain(ctx)
		m.Close()
		stop()
		topics.Wait()
		_ = engine.Close(context.Background())
	})
	return m
}

// line is a connection whose client answers pings while it lives.
type line struct {
	session *Session
	began   time.Time
	input   sync.Mutex // one frame at a time

	mu    sync.Mutex
	alive bool
	pings []time.Duration
	ended chan protocol.Reason
}

func (l *line) Reply(*parleyv1.Reply) {}
func (l *line) Ready(func()) bool     { return true }
func (l *line) Abort()                { l.Close(protocol.Lost) }

func (l *line) Deliver(d *hub.Delivery) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.Event.GetPing() == nil {
		return true
	}
	l.pings = append(l.pings, time.Since(l.began))
	if l.alive {
		go l.say(&parleyv1.Command_Pong{})
	}
	return true
}

func (l *line) Close(r protocol.Reason) {
	select {
	case l.ended <- r:
		go l.session.End(r)
	default:
	}
}

func (l *line) say(c any) {
	in := &parleyv1.Command{}
	switch c := c.(type) {
	case *parleyv1.Command_Pong:
		c.Pong = &parleyv1.Pong{}
		in.Command = c
	case *parleyv1.Command_Connect:
		c.Connect = &parleyv1.Connect{}
		in.Command = c
	case *parleyv1.Command_Ping:
		c.Ping = &parleyv1.Ping{}
		in.Command = c
	}
	l.input.Lock()
	defer l.input.Unlock()
	l.session.Handle([]protocol.Incoming{{ID: 1, Command: in}})
}

// A peer that falls silent is gone within an interval and a timeout, whatever
// the strategy and however far it has backed off; until then it stays.
func TestDeadPeersGo(t *testing.T) {
	for _, strategy := range []HeartbeatStrategy{HeartbeatFixed, HeartbeatAdaptive, HeartbeatOnIdle} {
		t.Run(strategy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const interval, timeout = 10 * time.Second, 4 * time.Second
				m := newManager(t, Limits{HeartbeatInterval: interval, HeartbeatTimeout: timeout, Heartbeat: strategy})
				l := &line{alive: true, began: time.Now(), ended: make(chan protocol.Reason, 1)}
				if err := m.Admit("192.0.2.1"); err != nil {
					t.Fatal(err)
				}
				l.session = m.Accept(l, Info{Address: "192.0.2.1"})
				l.say(&parleyv1.Command_Connect{})
				words := time.NewTicker(3 * time.Second)
				defer words.Stop()
				for range 60 { // three minutes of talking
					<-words.C
					l.say(&parleyv1.Command_Ping{})
				}
				l.mu.Lock()
				l.alive = false
				count := len(l.pings)
				l.mu.Unlock()
				silent := time.Now()
				select {
				case r := <-l.ended:
					if took := time.Since(silent); r != protocol.PingTimeout || took > interval+timeout+3*tick {
						t.Errorf("%s after %v", r.Code, took)
					}
					if took := time.Since(silent); strategy != HeartbeatFixed && took < interval {
						t.Errorf("gone after %v already", took)
					}
				case <-time.After(time.Hour):
					t.Error("it is still there")
				}
				if want := map[HeartbeatStrategy]int{HeartbeatFixed: 17, HeartbeatAdaptive: 4, HeartbeatOnIdle: 0}[strategy]; count < want || count > want+1 {
					t.Errorf("%d pings in three minutes of traffic: %v", count, l.pings)
				}
			})
		})
	}
}

// What may be opened at once is let in, then the rate holds, with a time after
// which it works.
func TestAdmitKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{AcceptRate: -1, AcceptRateOneIP: 2, DrainSpread: time.Second})
		admitted := 0
		var refused *protocol.Error
		for refused == nil {
			if err := m.Admit("192.0.2.1"); err == nil {
				admitted++
				m.Release("192.0.2.1")
			} else if !errors.As(err, &refused) {
				t.Fatal(err)
			}
		}
		if admitted != 2*10 || refused.HTTP != 429 || refused.RetryAfter <= 0 {
			t.Errorf("%d admitted, then %d, again after %v", admitted, refused.HTTP, refused.RetryAfter)
		}
		if m.Admit("192.0.2.2") != nil {
			t.Error("another address is refused too")
		}
		m.Release("192.0.2.2")
		<-time.After(refused.RetryAfter)
		if err := m.Admit("192.0.2.1"); err != nil {
			t.Errorf("after the time told: %v", err)
		}
		m.Release("192.0.2.1")
		if got := m.Stats().Refused[protocol.RateLimited.Code]; got != 1 {
			t.Errorf("%d refusals are counted", got)
		}
	})
}

// A load generator, or a network that comes back, opens 20,000 connections
// from one address as fast as it can.
func TestAdmitIsGenerous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{})
		for i := range 20_000 {
			if err := m.Admit("192.0.2.1"); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			m.Release("192.0.2.1")
		}
	})
}
