// Package talk holds the rules of the community: who may read and say what, in which order it is
// kept, and who is told.
//
// Everything that is said goes through one transaction that raises the conversation's sequence,
// stores the message under its sender's key and writes the live events beside it into the
// outbox. A caller that was answered can be sure it is on disk; a caller that was not may repeat
// with the same key and gets the first answer.
package talk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// Sizes, in characters unless said otherwise.
const (
	LongestMessage = 10_000
	LongestPost    = 40_000
	LongestTitle   = 140
	longestKey     = 64 // bytes
	pageSize       = 50
	mostPage       = 200
)

// Config makes a Service.
type Config struct {
	DB     *store.DB
	Draw   *view.Drawer
	Markup *markup.Renderer
	Now    func() time.Time
	// Wake is called after events were committed to the outbox. It must not block.
	Wake func()
	// PerSecond and Burst bound what one person may say. Zero means 8 and 60. Four times as much
	// is allowed of what their pages do by themselves.
	PerSecond float64
	Burst     int
}

// Service applies the rules. Safe for concurrent use. Methods take the handle of who acts, ""
// for a visitor, and answer a *fault.Error when that person asked for something they cannot have.
type Service struct {
	db   *store.DB
	draw *view.Drawer
	md   *markup.Renderer
	now  func() time.Time
	wake func()
	pace *pace // of what people say
	fast *pace // of what their pages do by themselves: typing, marking read
}

// New makes the service.
func New(c Config) *Service {
	if c.PerSecond == 0 {
		c.PerSecond = 8
	}
	if c.Burst == 0 {
		c.Burst = 60
	}
	return &Service{
		db: c.DB, draw: c.Draw, md: c.Markup, now: c.Now, wake: c.Wake,
		pace: newPace(c.PerSecond, c.Burst, c.Now), fast: newPace(4*c.PerSecond, 4*c.Burst, c.Now),
	}
}

// Place is a conversation as one person stands to it. Who is nil for a visitor, Member is nil for
// who has no place in it.
type Place struct {
	Who          *store.User
	Conversation store.Conversation
	Member       *store.Membership
}

// MaySpeak reports whether the person may write there.
func (p Place) MaySpeak() bool {
	return p.Who != nil && (p.Conversation.Kind.Public() || p.Member != nil && p.Member.Active())
}

// Open finds a conversation for somebody. What they may not read is not found.
func (s *Service) Open(ctx context.Context, tx store.Tx, actor, conversation string) (p Place, err error) {
	if actor != "" {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return p, err
		}
		p.Who = &who
	}
	p.Conversation, err = tx.Conversation(ctx, conversation)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Conversation.DeletedAt != nil {
		return p, fault.New(fault.NotFound, fault.NoSuchPage)
	}
	if err != nil {
		return p, err
	}
	if p.Who != nil {
		member, err := tx.Membership(ctx, p.Conversation.ID, p.Who.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return p, err
		}
		if err == nil {
			p.Member = &member
		}
	}
	if !p.Conversation.Kind.Public() && (p.Member == nil || !p.Member.Active()) {
		return p, fault.New(fault.NotFound, fault.NoSuchPage)
	}
	return p, nil
}

// MayRead answers nil when the person may read the conversation and follow it live.
func (s *Service) MayRead(ctx context.Context, actor, conversation string) error {
	return s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := s.Open(ctx, tx, actor, conversation)
		return err
	})
}

// Person finds who acts; the banned and the unknown are signed out.
func (s *Service) Person(ctx context.Context, tx store.Tx, handle string) (store.User, error) {
	u, err := tx.UserByHandle(ctx, handle)
	if errors.Is(err, store.ErrNotFound) || err == nil && u.BannedAt != nil {
		return u, fault.New(fault.SignedOut, fault.NeedSignIn)
	}
	return u, err
}

// speak opens a conversation for somebody who wants to write there.
func (s *Service) speak(ctx context.Context, tx store.Tx, actor, conversation string) (Place, error) {
	p, err := s.Open(ctx, tx, actor, conversation)
	switch {
	case err != nil:
		return p, err
	case p.Who == nil:
		return p, fault.New(fault.SignedOut, fault.NeedSignIn)
	case !p.MaySpeak():
		return p, fault.New(fault.Forbidden, fault.NotAllowed)
	}
	return p, nil
}

// tell writes an event for the subscribers of a topic into the outbox.
func (s *Service) tell(ctx context.Context, tx store.Tx, topic, typ, from string, payload any) error {
	return s.emit(ctx, tx, store.Event{Topic: topic, Type: typ, FromUser: from}, payload)
}

// tellSaid writes the event of a new message, which learns from it where it stands in the topic.
func (s *Service) tellSaid(ctx context.Context, tx store.Tx, c store.Conversation, from string, m web.Message) error {
	return s.emit(ctx, tx, store.Event{
		Topic: web.TopicConversation(c.PublicID), Type: "message.created", FromUser: from, ConversationID: c.ID, Seq: int64(m.Seq),
	}, m)
}

// tellPerson writes an event for all devices of a person into the outbox.
func (s *Service) tellPerson(ctx context.Context, tx store.Tx, handle, typ, from string, payload any) error {
	return s.emit(ctx, tx, store.Event{ToUser: handle, Type: typ, FromUser: from}, payload)
}

func (s *Service) emit(ctx context.Context, tx store.Tx, e store.Event, payload any) error {
	// The payload never stands inside HTML: escaping for that would only make it longer.
	var body strings.Builder
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(payload); err != nil {
		return err
	}
	e.Payload, e.CreatedAt = strings.TrimSuffix(body.String(), "\n"), s.now().UnixMilli()
	return tx.Emit(ctx, &e)
}

// tellFeed says that a post's row looks different now.
func (s *Service) tellFeed(ctx context.Context, tx store.Tx, c store.Conversation, typ, from string) error {
	row, err := s.draw.Post(ctx, tx, c)
	if err != nil {
		return err
	}
	return s.tell(ctx, tx, web.TopicFeed, typ, from, row)
}

// publicID makes a name for addresses that cannot be guessed: 60 bits.
func publicID() string { return strings.ToLower(rand.Text()[:12]) }

// NewKey makes a client key for a form, so that sending it twice says it once.
func NewKey() string { return strings.ToLower(rand.Text()[:20]) }
