package talk

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// Line is something to say. Key is the sender's own name for it: the same key in the same
// conversation is the same line.
type Line struct {
	Conversation string
	Key          string
	Body         string
	ReplyTo      int64 // seq of the message answered, 0 for none
}

// errRepeat rolls a transaction back whose key was used before.
var errRepeat = errors.New("talk: said before")

// Send says a line: a comment, a chat line or a direct message. The answer is the stored one; a
// repeat of the key stores nothing, costs no seq and is answered with the first.
func (s *Service) Send(ctx context.Context, actor string, in Line) (out web.Message, err error) {
	if in.Body, err = checkBody(in.Body, LongestMessage); err != nil {
		return out, err
	}
	if err := checkKey(in.Key); err != nil {
		return out, err
	}
	if err := s.pace.step(actor); err != nil {
		return out, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.speak(ctx, tx, actor, in.Conversation)
		if err != nil {
			return err
		}
		out, err = s.say(ctx, tx, p, in)
		return err
	})
	if errors.Is(err, errRepeat) {
		return s.said(ctx, actor, in)
	}
	if err == nil {
		s.wake()
	}
	return out, err
}

// say stores a line and everything that follows from it.
func (s *Service) say(ctx context.Context, tx store.Tx, p Place, in Line) (out web.Message, err error) {
	m := store.Message{
		ConversationID: p.Conversation.ID, PublicID: publicID(), SenderID: p.Who.ID, ClientKey: in.Key,
		Body: in.Body, CreatedAt: s.now().UnixMilli(),
	}
	answered, err := s.answered(ctx, tx, p.Conversation, in.ReplyTo)
	if err != nil {
		return out, err
	}
	if answered.Seq > 0 {
		m.ReplyToSeq = &answered.Seq
	}
	fresh, err := tx.Append(ctx, &m)
	if err != nil {
		return out, err
	}
	if !fresh {
		return out, errRepeat
	}
	if err := s.settle(ctx, tx, p, m.Seq); err != nil {
		return out, err
	}
	p.Conversation.LastSeq, p.Conversation.LastMessageAt, p.Conversation.LastSenderID = m.Seq, m.CreatedAt, &m.SenderID
	if out, err = s.draw.Message(ctx, tx, p.Conversation, m); err != nil {
		return out, err
	}
	return out, s.spread(ctx, tx, p, m, answered, out)
}

// answered finds the message a line replies to; its seq is 0 when the line replies to none.
func (s *Service) answered(ctx context.Context, tx store.Tx, c store.Conversation, seq int64) (m store.Message, err error) {
	if seq == 0 {
		return m, nil
	}
	m, err = tx.Message(ctx, c.ID, seq)
	if errors.Is(err, store.ErrNotFound) || err == nil && m.DeletedAt != nil {
		return m, fault.New(fault.NotFound, fault.ReplyMissing)
	}
	return m, err
}

// settle makes the speaker a member who has read up to their own line.
func (s *Service) settle(ctx context.Context, tx store.Tx, p Place, seq int64) error {
	joined := seq
	if p.Conversation.Kind == store.Post {
		joined = 1
	}
	role := store.Participant
	if seq == 1 && p.Conversation.CreatorID == p.Who.ID {
		role = store.Owner
	}
	if p.Member == nil || !p.Member.Active() {
		err := tx.Enter(ctx, store.Membership{ConversationID: p.Conversation.ID, UserID: p.Who.ID, Role: role, JoinedSeq: joined})
		if err != nil {
			return err
		}
	}
	_, err := tx.MoveRead(ctx, p.Conversation.ID, p.Who.ID, seq)
	return err
}

// spread writes the live events and notifications of a new line.
func (s *Service) spread(ctx context.Context, tx store.Tx, p Place, m, answered store.Message, out web.Message) error {
	c := p.Conversation
	if c.Kind != store.Post || m.Seq > 1 {
		if err := s.tellSaid(ctx, tx, c, p.Who.Handle, out); err != nil {
			return err
		}
	}
	switch c.Kind {
	case store.Post:
		typ := "post.updated"
		if m.Seq == 1 {
			typ = "post.created"
		}
		if err := s.tellFeed(ctx, tx, c, typ, p.Who.Handle); err != nil {
			return err
		}
	case store.Direct:
		if err := s.tellPair(ctx, tx, p, out); err != nil {
			return err
		}
	case store.Room, store.Group:
	}
	return s.notify(ctx, tx, p, m, answered)
}

// directMessage is the payload of direct.message.
type directMessage struct {
	Room    web.Room    `json:"room"`
	Message web.Message `json:"message"`
	Unread  web.Unread  `json:"unread"`
}

// said finds what a key stands for.
func (s *Service) said(ctx context.Context, actor string, in Line) (out web.Message, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.speak(ctx, tx, actor, in.Conversation)
		if err != nil {
			return err
		}
		m, err := tx.MessageByKey(ctx, p.Conversation.ID, p.Who.ID, in.Key)
		if err != nil {
			return err
		}
		out, err = s.draw.Message(ctx, tx, p.Conversation, m)
		return err
	})
	return out, err
}

func checkBody(body string, longest int) (string, error) {
	body = strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(body, "\r\n", "\n"), "\uFFFD"))
	switch {
	case body == "":
		return "", fault.Field("body", fault.Required)
	case utf8.RuneCountInString(body) > longest:
		return "", fault.Field("body", fault.TooLong)
	}
	return body, nil
}

func checkKey(key string) error {
	if key == "" || len(key) > longestKey {
		return fault.New(fault.Invalid, fault.BadRequest)
	}
	return nil
}
