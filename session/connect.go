package session

import (
	"context"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/session/signin"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/store"
)

// connect is the first command: it says who the client is and, perhaps, which
// session it goes on with.
func (s *Session) connect(id uint64, c *parleyv1.Connect) {
	if s.connected.Load() {
		s.refuse(id, protocol.BadRequest.Errorf("connect was already answered on this connection"))
		return
	}
	ctx, stop := context.WithTimeout(s.m.base, s.m.Limits.ConnectTimeout)
	defer stop()
	s.since = s.m.now() // before it is asked who it is: see enter
	who, err := s.identify(ctx, c.GetToken())
	if err != nil {
		s.turnAway(id, err)
		return
	}
	s.mu.Lock()
	s.identity = &who // before anybody can find the session by its user
	s.mu.Unlock()
	back, err := s.resume(ctx, c, who)
	if err != nil {
		s.turnAway(id, err)
		return
	}
	defer back.release()
	s.begin()
	s.m.recheck(ctx, s)
	answer, feeds, err := s.restore(ctx, c, &back)
	welcome := func(err error) { s.welcome(id, answer, feeds, err) }
	switch {
	case err != nil:
		s.turnAway(id, err)
	case s.settle(&back, answer):
		s.save(welcome)
	default:
		welcome(nil)
	}
	s.m.events.Emit(Event{User: s.user, Session: s.id, Node: s.m.Node, Connected: true, At: s.m.timeOf(s.since)})
}

// begin makes the session a connected one.
func (s *Session) begin() {
	now := s.m.now()
	s.mu.Lock()
	s.live.ConnectBy, s.live.Expires = 0, s.m.expiryOf(*s.identity)
	s.live.LastPing, s.live.Heard, s.live.Waiting = now, now, false
	next := s.live.Next(now)
	s.mu.Unlock()
	s.connected.Store(true)
	s.m.wheel.Set(&s.timer, next.Sub(now), s.onTimer)
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
	return signin.Desk{Tickets: s.m.Tickets, Verifier: s.m.Verifier, Log: s.m.Log}.Verify(ctx, token, s.address)
}

// ClientError turns a refusal of any floor into one fit for the client.
func ClientError(err error) *protocol.Error { return signin.ClientError(err) }

// restore opens what the client wants to receive, or what its session did, and
// writes the answer.
func (s *Session) restore(ctx context.Context, c *parleyv1.Connect, back *comeback) (*parleyv1.Connected, []*pubsub.Feed, error) {
	answer := &parleyv1.Connected{
		User: s.user, Resumed: back.kept != nil, Node: s.m.Node,
		PingSeconds: uint32(s.m.pace.Promise() / time.Second),
		ExpiresInMs: expiresIn(s.Identity()),
	}
	if err := s.ask(ctx, c, back.kept, answer); err != nil {
		return nil, nil, err
	}
	if back.kept != nil {
		s.m.counts.resumed.Add(1)
	}
	wanted := c.GetSubscriptions()
	restored := len(wanted) == 0
	if restored && back.kept != nil {
		for i := range back.kept.Subscriptions {
			sub := &back.kept.Subscriptions[i]
			wanted = append(wanted, &parleyv1.Subscribe{Topic: sub.Filter, Qos: sub.QoS, Presence: sub.Presence, Receipts: sub.Receipts})
		}
	}
	var feeds []*pubsub.Feed
	for _, w := range wanted {
		saved := back.saved(w)
		feed, started, err := s.subscribe(ctx, w, saved)
		if err != nil {
			started = &parleyv1.Subscribed{Topic: w.GetTopic(), Error: ClientError(err).Wire()}
		} else {
			feeds = append(feeds, feed)
			// What came between the connections is lost to a subscription
			// that goes on from now.
			started.Recovered = started.GetRecovered() && (!restored || started.GetResumed())
		}
		answer.Subscriptions = append(answer.Subscriptions, started)
	}
	return answer, feeds, nil
}

