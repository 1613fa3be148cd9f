package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// Message is one comment or chat line. Seq is dense within its conversation and starts at 1.
type Message struct {
	bun.BaseModel `bun:"table:messages"`

	ConversationID int64  `bun:"conversation_id,pk"`
	Seq            int64  `bun:"seq,pk"`
	PublicID       string `bun:"public_id"`
	SenderID       int64  `bun:"sender_id"`
	ClientKey      string `bun:"client_key"`
	Body           string `bun:"body"`
	ReplyToSeq     *int64 `bun:"reply_to_seq"`
	CreatedAt      int64  `bun:"created_at"`
	EditedAt       *int64 `bun:"edited_at"`
	DeletedAt      *int64 `bun:"deleted_at"`
	Place          Place  `bun:"embed:topic_"`
}

// Place is where a message stands in the live topic of its conversation. Epoch is empty as long as
// it has not been published.
type Place struct {
	Epoch string `bun:"epoch"`
	Seq   int64  `bun:"seq"`
}

// Change is one edit or deletion of a message. ChangeSeq is dense within its conversation.
type Change struct {
	bun.BaseModel `bun:"table:changes"`

	ConversationID int64  `bun:"conversation_id,pk"`
	ChangeSeq      int64  `bun:"change_seq,pk"`
	Seq            int64  `bun:"seq"`
	Op             string `bun:"op"`
	ActorID        int64  `bun:"actor_id"`
	At             int64  `bun:"at"`
}

// Append gives m the next seq of its conversation and inserts it. It reports false when the
// sender already used the key there: the caller must then roll the transaction back, so that no
// seq is lost, and answer the stored message.
func (tx Tx) Append(ctx context.Context, m *Message) (bool, error) {
	err := tx.get(ctx, &m.Seq, `
		UPDATE conversations SET last_seq = last_seq + 1, last_message_at = ?, last_sender_id = ?
		WHERE id = ? RETURNING last_seq`, m.CreatedAt, m.SenderID, m.ConversationID)
	if err != nil {
		return false, err
	}
	result, err := tx.q.NewInsert().Model(m).On("CONFLICT (conversation_id, sender_id, client_key) DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// Message finds one by seq.
func (tx Tx) Message(ctx context.Context, conversation, seq int64) (m Message, err error) {
	err = tx.get(ctx, &m, `SELECT * FROM messages WHERE conversation_id = ? AND seq = ?`, conversation, seq)
	return m, err
}

// MessageByKey finds what a person sent with a client key.
func (tx Tx) MessageByKey(ctx context.Context, conversation, sender int64, key string) (m Message, err error) {
	err = tx.get(ctx, &m, `SELECT * FROM messages WHERE conversation_id = ? AND sender_id = ? AND client_key = ?`,
		conversation, sender, key)
	return m, err
}

// MessagesBefore lists the last messages with a seq below before, in ascending order.
func (tx Tx) MessagesBefore(ctx context.Context, conversation, before int64, limit int) (ms []Message, err error) {
	err = tx.list(ctx, &ms, `
		SELECT * FROM (SELECT * FROM messages WHERE conversation_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?) AS page
		ORDER BY seq`, conversation, before, limit)
	return ms, err
}

// MessagesAfter lists the first messages with a seq above after, in ascending order.
func (tx Tx) MessagesAfter(ctx context.Context, conversation, after int64, limit int) (ms []Message, err error) {
	err = tx.list(ctx, &ms, `SELECT * FROM messages WHERE conversation_id = ? AND seq > ? ORDER BY seq LIMIT ?`,
		conversation, after, limit)
	return ms, err
}

// MessagesBySeq loads several messages of a conversation, in ascending order.
func (tx Tx) MessagesBySeq(ctx context.Context, conversation int64, seqs []int64) (ms []Message, err error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &ms, `SELECT * FROM messages WHERE conversation_id = ? AND seq IN (?) ORDER BY seq`,
		conversation, bun.List(seqs))
	return ms, err
}

// Put notes where a message stands in its conversation's topic.
func (tx Tx) Put(ctx context.Context, conversation, seq int64, at Place) error {
	_, err := tx.exec(ctx, `UPDATE messages SET topic_epoch = ?, topic_seq = ? WHERE conversation_id = ? AND seq = ?`,
		at.Epoch, at.Seq, conversation, seq)
	return err
}

// UpTo finds the last message at or before a place in its conversation's topic, 0 when there is
// none. What stands in another epoch came before: Parley tells of the newest epoch only.
func (tx Tx) UpTo(ctx context.Context, conversation int64, at Place) (seq int64, err error) {
	err = tx.get(ctx, &seq, `
		SELECT seq FROM messages WHERE conversation_id = ? AND topic_epoch <> '' AND (topic_epoch <> ? OR topic_seq <= ?)
		ORDER BY seq DESC LIMIT 1`, conversation, at.Epoch, at.Seq)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return seq, err
}

// LastMessages loads the last message of each conversation, in no order.
func (tx Tx) LastMessages(ctx context.Context, conversations []int64) (ms []Message, err error) {
	if len(conversations) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &ms, `
		SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation_id AND c.last_seq = m.seq
		WHERE c.id IN (?)`, bun.List(conversations))
	return ms, err
}

