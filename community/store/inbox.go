package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// Notification tells somebody that something concerns them. Count grows while it is unread and
// more of the same comes.
type Notification struct {
	bun.BaseModel `bun:"table:notifications"`

	ID             int64  `bun:"id,pk,autoincrement"`
	UserID         int64  `bun:"user_id"`
	Kind           string `bun:"kind"`
	ConversationID int64  `bun:"conversation_id"`
	Seq            int64  `bun:"seq"`
	ActorID        int64  `bun:"actor_id"`
	Count          int64  `bun:"count"`
	CreatedAt      int64  `bun:"created_at"`
	ReadAt         *int64 `bun:"read_at"`
}

// Event is something committed that is still to be said live: to the subscribers of Topic, or to
// all devices of ToUser.
type Event struct {
	bun.BaseModel `bun:"table:outbox"`

	ID        int64  `bun:"id,pk,autoincrement"`
	Topic     string `bun:"topic"`
	ToUser    string `bun:"to_user"`
	Type      string `bun:"type"`
	FromUser  string `bun:"from_user"`
	Payload   string `bun:"payload"`
	CreatedAt int64  `bun:"created_at"`
	// ConversationID and Seq name the message that is told of for the first time; Seq is 0 when
	// the event tells of something else.
	ConversationID int64 `bun:"conversation_id"`
	Seq            int64 `bun:"seq"`
}

// Notify adds a notification and fills n.ID. When collapse is set and an unread one of the same
// kind and conversation exists, that one is renewed and counted up instead.
func (tx Tx) Notify(ctx context.Context, n *Notification, collapse bool) error {
	if collapse {
		err := tx.get(ctx, n, `
			UPDATE notifications SET seq = ?, actor_id = ?, count = count + 1, created_at = ?
			WHERE user_id = ? AND kind = ? AND conversation_id = ? AND read_at IS NULL RETURNING *`,
			n.Seq, n.ActorID, n.CreatedAt, n.UserID, n.Kind, n.ConversationID)
		if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return tx.insert(ctx, n)
}

// Notifications lists a person's inbox, the newest first, from those with an id below before
// (0: from the newest).
func (tx Tx) Notifications(ctx context.Context, user, before int64, limit int) (ns []Notification, err error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	err = tx.list(ctx, &ns, `SELECT * FROM notifications WHERE user_id = ? AND id < ? ORDER BY created_at DESC, id DESC LIMIT ?`,
		user, before, limit)
	return ns, err
}

// Notification finds one in a person's inbox.
func (tx Tx) Notification(ctx context.Context, user, id int64) (n Notification, err error) {
	err = tx.get(ctx, &n, `SELECT * FROM notifications WHERE user_id = ? AND id = ?`, user, id)
	return n, err
}

// UnreadNotifications counts the unread of a person's inbox.
func (tx Tx) UnreadNotifications(ctx context.Context, user int64) (n int64, err error) {
	err = tx.get(ctx, &n, `SELECT COUNT(*) FROM notifications WHERE user_id = ? AND read_at IS NULL`, user)
	return n, err
}

// ReadNotification marks one as read and reports whether it was unread.
func (tx Tx) ReadNotification(ctx context.Context, user, id, at int64) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE notifications SET read_at = ? WHERE user_id = ? AND id = ? AND read_at IS NULL`, at, user, id)
	return n > 0, err
}

// ReadAllNotifications marks all of a person's as read and reports whether any was unread.
func (tx Tx) ReadAllNotifications(ctx context.Context, user, at int64) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE notifications SET read_at = ? WHERE user_id = ? AND read_at IS NULL`, at, user)
	return n > 0, err
}

// ReadNotificationsUpTo marks those of a conversation up to seq as read: who has read the line
// needs no telling. It reports whether any was unread.
func (tx Tx) ReadNotificationsUpTo(ctx context.Context, user, conversation, seq, at int64) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE notifications SET read_at = ? WHERE user_id = ? AND conversation_id = ? AND seq <= ? AND read_at IS NULL`,
		at, user, conversation, seq)
	return n > 0, err
}

// Emit writes an event to the outbox, in the transaction of what it tells about.
func (tx Tx) Emit(ctx context.Context, e *Event) error { return tx.insert(ctx, e) }

// Outbox lists the oldest events not yet published, in the order they were committed.
func (tx Tx) Outbox(ctx context.Context, limit int) (es []Event, err error) {
	err = tx.list(ctx, &es, `SELECT * FROM outbox ORDER BY id LIMIT ?`, limit)
	return es, err
}

// Published removes events that have been published.
func (tx Tx) Published(ctx context.Context, ids []int64) error {
	_, err := tx.exec(ctx, `DELETE FROM outbox WHERE id IN (?)`, bun.List(ids))
	return err
}
