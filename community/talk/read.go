package talk

import (
	"context"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// mostMembers bounds who is offered for mentions.
const mostMembers = 50

// Thread draws the newest page of a conversation below before (0: the newest) for a person or a
// visitor. The caller has opened the conversation in the same transaction. A post's own text is
// not among the messages.
func (s *Service) Thread(ctx context.Context, tx store.Tx, p Place, before int64) (t web.Thread, err error) {
	c := p.Conversation
	t = web.Thread{
		Conversation: c.PublicID, LastSeq: uint64(c.LastSeq), ReadSeq: uint64(c.LastSeq), CanSend: p.MaySpeak(),
	}
	if p.Member != nil {
		t.ReadSeq = uint64(max(p.Member.ReadSeq, p.Member.JoinedSeq-1))
	}
	if t.Messages, t.More, err = s.page(ctx, tx, p, before, pageSize); err != nil {
		return t, err
	}
	if t.Receipts, err = s.receipts(ctx, tx, p); err != nil {
		return t, err
	}
	people, err := tx.Participants(ctx, c.ID, mostMembers)
	t.Members = s.draw.People(people)
	return t, err
}

// Older loads messages below before, oldest first, and tells whether there are still older ones.
func (s *Service) Older(ctx context.Context, actor, conversation string, before int64, limit int) (ms []web.Message, more bool, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.Open(ctx, tx, actor, conversation)
		if err != nil {
			return err
		}
		ms, more, err = s.page(ctx, tx, p, before, limit)
		return err
	})
	return ms, more, err
}

// Newer loads messages above after, oldest first, and tells whether there are still newer ones.
func (s *Service) Newer(ctx context.Context, actor, conversation string, after int64, limit int) (ms []web.Message, more bool, err error) {
	limit = bounded(limit)
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.Open(ctx, tx, actor, conversation)
		if err != nil {
			return err
		}
		rows, err := tx.MessagesAfter(ctx, p.Conversation.ID, max(after, floor(p.Conversation)-1), limit+1)
		if err != nil {
			return err
		}
		if more = len(rows) > limit; more {
			rows = rows[:limit]
		}
		ms, err = s.drawn(ctx, tx, p, rows)
		return err
	})
	return ms, more, err
}

func (s *Service) page(ctx context.Context, tx store.Tx, p Place, before int64, limit int) ([]web.Message, bool, error) {
	limit = bounded(limit)
	if before <= 0 {
		before = p.Conversation.LastSeq + 1
	}
	rows, err := tx.MessagesBefore(ctx, p.Conversation.ID, before, limit)
	if err != nil {
		return nil, false, err
	}
	first := floor(p.Conversation)
	for len(rows) > 0 && rows[0].Seq < first {
		rows = rows[1:]
	}
	out, err := s.drawn(ctx, tx, p, rows)
	return out, len(rows) > 0 && rows[0].Seq > first, err
}

// floor is the first seq shown in the list of messages.
func floor(c store.Conversation) int64 {
	if c.Kind == store.Post {
		return 2
	}
	return 1
}

func bounded(limit int) int {
	if limit <= 0 {
		return pageSize
	}
	return min(limit, mostPage)
}

// MarkRead moves a person's read cursor forward to seq (never back, never past the end) and
// returns where it stands. Reading a room joins it; reading a post only keeps the cursor. What
// the inbox says about lines up to there is read as well; all devices are told.
func (s *Service) MarkRead(ctx context.Context, actor, conversation string, seq int64) (at int64, unread web.Unread, err error) {
	if err := s.fast.step(actor); err != nil {
		return 0, unread, err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.Open(ctx, tx, actor, conversation)
		if err != nil {
			return err
		}
		if p.Who == nil {
			return fault.New(fault.SignedOut, fault.NeedSignIn)
		}
		at, unread, err = s.advance(ctx, tx, p, seq)
		return err
	})
	if err == nil {
		s.wake()
	}
	return at, unread, err
}

func (s *Service) advance(ctx context.Context, tx store.Tx, p Place, seq int64) (at int64, unread web.Unread, err error) {
	c := p.Conversation
	seq = max(0, min(seq, c.LastSeq))
	m := store.Membership{ConversationID: c.ID, UserID: p.Who.ID, Role: store.Participant, JoinedSeq: max(1, seq)}
	if c.Kind == store.Post {
		m.Role, m.JoinedSeq = store.Reader, 1
	}
	if err := tx.Enter(ctx, m); err != nil {
		return 0, unread, err
	}
	moved, err := tx.MoveRead(ctx, c.ID, p.Who.ID, seq)
	if err != nil {
		return 0, unread, err
	}
	told, err := tx.ReadNotificationsUpTo(ctx, p.Who.ID, c.ID, seq, s.now().UnixMilli())
	if err != nil {
		return 0, unread, err
	}
	now, err := tx.Membership(ctx, c.ID, p.Who.ID)
	if err != nil {
		return 0, unread, err
	}
	if unread, err = view.Unread(ctx, tx, p.Who.ID); err != nil || !moved && !told {
		return now.ReadSeq, unread, err
	}
	return now.ReadSeq, unread, s.tellPerson(ctx, tx, p.Who.Handle, "read.changed", p.Who.Handle,
		readChanged{Conversation: c.PublicID, Seq: now.ReadSeq, Unread: unread})
}

// Typing answers who is typing, when they may write there.
func (s *Service) Typing(ctx context.Context, actor, conversation string) (who web.Person, err error) {
	if err := s.fast.step(actor); err != nil {
		return who, err
	}
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err := s.speak(ctx, tx, actor, conversation)
		if err == nil {
			who = s.draw.Person(*p.Who)
		}
		return err
	})
	return who, err
}

// FindPeople lists people whose handle or name starts with prefix.
func (s *Service) FindPeople(ctx context.Context, prefix string, limit int) (out []web.Person, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		us, err := tx.SearchUsers(ctx, prefix, limit)
		out = s.draw.People(us)
		return err
	})
	return out, err
}

// GetPeople finds people by handle.
func (s *Service) GetPeople(ctx context.Context, handles []string) (out []web.Person, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		us, err := tx.UsersByHandle(ctx, handles)
		out = s.draw.People(us)
		return err
	})
	return out, err
}
