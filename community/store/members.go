package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// MemberRole is what somebody is in a conversation. A reader only keeps a cursor there: they
// have opened it, not joined it.
type MemberRole string

// Roles in a conversation.
const (
	Owner       MemberRole = "owner"
	Participant MemberRole = "member"
	Reader      MemberRole = "reader"
)

// Membership is one person's place in one conversation. Its cursors only move forward.
type Membership struct {
	bun.BaseModel `bun:"table:members"`

	ConversationID int64      `bun:"conversation_id,pk"`
	UserID         int64      `bun:"user_id,pk"`
	Role           MemberRole `bun:"role"`
	JoinedSeq      int64      `bun:"joined_seq"`
	LeftSeq        *int64     `bun:"left_seq"`
	DeliveredSeq   int64      `bun:"delivered_seq"`
	ReadSeq        int64      `bun:"read_seq"`
	Notify         string     `bun:"notify"`
	MutedUntil     *int64     `bun:"muted_until"`
}

// Unread counts what came after the person joined and has not been read, up to lastSeq.
func (m Membership) Unread(lastSeq int64) int64 {
	return max(0, lastSeq-max(m.ReadSeq, m.JoinedSeq-1))
}

// Active reports whether the person belongs to the conversation: joined and has not left.
func (m Membership) Active() bool { return m.LeftSeq == nil && m.Role != Reader }

// Membership finds a person's place in a conversation.
func (tx Tx) Membership(ctx context.Context, conversation, user int64) (m Membership, err error) {
	err = tx.get(ctx, &m, `SELECT * FROM members WHERE conversation_id = ? AND user_id = ?`, conversation, user)
	return m, err
}

// Memberships lists a person's places, of the given conversations only.
func (tx Tx) Memberships(ctx context.Context, user int64, conversations []int64) (ms []Membership, err error) {
	if len(conversations) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &ms, `SELECT * FROM members WHERE user_id = ? AND conversation_id IN (?)`, user, bun.List(conversations))
	return ms, err
}

// Participants lists who belongs to a conversation, the earliest first.
func (tx Tx) Participants(ctx context.Context, conversation int64, limit int) (us []User, err error) {
	err = tx.list(ctx, &us, `
		SELECT u.* FROM users u JOIN members m ON m.user_id = u.id
		WHERE m.conversation_id = ? AND m.left_seq IS NULL AND m.role <> 'reader' ORDER BY m.joined_seq, u.id LIMIT ?`, conversation, limit)
	return us, err
}

// Cursor is how far one member of a conversation has got.
type Cursor struct {
	Handle       string `bun:"handle"`
	DisplayName  string `bun:"display_name"`
	DeliveredSeq int64  `bun:"delivered_seq"`
	ReadSeq      int64  `bun:"read_seq"`
}

// Cursors lists how far the members of a conversation but one have got, in the order of their
// names.
func (tx Tx) Cursors(ctx context.Context, conversation, except int64, limit int) (cs []Cursor, err error) {
	err = tx.list(ctx, &cs, `
		SELECT u.handle, u.display_name, m.delivered_seq, m.read_seq FROM users u JOIN members m ON m.user_id = u.id
		WHERE m.conversation_id = ? AND u.id <> ? AND m.left_seq IS NULL AND m.role <> 'reader'
		ORDER BY u.display_name, u.id LIMIT ?`, conversation, except, limit)
	return cs, err
}

// Enter makes a person a member (or, with Reader, keeps a cursor for them). A place that exists
// is kept with its cursors: a reader becomes a member, one who left is back, nobody is demoted.
func (tx Tx) Enter(ctx context.Context, m Membership) error {
	if m.Notify == "" {
		m.Notify = "all"
	}
	before, err := tx.Membership(ctx, m.ConversationID, m.UserID)
	switch {
	case errors.Is(err, ErrNotFound):
		if err := tx.insert(ctx, &m); err != nil {
			return err
		}
		return tx.countMembers(ctx, m.ConversationID, m.Active())
	case err != nil || m.Role == Reader || before.Active():
		return err
	}
	joined := before.JoinedSeq
	if before.LeftSeq != nil {
		joined = m.JoinedSeq
	}
	_, err = tx.exec(ctx, `UPDATE members SET role = ?, left_seq = NULL, joined_seq = ? WHERE conversation_id = ? AND user_id = ?`,
		m.Role, joined, m.ConversationID, m.UserID)
	if err != nil {
		return err
	}
	return tx.countMembers(ctx, m.ConversationID, true)
}

// Leave ends a membership and reports whether there was one.
func (tx Tx) Leave(ctx context.Context, conversation, user, seq int64) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE members SET left_seq = ? WHERE conversation_id = ? AND user_id = ? AND left_seq IS NULL AND role <> 'reader'`,
		seq, conversation, user)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.exec(ctx, `UPDATE conversations SET member_count = member_count - 1 WHERE id = ?`, conversation)
	return true, err
}

func (tx Tx) countMembers(ctx context.Context, conversation int64, joined bool) error {
	if !joined {
		return nil
	}
	_, err := tx.exec(ctx, `UPDATE conversations SET member_count = member_count + 1 WHERE id = ?`, conversation)
	return err
}

// MoveRead moves a read cursor, and with it the delivered cursor, forward to seq. It reports
// false, and changes nothing, when the cursor is already there or beyond.
func (tx Tx) MoveRead(ctx context.Context, conversation, user, seq int64) (bool, error) {
	n, err := tx.exec(ctx, `
		UPDATE members SET read_seq = ?, delivered_seq = CASE WHEN delivered_seq < ? THEN ? ELSE delivered_seq END
		WHERE conversation_id = ? AND user_id = ? AND read_seq < ?`, seq, seq, seq, conversation, user, seq)
	return n == 1, err
}

// MoveDelivered moves a delivered cursor forward to seq and reports whether it moved.
func (tx Tx) MoveDelivered(ctx context.Context, conversation, user, seq int64) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE members SET delivered_seq = ? WHERE conversation_id = ? AND user_id = ? AND delivered_seq < ?`,
		seq, conversation, user, seq)
	return n == 1, err
}

// Unread counts a person's unread lines of the rooms and groups they belong to, and of their
// direct conversations.
func (tx Tx) Unread(ctx context.Context, user int64) (rooms, direct int64, err error) {
	var rows []struct {
		Kind   Kind  `bun:"kind"`
		Unread int64 `bun:"unread"`
	}
	err = tx.list(ctx, &rows, `
		SELECT c.kind, SUM(c.last_seq - mine.floor) AS unread FROM (
			SELECT conversation_id, CASE WHEN read_seq > joined_seq - 1 THEN read_seq ELSE joined_seq - 1 END AS floor
			FROM members WHERE user_id = ? AND left_seq IS NULL AND role <> 'reader' AND notify <> 'none') AS mine
		JOIN conversations c ON c.id = mine.conversation_id
		WHERE c.kind <> 'post' AND c.deleted_at IS NULL AND c.last_seq > mine.floor GROUP BY c.kind`, user)
	for _, row := range rows {
		if row.Kind == Direct {
			direct += row.Unread
		} else {
			rooms += row.Unread
		}
	}
	return rooms, direct, err
}
