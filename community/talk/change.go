package talk

import (
	"context"
	"errors"
	"strconv"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// deleted is the payload of message.deleted.
type deleted struct {
	Conversation string `json:"conversation"`
	Seq          int64  `json:"seq"`
	By           string `json:"by"`
}

// Edit replaces the text of an own message, within the window.
func (s *Service) Edit(ctx context.Context, actor, conversation string, seq int64, body string) (out web.Message, err error) {
	if body, err = checkBody(body, LongestMessage); err != nil {
		return out, err
	}
	if err := s.pace.step(actor); err != nil {
		return out, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, m, err := s.change(ctx, tx, actor, conversation, seq, true)
		if err != nil {
			return err
		}
		out, err = s.rewrite(ctx, tx, p, m, body)
		return err
	})
	if err == nil {
		s.wake()
	}
	return out, err
}

// rewrite stores a new text and tells the readers. An unchanged text changes nothing.
func (s *Service) rewrite(ctx context.Context, tx store.Tx, p Place, m store.Message, body string) (web.Message, error) {
	if m.Body != body {
		if _, err := tx.EditMessage(ctx, m, body, p.Who.ID, s.now().UnixMilli()); err != nil {
			return web.Message{}, err
		}
		var err error
		if m, err = tx.Message(ctx, m.ConversationID, m.Seq); err != nil {
			return web.Message{}, err
		}
	}
	out, err := s.draw.Message(ctx, tx, p.Conversation, m)
	if err != nil {
		return out, err
	}
	if p.Conversation.Kind == store.Post && m.Seq == 1 {
		return out, nil // the text of a post is not among the messages; the feed tells of it
	}
	return out, s.tell(ctx, tx, web.TopicConversation(p.Conversation.PublicID), "message.edited", p.Who.Handle, out)
}

// Delete empties a message: an own one within the window, or any as a moderator. Its place
// stays, so that no seq goes missing. Deleting the text of a post deletes the post.
func (s *Service) Delete(ctx context.Context, actor, conversation string, seq int64) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, m, err := s.change(ctx, tx, actor, conversation, seq, false)
		if err != nil {
			return err
		}
		return s.erase(ctx, tx, p, m)
	})
	if err == nil {
		s.wake()
	}
	return err
}

func (s *Service) erase(ctx context.Context, tx store.Tx, p Place, m store.Message) error {
	at := s.now().UnixMilli()
	if _, err := tx.DeleteMessage(ctx, m, p.Who.ID, at); err != nil {
		return err
	}
	if m.SenderID != p.Who.ID {
		err := tx.Audit(ctx, store.AuditEntry{
			ActorID: &p.Who.ID, Action: "message.deleted", Subject: p.Conversation.PublicID + "/" + strconv.FormatInt(m.Seq, 10), At: at,
		})
		if err != nil {
			return err
		}
	}
	gone := deleted{Conversation: p.Conversation.PublicID, Seq: m.Seq, By: p.Who.Handle}
	if err := s.tell(ctx, tx, web.TopicConversation(p.Conversation.PublicID), "message.deleted", p.Who.Handle, gone); err != nil {
		return err
	}
	if p.Conversation.Kind != store.Post || m.Seq != 1 {
		return nil
	}
	if err := tx.DeleteConversation(ctx, p.Conversation.ID, at); err != nil {
		return err
	}
	return s.tell(ctx, tx, web.TopicFeed, "post.deleted", p.Who.Handle, map[string]string{"id": p.Conversation.PublicID})
}

// change finds a message that the person may edit, or delete.
func (s *Service) change(ctx context.Context, tx store.Tx, actor, conversation string, seq int64, edit bool) (Place, store.Message, error) {
	p, err := s.speak(ctx, tx, actor, conversation)
	if err != nil {
		return p, store.Message{}, err
	}
	m, err := tx.Message(ctx, p.Conversation.ID, seq)
	if errors.Is(err, store.ErrNotFound) || err == nil && m.DeletedAt != nil {
		return p, m, fault.New(fault.NotFound, fault.NoSuchPage)
	}
	if err != nil {
		return p, m, err
	}
	mayEdit, mayDelete := s.draw.MayChange(p.Who, m)
	switch {
	case edit && mayEdit, !edit && mayDelete:
		return p, m, nil
	case m.SenderID == p.Who.ID:
		return p, m, fault.New(fault.Forbidden, fault.WindowClosed)
	}
	return p, m, fault.New(fault.Forbidden, fault.NotAllowed)
}

// Changeable draws a message for its edit form.
func (s *Service) Changeable(ctx context.Context, actor, conversation string, seq int64) (c store.Conversation, out web.Message, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		p, m, err := s.change(ctx, tx, actor, conversation, seq, true)
		if err != nil {
			return err
		}
		c = p.Conversation
		drawn, err := s.draw.Messages(ctx, tx, c, []store.Message{m}, p.Who)
		if err == nil {
			out = drawn[0]
		}
		return err
	})
	return c, out, err
}
