package session

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
)

// heard is a connection that keeps what it was told.
type heard struct {
	session *Session
	first   chan *parleyv1.Reply // the answer to connect

	mu    sync.Mutex
	said  []*parleyv1.Reply
	ended *protocol.Reason
}

func (h *heard) Reply(r *parleyv1.Reply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return
	}
	if h.said = append(h.said, r); len(h.said) == 1 {
		h.first <- r
	}
}

func (h *heard) Deliver(*hub.Delivery) bool { return true }
func (h *heard) Ready(func()) bool          { return true }
func (h *heard) Abort()                     { h.Close(protocol.Lost) }

func (h *heard) Close(r protocol.Reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.ended = &r
		go h.session.End(r)
	}
}

func (h *heard) why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		return ""
	}
	return h.ended.Code
}

// last returns the newest reply.
func (h *heard) last() *parleyv1.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.said) == 0 {
		return nil
	}
	return h.said[len(h.said)-1]
}

func (h *heard) do(cs ...*parleyv1.Command) {
	frame := make([]protocol.Incoming, len(cs))
	for i, c := range cs {
		frame[i] = protocol.Incoming{ID: uint64(i + 1), Command: c}
	}
	h.session.Handle(frame)
}

func arrive(tb testing.TB, m *Manager, user string) *heard {
	tb.Helper()
	if err := m.Admit("192.0.2.1"); err != nil {
		tb.Fatal(err)
	}
	h := &heard{first: make(chan *parleyv1.Reply, 1)}
	h.session = m.Accept(h, Info{Address: "192.0.2.1", Known: true, Identity: auth.Identity{User: user, Roles: []string{"member"}, Claims: map[string]any{"login": 7}}})
	return h
}

func come(tb testing.TB, m *Manager, user string, c *parleyv1.Connect) (*heard, *parleyv1.Connected) {
	tb.Helper()
	h := arrive(tb, m, user)
	h.do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: c}})
	return h, (<-h.first).GetConnected()
}

func wanting(qos uint32) []*parleyv1.Subscribe {
	return []*parleyv1.Subscribe{{Topic: "public/1", Qos: qos}}
}

// How long a session is kept is what the client asked for, or what suits what
// it does, within what the server allows; not a moment less, and then it is
// gone.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{ResumeWindow: time.Minute, SessionExpiry: 10 * time.Hour, HeartbeatInterval: 1000 * time.Hour})
		for name, tc := range map[string]struct {
			c    *parleyv1.Connect
			want time.Duration
		}{
			"nothing":             {&parleyv1.Connect{}, time.Minute},
			"a device":            {&parleyv1.Connect{Device: "d0"}, time.Minute},
			"QoS 1":               {&parleyv1.Connect{Subscriptions: wanting(1)}, time.Minute},
			"a device with QoS 1": {&parleyv1.Connect{Device: "d1", Subscriptions: wanting(1)}, 10 * time.Hour},
			"asked":               {&parleyv1.Connect{ExpirySeconds: 7200, Subscriptions: wanting(1)}, 2 * time.Hour},
			"asked, at QoS 0":     {&parleyv1.Connect{ExpirySeconds: 7200, Subscriptions: wanting(0)}, 2 * time.Hour},
			"too much":            {&parleyv1.Connect{ExpirySeconds: 1 << 60, Subscriptions: wanting(1)}, 10 * time.Hour},
			"little":              {&parleyv1.Connect{Device: "d2", ExpirySeconds: 5, Subscriptions: wanting(1)}, 5 * time.Second},
		} {
			for _, after := range []time.Duration{-time.Millisecond, 0} {
				user := fmt.Sprint(name, after)
				first, answer := come(t, m, user, tc.c)
				if got := time.Duration(answer.GetExpirySeconds()) * time.Second; got != tc.want {
					t.Errorf("%s: %v, want %v", name, got, tc.want)
				}
				first.Abort()
				synctest.Wait()
				<-time.NewTimer(tc.want + after).C
				again, back := come(t, m, user, &parleyv1.Connect{Session: answer.GetSession()})
				if back.GetResumed() != (after < 0) {
					t.Errorf("%s: resumed %v, %v away from its end", name, back.GetResumed(), after)
				}
				if back.GetResumed() && back.GetExpirySeconds() != answer.GetExpirySeconds() {
					t.Errorf("%s: then %d seconds", name, back.GetExpirySeconds())
				}
				again.Abort()
				synctest.Wait()
			}
		}
		<-time.NewTimer(11 * time.Hour).C
		if ids, err := m.Store.Sessions().Expired(t.Context(), time.Now(), 100); err != nil || len(ids) > 0 || m.volatile.Len() > 0 {
			t.Errorf("left in the store: %q, %v; in memory %d", ids, err, m.volatile.Len())
		}
	})
}

