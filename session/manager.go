package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/wheel"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session/admission"
	"github.com/parleyhq/parley/session/events"
	"github.com/parleyhq/parley/session/heartbeat"
	"github.com/parleyhq/parley/session/tally"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
)

// tick is how exact heartbeats and expiry are.
const tick = 100 * time.Millisecond

// Config is what a Manager is made of. PubSub, Router and Keys are required.
type Config struct {
	PubSub    *pubsub.Service
	Router    *routing.Router
	Keys      *ticket.Keys  // sign resume tickets
	Tickets   *ticket.Once  // one-use tickets in the connect command; may be nil
	Verifier  auth.Verifier // tokens in the connect command; may be nil
	Anonymous bool          // serve those who do not say who they are
	// Store keeps what outlives connections. It is the caller's to close, after
	// the manager. nil: within the process.
	Store store.Store
	// Identify returns who a user is at the moment, for Reauthorize; may be nil.
	Identify func(ctx context.Context, user string) (auth.Identity, error)
	Limits   Limits
	Node     string
	Log      *slog.Logger
}

// Event tells that a client has connected or disconnected.
type Event = events.Event

// Manager holds the sessions of a node. Methods may be called concurrently.
type Manager struct {
	Config
	wheel  *wheel.Wheel
	pace   heartbeat.Pace
	quiet  heartbeat.Pace // of those that are never pinged
	began  time.Time      // what moments count from
	ping   *hub.Delivery
	events *events.Queue
	base   context.Context // of requests; ends with the manager
	cancel context.CancelFunc

	mu        sync.RWMutex // taken before a session's own
	sessions  map[string]*Session
	users     map[string]*Session // the first of a user's; the others hang on it
	addresses map[string]int
	open      map[*Session]struct{} // accepted, whether connected or not
	admitted  int                   // handshakes let in, neither accepted nor given up yet
	draining  bool
	empty     chan struct{} // closed when draining and nothing is open or admitted
	admission *admission.Gate
	revoked   map[string]heartbeat.Moment // when somebody was disconnected of late
	changed   map[string]heartbeat.Moment // when somebody's rights were looked at of late

	vault    *vault.Vault
	volatile *memorystore.Store

	background sync.WaitGroup
	calls      sync.WaitGroup
	writing    sync.WaitGroup
	kept       context.Context // ends when nothing more is to be kept
	endWriting context.CancelFunc
	counts     counts
}

type counts struct {
	accepted, resumed, errors, calls atomic.Uint64
	ended, refused                   tally.Counts // by the code of the reason
}

// NewManager returns a manager. Start must be called.
func NewManager(c Config) *Manager {
	c.Limits = c.Limits.WithDefaults()
	c.Log = cmp.Or(c.Log, slog.Default())
	m := &Manager{
		Config: c, wheel: wheel.New(tick), began: time.Now().Add(-time.Second), // no moment is 0
		pace: heartbeat.Pace{
			Interval: c.Limits.HeartbeatInterval, Timeout: c.Limits.HeartbeatTimeout, Idle: c.Limits.IdleTimeout, Strategy: c.Limits.Heartbeat,
		},
		quiet:     heartbeat.Pace{Interval: heartbeat.Never, Idle: c.Limits.IdleTimeout},
		ping:      &hub.Delivery{Event: &parleyv1.Reply{Reply: &parleyv1.Reply_Ping{Ping: &parleyv1.Ping{}}}},
		sessions:  make(map[string]*Session),
		users:     make(map[string]*Session),
		addresses: make(map[string]int),
		open:      make(map[*Session]struct{}),
		empty:     make(chan struct{}),
		revoked:   make(map[string]heartbeat.Moment),
		changed:   make(map[string]heartbeat.Moment),
	}
	m.events = events.New(c.Log)
	m.admission = admission.New(c.Limits.AcceptRate, c.Limits.AcceptRateOneIP)
	m.volatile = memorystore.New(memorystore.Limits{Sessions: c.Limits.DetachedSessions})
	if m.Store == nil {
		m.Store = memorystore.New(memorystore.Limits{})
	}
	m.vault = vault.New(m.Store.Sessions(), m.volatile.Sessions(), c.Log)
	m.base, m.cancel = context.WithCancel(context.Background())
	m.kept, m.endWriting = context.WithCancel(context.Background())
	return m
}

// OnEvent adds a hook that is called with every event, one at a time.
func (m *Manager) OnEvent(f func(Event)) { m.events.Add(f) }

