package talk

import (
	"context"
	"errors"
	"strings"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
)

// Invite makes a person a member of a group and tells them. Its members may.
func (s *Service) Invite(ctx context.Context, actor, conversation, other string) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.inGroup(ctx, tx, actor, conversation)
		if err != nil {
			return err
		}
		peer, err := tx.UserByHandle(ctx, handleOf(other))
		if errors.Is(err, store.ErrNotFound) || err == nil && peer.BannedAt != nil {
			return fault.New(fault.NotFound, fault.NoPerson)
		}
		if err != nil {
			return err
		}
		place, err := tx.Membership(ctx, p.Conversation.ID, peer.ID)
		if err == nil && place.Active() {
			return nil // who is there needs no telling
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		err = tx.Enter(ctx, store.Membership{
			ConversationID: p.Conversation.ID, UserID: peer.ID, Role: store.Participant, JoinedSeq: p.Conversation.LastSeq + 1,
		})
		if err != nil {
			return err
		}
		at := store.Message{Seq: p.Conversation.LastSeq, CreatedAt: s.now().UnixMilli()}
		return s.notifyOne(ctx, tx, p, at, peer.ID, "invite")
	})
	if err == nil {
		s.wake()
	}
	return err
}

// Leave ends a person's membership of a group. What they said stays.
func (s *Service) Leave(ctx context.Context, actor, conversation string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.inGroup(ctx, tx, actor, conversation)
		if err != nil {
			return err
		}
		_, err = tx.Leave(ctx, p.Conversation.ID, p.Who.ID, p.Conversation.LastSeq)
		return err
	})
}

// inGroup opens a group for one of its members.
func (s *Service) inGroup(ctx context.Context, tx store.Tx, actor, conversation string) (Place, error) {
	p, err := s.speak(ctx, tx, actor, conversation)
	if err == nil && p.Conversation.Kind != store.Group {
		err = fault.New(fault.Forbidden, fault.NotAllowed)
	}
	return p, err
}

// handleOf reads a handle as people type it: "@Ada " is ada.
func handleOf(typed string) string {
	return strings.ToLower(strings.TrimPrefix(strings.TrimSpace(typed), "@"))
}
