package store

import (
	"context"
	"strings"

	"github.com/uptrace/bun"
)

// Kind says what a conversation is.
type Kind string

// Kinds of conversations. Posts and rooms are open to everybody; groups and direct
// conversations to their members.
const (
	Post   Kind = "post"
	Room   Kind = "room"
	Group  Kind = "group"
	Direct Kind = "direct"
)

// Public reports whether everybody may read a conversation of this kind.
func (k Kind) Public() bool { return k == Post || k == Room }

// Category is a shelf of the forum.
type Category struct {
	bun.BaseModel `bun:"table:categories"`

	ID        int64  `bun:"id,pk,autoincrement"`
	Slug      string `bun:"slug"`
	Name      string `bun:"name"`
	NameZH    string `bun:"name_zh"`
	About     string `bun:"about"`
	AboutZH   string `bun:"about_zh"`
	Hue       int    `bun:"hue"`
	Position  int    `bun:"position"`
	CreatedAt int64  `bun:"created_at"`
	Posts     int64  `bun:"posts,scanonly"`
}

// Conversation is a post, a room, a group or a direct exchange.
type Conversation struct {
	bun.BaseModel `bun:"table:conversations"`

	ID            int64   `bun:"id,pk,autoincrement"`
	PublicID      string  `bun:"public_id"`
	Kind          Kind    `bun:"kind"`
	CategoryID    *int64  `bun:"category_id"`
	CreatorID     int64   `bun:"creator_id"`
	ClientKey     *string `bun:"client_key"`
	Pair          *string `bun:"pair"`
	Title         string  `bun:"title"`
	About         string  `bun:"about"`
	LastSeq       int64   `bun:"last_seq"`
	LastChangeSeq int64   `bun:"last_change_seq"`
	LastMessageAt int64   `bun:"last_message_at"`
	LastSenderID  *int64  `bun:"last_sender_id"`
	MemberCount   int64   `bun:"member_count"`
	ReceiptsMode  string  `bun:"receipts_mode"`
	Pinned        bool    `bun:"pinned"`
	CreatedAt     int64   `bun:"created_at"`
	DeletedAt     *int64  `bun:"deleted_at"`
}

// AddCategory inserts c and fills c.ID.
func (tx Tx) AddCategory(ctx context.Context, c *Category) error { return tx.insert(ctx, c) }

// Categories lists all shelves in their order, with the number of posts on each.
func (tx Tx) Categories(ctx context.Context) (cs []Category, err error) {
	err = tx.list(ctx, &cs, `
		SELECT c.*, (SELECT COUNT(*) FROM conversations p WHERE p.category_id = c.id AND p.kind = 'post' AND p.deleted_at IS NULL) AS posts
		FROM categories c ORDER BY c.position, c.id`)
	return cs, err
}

// CategoryBySlug finds a shelf by its name in addresses.
func (tx Tx) CategoryBySlug(ctx context.Context, slug string) (c Category, err error) {
	err = tx.get(ctx, &c, `SELECT * FROM categories WHERE slug = ?`, slug)
	return c, err
}

