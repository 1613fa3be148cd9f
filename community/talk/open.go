package talk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
)

// Draft is a post to be. Category is a slug.
type Draft struct {
	Category, Title, Body, Key string
}

// CreatePost opens a post; its text is message 1. A repeat of the key answers the first post.
func (s *Service) CreatePost(ctx context.Context, actor string, in Draft) (c store.Conversation, err error) {
	if in, err = checkDraft(in); err != nil {
		return c, err
	}
	if err := checkKey(in.Key); err != nil {
		return c, err
	}
	if err := s.pace.step(actor); err != nil {
		return c, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return err
		}
		shelf, err := s.category(ctx, tx, in.Category)
		if err != nil {
			return err
		}
		c = s.conversation(store.Post, who, in.Title, in.Key)
		c.CategoryID, c.ReceiptsMode = &shelf.ID, "none"
		fresh, err := tx.AddConversation(ctx, &c)
		if err != nil {
			return err
		}
		if !fresh {
			c, err = tx.ConversationByKey(ctx, who.ID, in.Key)
			return err
		}
		_, err = s.say(ctx, tx, Place{Who: &who, Conversation: c}, Line{Key: in.Key, Body: in.Body})
		return err
	})
	if err == nil {
		s.wake()
	}
	return c, err
}

// EditPost replaces title and text of an own post, within the window.
func (s *Service) EditPost(ctx context.Context, actor, id string, in Draft) (c store.Conversation, err error) {
	if in, err = checkDraft(in); err != nil {
		return c, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, m, err := s.change(ctx, tx, actor, id, 1, true)
		if err != nil {
			return err
		}
		shelf, err := s.category(ctx, tx, in.Category)
		if err != nil {
			return err
		}
		if err := tx.Shelve(ctx, p.Conversation.ID, shelf.ID, in.Title); err != nil {
			return err
		}
		if _, err := s.rewrite(ctx, tx, p, m, in.Body); err != nil {
			return err
		}
		if c, err = tx.Conversation(ctx, id); err != nil {
			return err
		}
		return s.tellFeed(ctx, tx, c, "post.updated", p.Who.Handle)
	})
	if err == nil {
		s.wake()
	}
	return c, err
}

// RoomPlan is a room to be. Private makes it a group of its creator; Slug, when set, becomes its
// name in addresses.
type RoomPlan struct {
	Title, About, Slug string
	Private            bool
}

// CreateRoom opens a room or a group and makes its creator the owner.
func (s *Service) CreateRoom(ctx context.Context, actor string, in RoomPlan) (c store.Conversation, err error) {
	if in.Title, err = checkTitle(in.Title); err != nil {
		return c, err
	}
	in.About = strings.TrimSpace(in.About)
	if utf8.RuneCountInString(in.About) > LongestTitle*2 {
		return c, fault.Field("description", fault.TooLong)
	}
	if err := s.pace.step(actor); err != nil {
		return c, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return err
		}
		kind := store.Room
		if in.Private {
			kind = store.Group
		}
		c = s.conversation(kind, who, in.Title, "")
		c.About = in.About
		if in.Slug != "" {
			c.PublicID = in.Slug
		}
		fresh, err := tx.AddConversation(ctx, &c)
		if err != nil {
			return err
		}
		if !fresh {
			return fault.New(fault.Conflict, fault.BadTitle)
		}
		return tx.Enter(ctx, store.Membership{ConversationID: c.ID, UserID: who.ID, Role: store.Owner, JoinedSeq: 1})
	})
	return c, err
}

// OpenDirect finds or opens the direct conversation of two people.
func (s *Service) OpenDirect(ctx context.Context, actor, other string) (c store.Conversation, err error) {
	other = handleOf(other)
	if err := s.pace.step(actor); err != nil {
		return c, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return err
		}
		peer, err := tx.UserByHandle(ctx, other)
		if errors.Is(err, store.ErrNotFound) || err == nil && peer.BannedAt != nil {
			return fault.New(fault.NotFound, fault.NoPerson)
		}
		if err != nil {
			return err
		}
		if peer.ID == who.ID {
			return fault.New(fault.Invalid, fault.OwnDirect)
		}
		pair := fmt.Sprintf("%d:%d", min(who.ID, peer.ID), max(who.ID, peer.ID))
		c = s.conversation(store.Direct, who, "", "")
		c.Pair = &pair
		fresh, err := tx.AddConversation(ctx, &c)
		if err != nil {
			return err
		}
		if !fresh {
			c, err = tx.ConversationByPair(ctx, pair)
			return err
		}
		for _, id := range []int64{who.ID, peer.ID} {
			err := tx.Enter(ctx, store.Membership{ConversationID: c.ID, UserID: id, Role: store.Participant, JoinedSeq: 1})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

func (s *Service) conversation(kind store.Kind, creator store.User, title, key string) store.Conversation {
	now := s.now().UnixMilli()
	c := store.Conversation{
		PublicID: publicID(), Kind: kind, CreatorID: creator.ID, Title: title,
		ReceiptsMode: "who", CreatedAt: now, LastMessageAt: now,
	}
	if key != "" {
		c.ClientKey = &key
	}
	return c
}

func (s *Service) category(ctx context.Context, tx store.Tx, slug string) (store.Category, error) {
	c, err := tx.CategoryBySlug(ctx, slug)
	if errors.Is(err, store.ErrNotFound) {
		return c, fault.Field("category", fault.NoCategory)
	}
	return c, err
}

func checkDraft(in Draft) (Draft, error) {
	var err error
	if in.Title, err = checkTitle(in.Title); err != nil {
		return in, err
	}
	in.Body, err = checkBody(in.Body, LongestPost)
	return in, err
}

func checkTitle(title string) (string, error) {
	title = strings.Join(strings.Fields(strings.ToValidUTF8(title, "")), " ")
	if n := utf8.RuneCountInString(title); n < 2 || n > LongestTitle {
		return title, fault.Field("title", fault.BadTitle)
	}
	return title, nil
}
