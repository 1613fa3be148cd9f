package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
)

// connect is the first command: it says who the client is and, perhaps, which
// session it goes on with.
func (s *Session) connect(id uint64, c *parleyv1.Connect) {
	if s.connected.Load() {
		s.refuse(id, protocol.BadRequest.Errorf("connect was already answered on this connection"))
		return
	}
	ctx := newPatience(s.m.base, s.m.Limits.ConnectTimeout)
	defer ctx.stop()
	who, err := s.identify(ctx, c.GetToken())
	if err != nil {
		s.turnAway(id, err)
		return
	}
	kept, resumed := s.resume(c, who)
	if !resumed {
		s.id = "s-" + rand.Text()
	}
	at := time.Now()
	now := s.m.momentOf(at)
	s.user, s.device, s.since = who.User, c.GetDevice(), now
	s.mu.Lock()
	s.identity = &who // before anybody can find the session by its user
	s.mu.Unlock()
	if err := s.m.enter(s, s.id, who); err != nil {
		if resumed {
			s.m.giveBack(s.id, kept)
		}
		s.turnAway(id, err)
		return
	}
	s.mu.Lock()
	s.live.connectBy, s.live.expires = 0, s.m.expiryOf(who)
	s.live.lastPing, s.live.heard, s.live.waiting = now, now, false
	next := s.live.next(now)
	s.mu.Unlock()
	s.connected.Store(true)
	s.m.wheel.Set(&s.timer, next.Sub(now), s.onTimer)
	s.welcome(ctx, id, c, kept, resumed)
	s.m.events.emit(Event{User: s.user, Session: s.id, Node: s.m.Node, Connected: true, At: at})
}

// turnAway refuses a connect and ends the connection.
func (s *Session) turnAway(id uint64, err error) {
	refusal := ClientError(err)
	s.refuse(id, refusal)
	s.leave(refusal.Reason, refusal.RetryAfter)
}

// identify tells who the client is: by the token, else by the handshake.
func (s *Session) identify(ctx context.Context, token string) (auth.Identity, error) {
	known := s.identity != nil // by the handshake
	who := s.Identity()
	if token != "" {
		var err error
		if who, err = s.verify(ctx, token); err != nil {
			return who, err
		}
		known = true
	}
	switch {
	case known && who.ExpiredAt(time.Now()):
		return who, protocol.TokenExpired.Errorf("the credentials have expired: sign in again or get a new token")
	case !known && !s.m.Anonymous:
		return who, protocol.Unauthorized.Errorf(
			"sign in first: send a token in connect.token, or open the connection with a session cookie or an Authorization header")
	}
	return who, nil
}

func (s *Session) verify(ctx context.Context, token string) (auth.Identity, error) {
	if ticket.Is(token) && s.m.Tickets != nil {
		return s.m.Tickets.Redeem(ctx, token)
	}
	if s.m.Verifier == nil {
		return auth.Identity{}, protocol.Unauthorized.Errorf("this server takes no tokens: open the connection with a session cookie or a one-use ticket")
	}
	who, err := judge(ctx, s.m.Verifier, token)
	if err != nil && auth.Code(err) == "" {
		s.m.Log.ErrorContext(ctx, "a token could not be judged", "address", s.address, "error", err)
	}
	return who, err
}