// saved returns what is kept of a subscription that the client wants again;
// nil when nothing is.
func (b *comeback) saved(w *parleyv1.Subscribe) *store.Subscription {
	if b.kept == nil || w.GetQos() == 0 {
		return nil
	}
	for i := range b.kept.Subscriptions {
		if sub := &b.kept.Subscriptions[i]; sub.Filter == w.GetTopic() && sub.QoS > 0 {
			return sub
		}
	}
	return nil
}

// maxProducer bounds the id of a producer.
const maxProducer = 128

// ask takes what the client asks for beside subscriptions.
func (s *Session) ask(ctx context.Context, c *parleyv1.Connect, kept *store.Session, answer *parleyv1.Connected) error {
	asked := time.Duration(min(c.GetExpirySeconds(), maxExpiryMS/1000)) * time.Second
	if kept != nil {
		if c.GetDevice() == "" {
			s.mu.Lock()
			s.device = kept.Device
			s.mu.Unlock()
		}
		if asked == 0 && kept.Expiry != s.m.usualExpiry(vault.Durable(kept) && kept.Device != "") {
			asked = kept.Expiry // it was asked for before
		}
		if len(kept.Notes) > 0 {
			s.lasts().notes = kept.Notes
		}
	}
	if asked > 0 {
		s.lasts().asked = asked
	}
	name := c.GetProducer()
	switch {
	case name == "":
		return nil
	case len(name) > maxProducer:
		return protocol.BadRequest.Errorf("connect: the producer has %d bytes, at most %d", len(name), maxProducer)
	}
	l := s.lasts()
	l.producer = s.user + "\x00" + name
	var err error
	if l.epoch, err = s.m.Store.Producers().NextEpoch(ctx, l.producer); err != nil {
		return vault.Refusal(err)
	}
	answer.Producer = &parleyv1.Producer{Id: name, Epoch: l.epoch}
	return nil
}

// settle compares the session with its record, and reports whether the answer
// has to wait until it is written.
func (s *Session) settle(back *comeback, answer *parleyv1.Connected) bool {
	now := s.record()
	answer.ExpirySeconds = uint64(now.Expiry / time.Second)
	switch {
	case s.fleeting, !vault.Durable(now):
		if back.stored {
			s.m.vault.Forget(s.id, nil)
		}
		return false
	case !back.stored || back.behind || !vault.Same(now, back.kept):
		return true
	}
	l := s.lasts()
	s.mu.Lock()
	l.stored, l.saved = true, back.kept.Seen
	s.mu.Unlock()
	if back.moved {
		s.resave()
	}
	return false
}

// ticketLife is how long a resume ticket is good: what it resumes is decided by
// what is kept, and a connection may last for months.
const ticketLife = 365 * 24 * time.Hour

// welcome answers a connect: first the answer, with how every subscription
// begins, then what they bring.
func (s *Session) welcome(id uint64, answer *parleyv1.Connected, feeds []*pubsub.Feed, err error) {
	if err != nil {
		if refusal := vault.Refusal(err); refusal != nil {
			s.turnAway(id, refusal)
		}
		return
	}
	text, err := s.m.Keys.SignResume(ticket.Resume{Session: s.id, User: s.user, Expires: time.Now().Add(ticketLife)})
	if err != nil {
		s.m.Log.Error("a resume ticket could not be signed", "error", err)
	}
	answer.Session = text
	s.mu.Lock()
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Connected{Connected: answer}})
	s.welcomed = true
	s.mu.Unlock()
	for _, feed := range feeds {
		feed.Start()
	}
}

func expiresIn(who auth.Identity) uint64 {
	if who.Expires.IsZero() {
		return 0
	}
	return uint64(max(time.Until(who.Expires).Milliseconds(), 1))
}

// refresh replaces the credentials of a live connection.
func (s *Session) refresh(id uint64, c *parleyv1.Refresh) {
	ctx, stop := context.WithTimeout(s.m.base, s.m.Limits.ConnectTimeout)
	defer stop()
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
	s.live.Expires = s.m.expiryOf(who)
	next := s.live.Next(now)
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