// Start begins keeping time. What runs ends with Close.
func (m *Manager) Start() {
	m.background.Go(func() { m.wheel.Run(m.base) })
	m.background.Go(func() { m.events.Run(m.base) })
	m.background.Go(func() { m.sweep(m.base) })
	m.writing.Go(func() { m.vault.Run(m.kept) })
}

func (m *Manager) now() heartbeat.Moment { return m.momentOf(time.Now()) }

func (m *Manager) momentOf(t time.Time) heartbeat.Moment { return heartbeat.Moment(t.Sub(m.began)) }

func (m *Manager) timeOf(at heartbeat.Moment) time.Time { return m.began.Add(time.Duration(at)) }

// expiryOf returns when an identity stops being valid; none for never.
func (m *Manager) expiryOf(who auth.Identity) heartbeat.Moment {
	if who.Expires.IsZero() {
		return 0
	}
	return max(m.momentOf(who.Expires), 1)
}

// Admit lets a connection from address in, or tells why not, before the
// handshake is answered. What it let in counts as a connection from then on:
// Accept or Release must follow.
func (m *Manager) Admit(address string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if refused := m.refusal(address); refused != nil {
		m.counts.refused.Add(refused.Code)
		return refused
	}
	m.admitted++
	m.addresses[address]++
	return nil
}

// TryAdmit is Admit for who asks again, with Admit, when the answer is no: only
// then is it counted as a refusal.
func (m *Manager) TryAdmit(address string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusal(address) != nil {
		return false
	}
	m.admitted++
	m.addresses[address]++
	return true
}

// refusal tells why a connection from address cannot be let in; nil when it
// can. mu is held.
func (m *Manager) refusal(address string) *protocol.Error {
	switch {
	case m.draining:
		return protocol.Draining.Errorf("this node is shutting down: connect again").After(m.Limits.DrainSpread)
	case m.Limits.ConnectionsNode > 0 && len(m.open)+m.admitted >= m.Limits.ConnectionsNode:
		return protocol.Overloaded.Errorf("this node has all the connections it may: try again later").After(m.Limits.DrainSpread)
	case m.Limits.ConnectionsOneIP > 0 && m.addresses[address] >= m.Limits.ConnectionsOneIP:
		return protocol.RateLimited.Errorf("too many connections from %s: at most %d", address, m.Limits.ConnectionsOneIP).After(m.Limits.DrainSpread)
	}
	wait, node := m.admission.Take(address, time.Duration(m.now()))
	switch {
	case wait == 0:
		return nil
	case node:
		flood := protocol.RateLimited.Errorf("more than %d connections a second are opened on this node: try again later", m.Limits.AcceptRate)
		return flood.After(wait + m.spread())
	default:
		flood := protocol.RateLimited.Errorf("more than %d connections a second come from %s: try again later", m.Limits.AcceptRateOneIP, address)
		return flood.After(wait + m.spread())
	}
}

// Release takes back what Admit let in, when its handshake came to nothing.
func (m *Manager) Release(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.admitted--
	m.gone(address)
}

// gone counts one connection less; mu is held.
func (m *Manager) gone(address string) {
	if m.addresses[address]--; m.addresses[address] <= 0 {
		delete(m.addresses, address)
	}
	if m.draining && m.admitted == 0 && len(m.open) == 0 {
		close(m.empty)
	}
}

// Accept begins the session of a new connection that Admit has let in. The
// transport then calls Handle for every frame and End when the connection is
// over.
func (m *Manager) Accept(conn Conn, info Info) *Session {
	s := &Session{m: m, conn: conn, transport: info.Transport, address: info.Address, byDevice: info.ByDevice}
	if info.Known {
		who := info.Identity
		s.identity = &who
	}
	s.live.Pace = &m.pace
	if info.Quiet {
		s.live.Pace = &m.quiet
	}
	s.live.ConnectBy = m.now().Add(m.Limits.ConnectTimeout)
	m.counts.accepted.Add(1)
	m.mu.Lock()
	m.admitted--
	m.open[s] = struct{}{}
	draining := m.draining
	m.mu.Unlock()
	if draining {
		s.part()
		return s
	}
	m.wheel.Set(&s.timer, m.Limits.ConnectTimeout, s.onTimer)
	return s
}

// holder returns the session that a connection holds under an id, if any.
func (m *Manager) holder(id string) *Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sessions[id]
}

// errMoved tells that a session is not held any more as it was.
var errMoved = errors.New("the session has ended meanwhile")