// FirstMessages loads message 1 of each conversation, in no order.
func (tx Tx) FirstMessages(ctx context.Context, conversations []int64) (ms []Message, err error) {
	if len(conversations) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &ms, `SELECT * FROM messages WHERE seq = 1 AND conversation_id IN (?)`, bun.List(conversations))
	return ms, err
}

// Voice is somebody who spoke in a conversation.
type Voice struct {
	ConversationID int64 `bun:"conversation_id"`
	SenderID       int64 `bun:"sender_id"`
}

// Voices lists who spoke among the last lines of each conversation, the latest voice first.
func (tx Tx) Voices(ctx context.Context, conversations []int64, lines int) (vs []Voice, err error) {
	if len(conversations) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &vs, `
		SELECT m.conversation_id, m.sender_id FROM messages m JOIN conversations c ON c.id = m.conversation_id
		WHERE c.id IN (?) AND m.seq > c.last_seq - ? GROUP BY m.conversation_id, m.sender_id
		ORDER BY MAX(m.seq) DESC`, bun.List(conversations), lines)
	return vs, err
}

// CountMessages counts what a person said in open conversations and has not deleted.
func (tx Tx) CountMessages(ctx context.Context, sender int64) (n int64, err error) {
	err = tx.get(ctx, &n, `
		SELECT COUNT(*) FROM messages m JOIN conversations c ON c.id = m.conversation_id
		WHERE m.sender_id = ? AND m.deleted_at IS NULL AND c.kind IN ('post', 'room')`, sender)
	return n, err
}

// EditMessage replaces a body and records the change. It returns the change's seq.
func (tx Tx) EditMessage(ctx context.Context, m Message, body string, actor, at int64) (int64, error) {
	_, err := tx.exec(ctx, `UPDATE messages SET body = ?, edited_at = ? WHERE conversation_id = ? AND seq = ?`,
		body, at, m.ConversationID, m.Seq)
	if err != nil {
		return 0, err
	}
	return tx.change(ctx, Change{ConversationID: m.ConversationID, Seq: m.Seq, Op: "edit", ActorID: actor, At: at})
}

// DeleteMessage empties a message, keeps its place and records the change. It returns the
// change's seq.
func (tx Tx) DeleteMessage(ctx context.Context, m Message, actor, at int64) (int64, error) {
	_, err := tx.exec(ctx, `UPDATE messages SET body = '', deleted_at = ? WHERE conversation_id = ? AND seq = ?`,
		at, m.ConversationID, m.Seq)
	if err != nil {
		return 0, err
	}
	return tx.change(ctx, Change{ConversationID: m.ConversationID, Seq: m.Seq, Op: "delete", ActorID: actor, At: at})
}

func (tx Tx) change(ctx context.Context, c Change) (int64, error) {
	err := tx.get(ctx, &c.ChangeSeq, `UPDATE conversations SET last_change_seq = last_change_seq + 1 WHERE id = ? RETURNING last_change_seq`,
		c.ConversationID)
	if err != nil {
		return 0, err
	}
	return c.ChangeSeq, tx.insert(ctx, &c)
}

// ChangesAfter lists the first changes with a change seq above after, in ascending order.
func (tx Tx) ChangesAfter(ctx context.Context, conversation, after int64, limit int) (cs []Change, err error) {
	err = tx.list(ctx, &cs, `SELECT * FROM changes WHERE conversation_id = ? AND change_seq > ? ORDER BY change_seq LIMIT ?`,
		conversation, after, limit)
	return cs, err
}
