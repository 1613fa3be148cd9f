package talk

import (
	"context"
	"errors"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// notified is the payload of notification.created.
type notified struct {
	Notification web.Notification `json:"notification"`
	Unread       web.Unread       `json:"unread"`
}

// readChanged is the payload of read.changed. Conversation is empty when only the inbox changed.
type readChanged struct {
	Conversation string     `json:"conversation"`
	Seq          int64      `json:"seq"`
	Unread       web.Unread `json:"unread"`
}

// notify tells whom a line concerns, each person once and for the strongest reason: named,
// answered, written to, or the author of the post.
func (s *Service) notify(ctx context.Context, tx store.Tx, p Place, m, answered store.Message) error {
	named, err := tx.UsersByHandle(ctx, s.md.Mentions(m.Body))
	if err != nil {
		return err
	}
	reasons := make(map[int64]string)
	var order []int64
	add := func(id int64, kind string) {
		if _, told := reasons[id]; !told && id != p.Who.ID {
			reasons[id] = kind
			order = append(order, id)
		}
	}
	for _, u := range named {
		add(u.ID, "mention")
	}
	if answered.Seq > 0 {
		add(answered.SenderID, "reply")
	}
	switch p.Conversation.Kind {
	case store.Post:
		add(p.Conversation.CreatorID, "comment")
	case store.Direct:
		both, err := tx.Participants(ctx, p.Conversation.ID, 2)
		if err != nil {
			return err
		}
		for _, u := range both {
			add(u.ID, "direct")
		}
	case store.Room, store.Group:
	}
	for _, id := range order {
		if err := s.notifyOne(ctx, tx, p, m, id, reasons[id]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) notifyOne(ctx context.Context, tx store.Tx, p Place, m store.Message, user int64, kind string) error {
	place, err := tx.Membership(ctx, p.Conversation.ID, user)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if !p.Conversation.Kind.Public() {
			return nil // named in a room they cannot enter
		}
	case err != nil:
		return err
	case !p.Conversation.Kind.Public() && !place.Active(),
		place.Notify == "none", place.Notify == "mentions" && kind != "mention":
		return nil
	}
	n := store.Notification{
		UserID: user, Kind: kind, ConversationID: p.Conversation.ID, Seq: m.Seq, ActorID: p.Who.ID, Count: 1, CreatedAt: m.CreatedAt,
	}
	if err := tx.Notify(ctx, &n, kind == "direct" || kind == "comment"); err != nil {
		return err
	}
	who, err := tx.User(ctx, user)
	if err != nil {
		return err
	}
	drawn, err := s.draw.Notifications(ctx, tx, []store.Notification{n})
	if err != nil {
		return err
	}
	unread, err := view.Unread(ctx, tx, user)
	if err != nil {
		return err
	}
	return s.tellPerson(ctx, tx, who.Handle, "notification.created", p.Who.Handle, notified{drawn[0], unread})
}

// tellPair brings a direct message to both people, wherever on the site they are.
func (s *Service) tellPair(ctx context.Context, tx store.Tx, p Place, out web.Message) error {
	both, err := tx.Participants(ctx, p.Conversation.ID, 2)
	if err != nil {
		return err
	}
	for _, u := range both {
		rooms, err := s.draw.Rooms(ctx, tx, []store.Conversation{p.Conversation}, &u)
		if err != nil {
			return err
		}
		unread, err := view.Unread(ctx, tx, u.ID)
		if err != nil {
			return err
		}
		err = s.tellPerson(ctx, tx, u.Handle, "direct.message", p.Who.Handle, directMessage{rooms[0], out, unread})
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadNotification marks one notification of a person as read, or all when id is 0, tells their
// devices and returns what is left unread.
func (s *Service) ReadNotification(ctx context.Context, actor string, id int64) (unread web.Unread, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return err
		}
		var changed bool
		if id == 0 {
			changed, err = tx.ReadAllNotifications(ctx, who.ID, s.now().UnixMilli())
		} else {
			changed, err = tx.ReadNotification(ctx, who.ID, id, s.now().UnixMilli())
		}
		if err != nil {
			return err
		}
		if unread, err = view.Unread(ctx, tx, who.ID); err != nil || !changed {
			return err
		}
		return s.tellPerson(ctx, tx, who.Handle, "read.changed", who.Handle, readChanged{Unread: unread})
	})
	if err == nil {
		s.wake()
	}
	return unread, err
}

// OpenNotification marks one as read and returns the address it leads to.
func (s *Service) OpenNotification(ctx context.Context, actor string, id int64) (url string, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		who, err := s.Person(ctx, tx, actor)
		if err != nil {
			return err
		}
		n, err := tx.Notification(ctx, who.ID, id)
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.NotFound, fault.NoSuchPage)
		}
		if err != nil {
			return err
		}
		cs, err := tx.ConversationsByID(ctx, []int64{n.ConversationID})
		if err == nil {
			url = view.MessageURL(cs[0], n.Seq)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	_, err = s.ReadNotification(ctx, actor, id)
	return url, err
}