// A session that is held is saved anew from time to time, so a crash after
// months of connection leaves it as long as ever.
func TestHeldSessionsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{HeartbeatInterval: 1000 * time.Hour})
		_, answer := come(t, m, "ada", &parleyv1.Connect{ExpirySeconds: 3600, Subscriptions: wanting(1)})
		for range 20 {
			<-time.NewTimer(30 * time.Minute).C
			id := m.ofUser("ada")[0].ID()
			r, err := m.Store.Sessions().Load(t.Context(), id)
			if err != nil || time.Since(r.Seen) > time.Hour/renewals+2*sweepEvery {
				t.Fatalf("seen %v ago, %v", time.Since(r.Seen), err)
			}
		}
		if answer.GetExpirySeconds() != 3600 {
			t.Errorf("kept for %d seconds", answer.GetExpirySeconds())
		}
	})
}

// Subscriptions at QoS 1 are answered when they are durable, in their order,
// and the connection goes on meanwhile.
func TestAnswersWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &stuck{Store: memorystore.New(memorystore.Limits{})}
		m := newManager(t, Limits{}, func(c *Config) { c.Store, c.Log = slow, slog.New(slog.DiscardHandler) })
		c, _ := come(t, m, "ada", &parleyv1.Connect{})
		sub := func(topic string, qos uint32) *parleyv1.Command {
			return &parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic, Qos: qos}}}
		}
		go c.do(sub("public/1", 1), sub("public/2", 1),
			&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: "public/1"}}},
			&parleyv1.Command{Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}},
			sub("public/3", 0))
		ids := func() (out []uint64) {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, r := range c.said[1:] {
				out = append(out, r.GetId())
			}
			return out
		}
		if got := ids(); !slices.Equal(got, []uint64{3, 4}) {
			t.Errorf("answered before the store: %v", got)
		}
		slow.release()
		if got := ids(); !slices.Equal(got, []uint64{3, 4, 1, 2, 5}) {
			t.Errorf("then: %v", got)
		}
		slow.fail(store.ErrFull)
		c.do(sub("public/4", 1))
		synctest.Wait()
		if e := c.last().GetError(); e.GetCode() != protocol.Overloaded.Code {
			t.Errorf("a store that is full: %v", c.last())
		}
		if d := c.session.describe(); d.Subscriptions != 3 {
			t.Errorf("%d subscriptions", d.Subscriptions)
		}
		lost, _ := come(t, m, "bob", &parleyv1.Connect{Subscriptions: wanting(1)})
		synctest.Wait()
		if lost.why() != protocol.Overloaded.Code {
			t.Errorf("a connect that could not be kept ended with %q", lost.why())
		}
	})
}

// Rights that are withdrawn while somebody subscribes are withdrawn: whichever
// comes first, no subscription is left that is not allowed.
func TestRightsWithdrawnWhileSubscribing(t *testing.T) {
	m := newManager(t, Limits{})
	var allowed atomic.Bool
	m.PubSub.Decide("room/#", auth.AuthorizerFunc(func(context.Context, auth.Identity, auth.Action, string) error {
		if !allowed.Load() {
			return &auth.Error{Code: auth.CodeForbidden, Message: "not any more"}
		}
		return nil
	}))
	c, _ := come(t, m, "ada", &parleyv1.Connect{})
	for i := range 300 {
		allowed.Store(true)
		var running sync.WaitGroup
		running.Go(func() {
			c.do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "room/1", Qos: uint32(i % 2)}}})
		})
		running.Go(func() {
			allowed.Store(false)
			m.Reauthorize(t.Context(), "ada")
		})
		running.Wait()
		if d := c.session.describe(); d.Subscriptions != 0 {
			t.Fatalf("round %d: still subscribed", i)
		}
		if l := c.session.last.Load(); l != nil {
			l.answers.Wait(t.Context())
			l.errors = nil // its mistakes are not what this is about
		}
	}
}