// enter registers a session that connects, in place of older, which holds the
// same id; nil for none.
func (m *Manager) enter(s *Session, older *Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	devices := 0
	for range m.devices(s.user) {
		devices++
	}
	if older != nil {
		devices--
	}
	switch {
	case m.draining:
		return protocol.Draining.Errorf("this node is shutting down: connect again").After(m.Limits.DrainSpread)
	case m.sessions[s.id] != older:
		return errMoved
	case s.user != "" && devices >= m.Limits.ConnectionsUser:
		return protocol.LimitReached.Errorf("%d connections are open for this user, at most %d: close one", devices, m.Limits.ConnectionsUser)
	case s.user != "" && m.revoked[s.user] > s.since: // who it is was asked before that
		return protocol.Disconnected.Errorf("disconnected while connecting")
	}
	if older != nil {
		m.forget(older)
	}
	m.sessions[s.id] = s
	if s.user != "" {
		s.next = m.users[s.user]
		m.users[s.user] = s
	}
	return nil
}

// forget takes a session out of the indexes; mu is held.
func (m *Manager) forget(s *Session) {
	if m.sessions[s.id] != s {
		return
	}
	delete(m.sessions, s.id)
	var last *Session
	for other := range m.devices(s.user) {
		if other != s {
			last = other
			continue
		}
		switch {
		case last != nil:
			last.next = s.next
		case s.next != nil:
			m.users[s.user] = s.next
		default:
			delete(m.users, s.user)
		}
		s.next = nil
		return
	}
}

// devices are the sessions of one user; mu is held.
func (m *Manager) devices(user string) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for s := m.users[user]; s != nil; s = s.next {
			if !yield(s) {
				return
			}
		}
	}
}

// left unregisters a session that has ended, and keeps what remains of it.
func (m *Manager) left(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.id] == s {
		s.lay()
	}
	m.forget(s)
	delete(m.open, s)
	m.gone(s.address)
}

// flushing is how long what was answered at the very end has to leave.
const flushing = 500 * time.Millisecond

// Drain refuses new connections and asks every client to leave, as soon as the
// requests it has under way are answered, then waits until they have. When ctx
// ends first, those requests are cancelled and answered with that, and what is
// still there a moment later is cut off.
func (m *Manager) Drain(ctx context.Context) error {
	m.mu.Lock()
	if !m.draining && m.admitted == 0 && len(m.open) == 0 {
		close(m.empty)
	}
	m.draining = true
	m.mu.Unlock()
	for _, s := range m.accepted() {
		s.part()
	}
	select {
	case <-m.empty:
		return nil
	case <-ctx.Done():
	}
	m.cancel()
	late := time.NewTimer(flushing)
	defer late.Stop()
	select {
	case <-m.empty:
	case <-late.C:
		for _, s := range m.accepted() {
			s.conn.Abort()
		}
	}
	return ctx.Err()
}

// spread is how long one client waits before it comes back, so that not all
// come at once.
func (m *Manager) spread() time.Duration {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	part := uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	return time.Duration(uint64(m.Limits.DrainSpread) * part >> 24)
}

// Close cancels the requests under way and waits for everything the manager
// began. Sessions must have been drained before.
func (m *Manager) Close() {
	m.cancel()
	m.endWriting()
	m.writing.Wait()
	m.calls.Wait()
	m.background.Wait()
}

// sweepEvery is how often sessions are looked for whose time is up.
const sweepEvery = 10 * time.Second

// sweep forgets sessions whose time is up, and has those saved anew in time
// that are still held: what a crash leaves must not look as if nobody had been
// there for long.
func (m *Manager) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for _, s := range m.all() {
			s.renew(now)
		}
		err := m.vault.Sweep(ctx, now, func(id string) bool {
			s := m.holder(id)
			if s != nil {
				s.resave()
			}
			return s != nil
		})
		if err != nil && ctx.Err() == nil {
			m.Log.Error("sessions whose time is up could not be removed", "error", err)
		}
		m.mu.Lock()
		old := func(_ string, at heartbeat.Moment) bool { return m.momentOf(now).Sub(at) > time.Minute }
		maps.DeleteFunc(m.revoked, old)
		maps.DeleteFunc(m.changed, old)
		m.mu.Unlock()
	}
}

// all returns the sessions that have connected.
func (m *Manager) all() []*Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Values(m.sessions))
}

// accepted returns the sessions of all connections, those included that have
// not said connect yet or that a newer connection has taken over.
func (m *Manager) accepted() []*Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Keys(m.open))
}
