package session

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/session/signin"
	"github.com/parleyhq/parley/topic"
)

// This file is about people rather than connections: everything that goes by
// user or role.

// ofUser returns the sessions of one person.
func (m *Manager) ofUser(user string) []*Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(m.devices(user))
}

// Online reports whether a person has a connection to this node.
func (m *Manager) Online(user string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.users[user] != nil
}

// DeliverDirect hands d to those a direct topic names: $user/…, $session/…,
// $role/… or $all. It returns how many they were.
func (m *Manager) DeliverDirect(name topic.Name, d *hub.Delivery) int {
	n := 0
	for _, s := range m.named(string(name)) {
		if !s.isWelcomed() || d.Message != nil && d.Message.Except != "" && d.Message.Except == s.id {
			continue
		}
		s.Deliver(d)
		n++
	}
	return n
}

// isWelcomed reports whether the answer to connect is queued. Who has got that
// answer finds it true.
func (s *Session) isWelcomed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.welcomed
}

func (m *Manager) named(name string) []*Session {
	if user, ok := strings.CutPrefix(name, pubsub.UserPrefix); ok {
		return m.ofUser(user)
	}
	if id, ok := strings.CutPrefix(name, pubsub.SessionPrefix); ok {
		m.mu.RLock()
		defer m.mu.RUnlock()
		if s := m.sessions[id]; s != nil {
			return []*Session{s}
		}
		return nil
	}
	if role, ok := strings.CutPrefix(name, pubsub.RolePrefix); ok {
		return slices.DeleteFunc(m.all(), func(s *Session) bool { return !s.Identity().HasRole(role) })
	}
	if name == pubsub.Everybody {
		return m.all()
	}
	return nil
}

// Disconnect ends all connections of a person and returns how many there
// were. They do not come back by themselves, and what was kept for the person's
// sessions is gone for good when it returns without an error.
func (m *Manager) Disconnect(ctx context.Context, user, why string) (int, error) {
	m.mu.Lock()
	m.revoked[user] = m.now()
	m.mu.Unlock()
	n := m.DisconnectWhere(user, why, func(auth.Identity) bool { return true })
	return n, m.vault.ForgetUser(ctx, user)
}

// DisconnectWhere ends those connections of a person whose identity ok
// accepts, such as those of one login, and returns how many there were.
func (m *Manager) DisconnectWhere(user, why string, ok func(auth.Identity) bool) int {
	n := 0
	for _, s := range m.ofUser(user) {
		if !ok(s.Identity()) {
			continue
		}
		s.conn.Reply(protocol.Disconnected.Errorf("%s", why).Reply(0))
		s.leave(protocol.Disconnected, 0)
		n++
	}
	return n
}

// Reauthorize asks who a person is now, if the manager was told how, and checks
// anew what they are subscribed to. It ends what they may no longer receive,
// and the connections of one who is nobody any more, and returns how many
// subscriptions ended.
func (m *Manager) Reauthorize(ctx context.Context, user string) int {
	m.mu.Lock()
	m.changed[user] = m.now()
	m.mu.Unlock()
	sessions := m.ofUser(user)
	n := 0
	if m.Identify != nil {
		who, err := signin.Ask(ctx, m.Identify, user)
		if err != nil {
			for _, s := range sessions {
				n += s.describe().Subscriptions
			}
			m.Log.InfoContext(ctx, "a user is disconnected who could not be identified", "user", user, "error", err)
			m.DisconnectWhere(user, ClientError(err).Message, func(auth.Identity) bool { return true })
			return n
		}
		for _, s := range sessions {
			s.become(who)
		}
	}
	for _, s := range sessions {
		n += s.reauthorize(ctx)
	}
	return n
}

// recheck gives a session that has just connected the rights of its user, if
// they were changed while it said who it is.
func (m *Manager) recheck(ctx context.Context, s *Session) {
	m.mu.RLock()
	late := m.Identify != nil && m.changed[s.user] > s.since
	m.mu.RUnlock()
	if late {
		m.Reauthorize(ctx, s.user)
	}
}

// Stats are counts since the start, and of the moment.
type Stats struct {
	Open, Users, Detached            int
	Accepted, Resumed, Errors, Calls uint64
	Ended, Refused                   map[string]uint64 // by reason; refused are handshakes that Admit did not let in
	DroppedEvents                    uint64
	Draining                         bool
}

// Stats returns the counts.
func (m *Manager) Stats() Stats {
	st := Stats{
		Accepted: m.counts.accepted.Load(), Resumed: m.counts.resumed.Load(), Errors: m.counts.errors.Load(),
		Calls: m.counts.calls.Load(), Ended: m.counts.ended.All(), Refused: m.counts.refused.All(), DroppedEvents: m.events.Dropped(),
	}
	st.Detached = m.volatile.Len()
	m.mu.RLock()
	defer m.mu.RUnlock()
	st.Open, st.Users, st.Draining = len(m.open), len(m.users), m.draining
	return st
}

// Described is one connection, as an operator sees it.
type Described struct {
	Session, User, Transport, Address, Device string
	Since                                     time.Time
	Subscriptions                             int
}

// Sessions describes up to limit connections, of one user or of all ("").
func (m *Manager) Sessions(user string, limit int) []Described {
	sessions := m.all()
	if user != "" {
		sessions = m.ofUser(user)
	}
	out := make([]Described, 0, min(limit, len(sessions)))
	for _, s := range sessions {
		if len(out) == limit {
			break
		}
		out = append(out, s.describe())
	}
	return out
}