// The narrow case: the right is there when it is asked for, and withdrawn before
// there is a subscription that could be ended.
func TestRightsWithdrawnInBetween(t *testing.T) {
	m := newManager(t, Limits{})
	calls := 0
	m.PubSub.Decide("room/#", auth.AuthorizerFunc(func(ctx context.Context, _ auth.Identity, _ auth.Action, _ string) error {
		if calls++; calls > 1 {
			return &auth.Error{Code: auth.CodeForbidden, Message: "not any more"}
		}
		m.Reauthorize(ctx, "ada") // finds nothing to end
		return nil
	}))
	c, _ := come(t, m, "ada", &parleyv1.Connect{})
	c.do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "room/1"}}})
	if e := c.last().GetError(); e.GetCode() != protocol.Forbidden.Code || c.session.describe().Subscriptions != 0 {
		t.Errorf("%v, %d subscriptions", c.last(), c.session.describe().Subscriptions)
	}
}

// Whoever connects while they are thrown out is thrown out as well.
func TestDisconnectedWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{})
		asked, answer := make(chan struct{}), make(chan struct{})
		m.Verifier = auth.VerifierFunc(func(context.Context, string) (auth.Identity, error) {
			close(asked)
			<-answer
			return auth.Identity{User: "ada"}, nil
		})
		h := arrive(t, m, "nobody")
		go h.do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: "t"}}})
		<-asked
		<-time.NewTimer(time.Millisecond).C
		if n, err := m.Disconnect(t.Context(), "ada", "banned"); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		close(answer)
		synctest.Wait()
		if h.why() != protocol.Disconnected.Code {
			t.Errorf("ended with %q", h.why())
		}
		if _, c := come(t, m, "ada", &parleyv1.Connect{}); c == nil {
			t.Error("who signs in afterwards is refused as well")
		}
	})
}

// Rights that change while somebody says who they are, are those they have.
func TestRightsChangedWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan struct{}), make(chan struct{})
		m := newManager(t, Limits{}, func(c *Config) {
			c.Identify = func(_ context.Context, user string) (auth.Identity, error) { return auth.Identity{User: user}, nil }
			c.Verifier = auth.VerifierFunc(func(context.Context, string) (auth.Identity, error) {
				close(asked)
				<-answer
				return auth.Identity{User: "ada", Roles: []string{"admin"}}, nil
			})
		})
		h := arrive(t, m, "nobody")
		go h.do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: "t"}}})
		<-asked
		<-time.NewTimer(time.Millisecond).C
		m.Reauthorize(t.Context(), "ada") // no admin any more
		close(answer)
		synctest.Wait()
		if who := h.session.Identity(); who.User != "ada" || who.HasRole("admin") || h.why() != "" {
			t.Errorf("%+v, %q", who, h.why())
		}
	})
}

