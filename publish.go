package parley

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/presence"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/topic"
)

// PublishOption changes how one message is published.
type PublishOption func(*pubsub.Publication)

// Key makes a repeated publish harmless: the same key from the same From is
// stored once, and the repeat returns the first position.
func Key(key string) PublishOption {
	return func(p *pubsub.Publication) { p.Message.Key = key }
}

// From says which user the message is from. Without it the message is from
// the server.
func From(user string) PublishOption {
	return func(p *pubsub.Publication) { p.Message.From = user }
}

// Header adds a header to the message.
func Header(name, value string) PublishOption {
	return func(p *pubsub.Publication) {
		if p.Message.Headers == nil {
			p.Message.Headers = make(map[string]string)
		}
		p.Message.Headers[name] = value
	}
}

// Retain keeps the message as the topic's last value, which new subscribers
// get at once.
func Retain() PublishOption {
	return func(p *pubsub.Publication) { p.Message.Retain = true }
}

// ExpiresIn stops the delivery of the message after d.
func ExpiresIn(d time.Duration) PublishOption {
	return func(p *pubsub.Publication) { p.Message.ExpiresAt = time.Now().Add(d).UnixMilli() }
}

// Except leaves one session out: everybody but the sender.
func Except(session string) PublishOption {
	return func(p *pubsub.Publication) { p.Message.Except = session }
}

// Ephemeral publishes to those who are there now: no history, no position,
// and the first to be left out for a receiver that is behind. For typing
// notices and the like.
func Ephemeral() PublishOption {
	return func(p *pubsub.Publication) { p.Ephemeral = true }
}

// Raw is a payload of bytes that are not JSON.
type Raw []byte

// Publish publishes v as JSON, or as bytes when it is a Raw, and returns when
// the broker has accepted it. It asks nobody for permission.
func (l *Live) Publish(ctx context.Context, topic, typ string, v any, opts ...PublishOption) (Position, error) {
	m := &message.Message{Topic: topic, Type: typ}
	switch v := v.(type) {
	case Raw:
		m.Payload, m.Binary = v, true
	case json.RawMessage:
		if !json.Valid(v) {
			return Position{}, errors.New("parley: publish: the payload is not JSON text; use parley.Raw for other bytes")
		}
		m.Payload = v
	case nil:
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return Position{}, fmt.Errorf("parley: publish: %w", err)
		}
		m.Payload = text
	}
	p := pubsub.Publication{Message: m}
	for _, o := range opts {
		o(&p)
	}
	type answer struct {
		result broker.Result
		err    error
	}
	done := make(chan answer, 1)
	l.pubsub.Publish(p, func(r broker.Result, err error) { done <- answer{r, err} })
	select {
	case a := <-done:
		return a.result.Position, a.err
	case <-ctx.Done():
		return Position{}, ctx.Err()
	}
}

// SendUser sends v to all connections of one user. It arrives on the topic
// $user/<id>, without subscribing. Nobody being there is no error.
func (l *Live) SendUser(ctx context.Context, user, typ string, v any, opts ...PublishOption) error {
	return l.send(ctx, pubsub.UserPrefix, user, typ, v, opts)
}

// SendSession sends v to one connection. It arrives on the topic $session/<id>.
func (l *Live) SendSession(ctx context.Context, session, typ string, v any, opts ...PublishOption) error {
	return l.send(ctx, pubsub.SessionPrefix, session, typ, v, opts)
}

// SendRole sends v to everybody who holds a role. It arrives on $role/<name>.
func (l *Live) SendRole(ctx context.Context, role, typ string, v any, opts ...PublishOption) error {
	return l.send(ctx, pubsub.RolePrefix, role, typ, v, opts)
}

// Broadcast sends v to every connection. It arrives on the topic $all.
func (l *Live) Broadcast(ctx context.Context, typ string, v any, opts ...PublishOption) error {
	_, err := l.Publish(ctx, pubsub.Everybody, typ, v, append(opts, Ephemeral())...)
	return err
}

func (l *Live) send(ctx context.Context, prefix, to, typ string, v any, opts []PublishOption) error {
	if to == "" {
		return errors.New("parley: the receiver is missing")
	}
	_, err := l.Publish(ctx, prefix+to, typ, v, append(opts, Ephemeral())...)
	return err
}

// Query selects a part of a topic's history.
type Query = broker.Query

// Page is a part of a topic's history, oldest first.
type Page = broker.Page

// History reads what a topic keeps.
func (l *Live) History(ctx context.Context, name string, q Query) (Page, error) {
	n, err := topic.ParseName(name)
	if err != nil {
		return Page{}, protocol.BadRequest.Errorf("history: %w", err)
	}
	return l.pubsub.History(ctx, n, q)
}

// Member is one person on a topic.
type Member = presence.Member

// Presence returns who is on a topic, those who came first first.
func (l *Live) Presence(_ context.Context, name string) ([]Member, error) {
	n, err := topic.ParseName(name)
	if err != nil {
		return nil, protocol.BadRequest.Errorf("presence: %w", err)
	}
	return l.pubsub.Presence(n)
}

// Online reports whether a user has a connection.
func (l *Live) Online(user string) bool { return l.sessions.Online(user) }

// LastSeen returns when a user last left a topic, if that is remembered.
func (l *Live) LastSeen(user string) (time.Time, bool) { return l.pubsub.LastSeen(user) }

// Disconnect ends all connections of a user, who is told why and does not come
// back by itself, and forgets what was kept for them: no ticket resumes
// anything any more. It returns how many connections there were. Call it after
// whatever keeps the user from signing in again.
func (l *Live) Disconnect(ctx context.Context, user, why string) (int, error) {
	if user == "" {
		return 0, errors.New("parley: disconnect: the user is missing")
	}
	return l.sessions.Disconnect(ctx, user, why)
}

// DisconnectWhere ends those connections of a user whose identity ok accepts,
// such as those of one login that has ended; the other devices stay. It
// returns how many connections there were.
func (l *Live) DisconnectWhere(_ context.Context, user, why string, ok func(Identity) bool) int {
	return l.sessions.DisconnectWhere(user, why, ok)
}

// Reauthorize checks anew what a user is subscribed to, and ends what they may
// no longer receive. Call it when somebody's rights have changed: with
// WithIdentity, it gives the user's connections the roles they have now, or ends
// them. It returns how many subscriptions ended.
func (l *Live) Reauthorize(ctx context.Context, user string) int {
	return l.sessions.Reauthorize(ctx, user)
}

// OnConnect calls f after every connect, and OnDisconnect after every end of a
// connection, one at a time in their order, off the connections' path.
func (l *Live) OnConnect(f func(Event)) {
	l.sessions.OnEvent(func(e Event) {
		if e.Connected {
			f(e)
		}
	})
}

// OnDisconnect is described at OnConnect.
func (l *Live) OnDisconnect(f func(Event)) {
	l.sessions.OnEvent(func(e Event) {
		if !e.Connected {
			f(e)
		}
	})
}

// Sessions describes up to limit connections, of one user or of all ("").
func (l *Live) Sessions(user string, limit int) []session.Described {
	return l.sessions.Sessions(user, limit)
}