// AddConversation inserts c and fills c.ID. It reports false, and adds nothing, when a unique
// value (client key, pair or public id) is taken.
func (tx Tx) AddConversation(ctx context.Context, c *Conversation) (bool, error) {
	result, err := tx.q.NewInsert().Model(c).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// Conversation finds one by public id. Deleted ones are found too: DeletedAt says so.
func (tx Tx) Conversation(ctx context.Context, publicID string) (c Conversation, err error) {
	err = tx.get(ctx, &c, `SELECT * FROM conversations WHERE public_id = ?`, publicID)
	return c, err
}

// ConversationByKey finds what a person created with a client key.
func (tx Tx) ConversationByKey(ctx context.Context, creator int64, key string) (c Conversation, err error) {
	err = tx.get(ctx, &c, `SELECT * FROM conversations WHERE creator_id = ? AND client_key = ?`, creator, key)
	return c, err
}

// ConversationByPair finds the direct conversation of two people.
func (tx Tx) ConversationByPair(ctx context.Context, pair string) (c Conversation, err error) {
	err = tx.get(ctx, &c, `SELECT * FROM conversations WHERE pair = ?`, pair)
	return c, err
}

// ConversationsByID loads several, in no order.
func (tx Tx) ConversationsByID(ctx context.Context, ids []int64) (cs []Conversation, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = tx.list(ctx, &cs, `SELECT * FROM conversations WHERE id IN (?)`, bun.List(ids))
	return cs, err
}

// PostQuery selects posts: all, of one category (id > 0), or of one author (id > 0).
type PostQuery struct {
	Category, Author int64
	Newest           bool
	Offset, Limit    int
}

// Posts lists posts, pinned and lately active first; with Newest the newest first.
func (tx Tx) Posts(ctx context.Context, q PostQuery) (cs []Conversation, err error) {
	where, order := []string{"kind = 'post'", "deleted_at IS NULL"}, "pinned DESC, last_message_at DESC, id DESC"
	var args []any
	if q.Category > 0 {
		where, args = append(where, "category_id = ?"), append(args, q.Category)
	}
	if q.Author > 0 {
		where, args = append(where, "creator_id = ?"), append(args, q.Author)
	}
	if q.Newest {
		order = "created_at DESC, id DESC"
	}
	err = tx.list(ctx, &cs, `SELECT * FROM conversations WHERE `+strings.Join(where, " AND ")+
		` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, q.Limit, q.Offset)...)
	return cs, err
}

// Rooms lists the public rooms, the oldest first so that the list does not move.
func (tx Tx) Rooms(ctx context.Context) (cs []Conversation, err error) {
	err = tx.list(ctx, &cs, `SELECT * FROM conversations WHERE kind = 'room' AND deleted_at IS NULL ORDER BY id LIMIT 200`)
	return cs, err
}

// ConversationsOf lists the groups and direct conversations of a person, the lately active first.
func (tx Tx) ConversationsOf(ctx context.Context, user int64, limit int) (cs []Conversation, err error) {
	err = tx.list(ctx, &cs, `
		SELECT c.* FROM conversations c JOIN members m ON m.conversation_id = c.id
		WHERE m.user_id = ? AND m.left_seq IS NULL AND c.kind IN ('group', 'direct') AND c.deleted_at IS NULL
		ORDER BY c.last_message_at DESC, c.id DESC LIMIT ?`, user, limit)
	return cs, err
}

// CountPosts counts the posts of an author.
func (tx Tx) CountPosts(ctx context.Context, author int64) (n int64, err error) {
	err = tx.get(ctx, &n, `SELECT COUNT(*) FROM conversations WHERE kind = 'post' AND deleted_at IS NULL AND creator_id = ?`, author)
	return n, err
}

// SearchPosts finds posts with needle in the title, the text or a comment, the lately active
// first.
func (tx Tx) SearchPosts(ctx context.Context, needle string, limit int) (cs []Conversation, err error) {
	like := "%" + escapeLike(needle) + "%"
	err = tx.list(ctx, &cs, `
		SELECT c.* FROM conversations c
		WHERE c.kind = 'post' AND c.deleted_at IS NULL AND (LOWER(c.title) LIKE LOWER(?) ESCAPE '\' OR EXISTS (
			SELECT 1 FROM messages m WHERE m.conversation_id = c.id AND m.deleted_at IS NULL AND LOWER(m.body) LIKE LOWER(?) ESCAPE '\'))
		ORDER BY c.last_message_at DESC, c.id DESC LIMIT ?`, like, like, limit)
	return cs, err
}

// Pin keeps a post at the top of its lists.
func (tx Tx) Pin(ctx context.Context, conversation int64) error {
	_, err := tx.exec(ctx, `UPDATE conversations SET pinned = TRUE WHERE id = ?`, conversation)
	return err
}

// Shelve moves a post to a category and gives it a title.
func (tx Tx) Shelve(ctx context.Context, conversation, category int64, title string) error {
	_, err := tx.exec(ctx, `UPDATE conversations SET title = ?, category_id = ? WHERE id = ?`, title, category, conversation)
	return err
}

// DeleteConversation hides a conversation; its rows stay.
func (tx Tx) DeleteConversation(ctx context.Context, conversation, at int64) error {
	_, err := tx.exec(ctx, `UPDATE conversations SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL`, at, conversation)
	return err
}

// escapeLike makes s match itself in a LIKE with ESCAPE '\'.
func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}