// judge turns a panic of the application's verifier into an error.
func judge(ctx context.Context, v auth.Verifier, token string) (who auth.Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			who, err = auth.Identity{}, fmt.Errorf("the verifier panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return v.Verify(ctx, token)
}

// ClientError turns a refusal of any floor into one fit for the client.
func ClientError(err error) *protocol.Error {
	if known, ok := errors.AsType[*protocol.Error](err); ok {
		return known
	}
	var refused *auth.Error
	if !errors.As(err, &refused) {
		return protocol.Internal.Hide(err, "the request could not be answered: try again later")
	}
	switch refused.Code {
	case auth.CodeTokenExpired, auth.CodeTicketExpired:
		return protocol.TokenExpired.Hide(err, refused.Message)
	case auth.CodeForbidden, auth.CodeOrigin:
		return protocol.Forbidden.Hide(err, refused.Message)
	}
	return protocol.Unauthorized.Hide(err, refused.Message)
}

// resume finds the session that the client's ticket names: detached, or still
// held by an older connection that does not know yet that it is dead.
func (s *Session) resume(c *parleyv1.Connect, who auth.Identity) (record, bool) {
	if c.GetSession() == "" {
		return record{}, false
	}
	r, err := s.m.Keys.VerifyResume(c.GetSession())
	if err != nil || r.User != who.User {
		return record{}, false // it starts anew and is told so
	}
	kept, ok := s.m.reclaim(r.Session, who.User)
	if !ok {
		return record{}, false
	}
	s.id = r.Session
	s.m.counts.resumed.Add(1)
	if c.GetClean() {
		return record{}, false
	}
	return kept, true
}

// reclaim returns the subscriptions of a session that is to go on.
func (m *Manager) reclaim(id, user string) (record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, ok := m.detached.take(id, user, time.Now())
	old := m.sessions[id]
	if old == nil || old.user != user {
		return kept, ok
	}
	return old.record() // before the lock is left: until then it cannot become detached
}

// giveBack keeps what reclaim returned for a connection that was turned away.
func (m *Manager) giveBack(id string, r record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[id] == nil {
		m.detached.put(id, r, time.Now())
	}
}

// record returns what a newer connection goes on with; false when the session
// was ended for good and its connection merely lingers.
func (s *Session) record() (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving != nil && s.leaving.Retry == protocol.RetryNever {
		return record{}, false
	}
	return *s.remains(), true
}

// remains is what outlives the connection; mu is held.
func (s *Session) remains() *record {
	r := &record{user: s.user}
	for sub := range s.subs.all() {
		r.subs = append(r.subs, sub.saved())
	}
	return r
}

// welcome answers a connect: first the answer, with how every subscription
// begins, then what they bring.
func (s *Session) welcome(ctx context.Context, id uint64, c *parleyv1.Connect, kept record, resumed bool) {
	wanted := c.GetSubscriptions()
	restored := len(wanted) == 0
	if restored {
		for _, sub := range kept.subs {
			wanted = append(wanted, sub.wire())
		}
	}
	answer := &parleyv1.Connected{
		User: s.user, Resumed: resumed, Node: s.m.Node,
		PingSeconds: uint32(s.m.pace.promise() / time.Second),
		ExpiresInMs: expiresIn(s.Identity()),
	}
	var feeds []*pubsub.Feed
	for _, w := range wanted {
		feed, started, err := s.subscribe(ctx, w)
		if err != nil {
			started = &parleyv1.Subscribed{Topic: w.GetTopic(), Error: ClientError(err).Wire()}
		} else {
			feeds = append(feeds, feed)
			// What came between the connections is lost to a subscription
			// that goes on from now.
			started.Recovered = started.GetRecovered() && (!restored || w.GetSince() != nil)
		}
		answer.Subscriptions = append(answer.Subscriptions, started)
	}
	text, err := s.m.Keys.SignResume(ticket.Resume{Session: s.id, User: s.user, Expires: time.Now().Add(24 * time.Hour)})
	if err != nil {
		s.m.Log.Error("a resume ticket could not be signed", "error", err)
	}
	answer.Session = text
	s.mu.Lock()
	s.conn.Queue(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Connected{Connected: answer}})
	s.welcomed = true
	s.mu.Unlock()
	s.conn.Flush()
	for _, feed := range feeds {
		s.run(s.m.base, 0, feed) // a client that takes its time with what it missed has connected all the same
	}
}

func (sv saved) wire() *parleyv1.Subscribe {
	w := &parleyv1.Subscribe{Topic: sv.filter, Qos: sv.qos, Presence: sv.presence}
	if sv.at != nil {
		w.Since = protocol.WirePosition(*sv.at)
	}
	return w
}

func expiresIn(who auth.Identity) uint64 {
	if who.Expires.IsZero() {
		return 0
	}
	return uint64(max(time.Until(who.Expires).Milliseconds(), 1))
}

// refresh replaces the credentials of a live connection.
func (s *Session) refresh(id uint64, c *parleyv1.Refresh) {
	ctx := newPatience(s.m.base, s.m.Limits.ConnectTimeout)
	defer ctx.stop()
	who, err := s.verify(ctx, c.GetToken())
	switch {
	case err != nil:
		s.refuse(id, ClientError(err))
		return
	case who.User != s.user:
		s.refuse(id, protocol.Forbidden.Errorf("this connection belongs to another user: open a new one"))
		return
	case who.ExpiredAt(time.Now()):
		s.refuse(id, protocol.TokenExpired.Errorf("this token has expired too"))
		return
	}
	now := s.m.now()
	s.mu.Lock()
	s.identity = &who
	s.live.expires = s.m.expiryOf(who)
	next := s.live.next(now)
	s.mu.Unlock()
	s.m.wheel.Set(&s.timer, next.Sub(now), s.onTimer)
	s.reauthorize(ctx) // the new token may come with other roles
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Refreshed{Refreshed: &parleyv1.Refreshed{ExpiresInMs: expiresIn(who)}}})
}

// position returns what a client's position means.
func position(p *parleyv1.Position) *message.Position {
	if p == nil {
		return nil
	}
	return &message.Position{Epoch: p.GetEpoch(), Seq: p.GetSeq()}
}