// What somebody has asked for is answered before a drain sends them away: by
// the handler, or, when that takes too long, with why not.
func TestDrainAnswersFirst(t *testing.T) {
	for name, patient := range map[string]bool{"in time": true, "too late": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, Limits{})
				release := make(chan struct{})
				err := m.Router.Handle("wait", func(ctx context.Context, _ *routing.Request) ([]byte, error) {
					select {
					case <-release:
						return []byte(`"done"`), nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				busy, _ := come(t, m, "ada", &parleyv1.Connect{})
				idle, _ := come(t, m, "bob", &parleyv1.Connect{})
				busy.do(&parleyv1.Command{Command: &parleyv1.Command_Call{Call: &parleyv1.Call{Type: "wait"}}})
				ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
				defer stop()
				drained := make(chan error, 1)
				go func() { drained <- m.Drain(ctx) }()
				synctest.Wait()
				if idle.why() != protocol.Draining.Code || busy.why() != "" {
					t.Errorf("idle %q, busy %q", idle.why(), busy.why())
				}
				busy.do(&parleyv1.Command{Command: &parleyv1.Command_Call{Call: &parleyv1.Call{Type: "wait"}}})
				if e := busy.last().GetError(); e.GetCode() != protocol.Draining.Code {
					t.Errorf("something new: %v", busy.last())
				}
				if patient {
					close(release)
				}
				if err := <-drained; (err == nil) != patient {
					t.Errorf("drained: %v", err)
				}
				answered := slices.ContainsFunc(busy.said, func(r *parleyv1.Reply) bool {
					return patient && r.GetResult() != nil || !patient && strings.Contains(r.GetError().GetMessage(), "the server is")
				})
				if !answered || busy.why() != protocol.Draining.Code {
					t.Errorf("told %v, ended with %q", busy.said, busy.why())
				}
			})
		})
	}
}

// A drain waits for answers that wait for the store.
func TestDrainWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &stuck{Store: memorystore.New(memorystore.Limits{})}
		m := newManager(t, Limits{}, func(c *Config) { c.Store = slow })
		h, _ := come(t, m, "ada", &parleyv1.Connect{})
		h.do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "public/1", Qos: 1}}})
		drained := make(chan error, 1)
		go func() { drained <- m.Drain(t.Context()) }()
		synctest.Wait()
		if h.why() != "" {
			t.Errorf("ended with %q before it was answered", h.why())
		}
		slow.release()
		if err := <-drained; err != nil || h.said[1].GetSubscribed() == nil || h.why() != protocol.Draining.Code {
			t.Errorf("%v, told %v, %q", err, h.said, h.why())
		}
	})
}

// The rate is that of commands, not of frames.
func TestManyCommandsInOneFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Limits{CommandsPerSecond: 10})
		h, _ := come(t, m, "ada", &parleyv1.Connect{})
		frame := make([]*parleyv1.Command, 30)
		for i := range frame {
			frame[i] = &parleyv1.Command{Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}}
		}
		h.do(frame...)
		pongs, refused := 0, 0
		for _, r := range h.said[1:] {
			switch {
			case r.GetPong() != nil:
				pongs++
			case r.GetError().GetCode() == protocol.RateLimited.Code:
				refused++
			}
		}
		if pongs != 19 || refused != 11 { // twenty at once, connect among them
			t.Errorf("%d answered, %d refused", pongs, refused)
		}
	})
}

// What an application says about somebody now goes to all their connections;
// what came with each sign-in stays.
func TestBecome(t *testing.T) {
	m := newManager(t, Limits{})
	m.Identify = func(_ context.Context, user string) (auth.Identity, error) {
		return auth.Identity{User: user, Roles: []string{"admin"}, Claims: map[string]any{"lang": "zh"}}, nil
	}
	h, _ := come(t, m, "ada", &parleyv1.Connect{})
	m.Reauthorize(t.Context(), "ada")
	who := h.session.Identity()
	if !slices.Equal(who.Roles, []string{"admin"}) || who.Claims["login"] != 7 || who.Claims["lang"] != "zh" {
		t.Errorf("%+v", who)
	}
}

// stuck is a store whose writes of sessions wait, or fail.
type stuck struct {
	store.Store

	mu      sync.Mutex
	open    bool
	err     error
	waiting []func()
}

func (s *stuck) release() {
	s.mu.Lock()
	waiting := s.waiting
	s.open, s.waiting = true, nil
	s.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

func (s *stuck) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *stuck) Sessions() store.Sessions { return stuckSessions{s.Store.Sessions(), s} }

type stuckSessions struct {
	store.Sessions

	s *stuck
}

func (s stuckSessions) Save(r *store.Session, done func(error)) {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	switch {
	case s.s.err != nil:
		err := s.s.err
		go done(err)
	case s.s.open:
		s.Sessions.Save(r, done)
	default:
		s.s.waiting = append(s.s.waiting, func() { s.Sessions.Save(r, done) })
	}
}
