package view

import (
	"context"

	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// Lengths of shortened texts, in characters.
const (
	quoteLength = 100
	lineLength  = 80
)

// Messages draws messages of one conversation. reader decides what may be changed; nil leaves
// that out, as live events do.
func (d *Drawer) Messages(ctx context.Context, tx store.Tx, c store.Conversation, ms []store.Message, reader *store.User) ([]web.Message, error) {
	quoted, err := d.quoted(ctx, tx, c, ms)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, m := range ms {
		ids = append(ids, m.SenderID)
	}
	for _, q := range quoted {
		ids = append(ids, q.SenderID)
	}
	people, err := d.cast(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]web.Message, len(ms))
	for i, m := range ms {
		out[i] = d.message(c, m, people)
		if m.ReplyToSeq != nil {
			if q, ok := quoted[*m.ReplyToSeq]; ok {
				out[i].ReplyTo = d.quote(q, people)
			}
		}
		if reader != nil {
			out[i].CanEdit, out[i].CanDelete = d.MayChange(reader, m)
		}
	}
	return out, nil
}

// Message draws one message as live events carry it.
func (d *Drawer) Message(ctx context.Context, tx store.Tx, c store.Conversation, m store.Message) (web.Message, error) {
	out, err := d.Messages(ctx, tx, c, []store.Message{m}, nil)
	if err != nil {
		return web.Message{}, err
	}
	return out[0], nil
}

func (d *Drawer) quoted(ctx context.Context, tx store.Tx, c store.Conversation, ms []store.Message) (map[int64]store.Message, error) {
	var seqs []int64
	for _, m := range ms {
		if m.ReplyToSeq != nil {
			seqs = append(seqs, *m.ReplyToSeq)
		}
	}
	found, err := tx.MessagesBySeq(ctx, c.ID, seqs)
	out := make(map[int64]store.Message, len(found))
	for _, m := range found {
		out[m.Seq] = m
	}
	return out, err
}

func (d *Drawer) message(c store.Conversation, m store.Message, people cast) web.Message {
	out := web.Message{
		Conversation: c.PublicID, Seq: uint64(m.Seq), ID: m.PublicID, Author: people[m.SenderID],
		Created: moment(m.CreatedAt), Edited: m.EditedAt != nil, Deleted: m.DeletedAt != nil, Key: m.ClientKey,
	}
	if m.Place.Epoch != "" {
		out.Place = &web.Position{Epoch: m.Place.Epoch, Seq: uint64(m.Place.Seq)}
	}
	if !out.Deleted {
		out.HTML, out.Body, out.Mentions = d.md.HTML(m.Body), m.Body, d.md.Mentions(m.Body)
	}
	return out
}

func (d *Drawer) quote(m store.Message, people cast) *web.Quote {
	return &web.Quote{Seq: uint64(m.Seq), Author: people[m.SenderID], Excerpt: d.md.Text(m.Body, quoteLength)}
}

// Rooms draws rooms, groups and direct conversations for a reader, or for a visitor (nil). The
// title of a direct conversation is the other person.
func (d *Drawer) Rooms(ctx context.Context, tx store.Tx, cs []store.Conversation, reader *store.User) ([]web.Room, error) {
	ids := make([]int64, len(cs))
	for i, c := range cs {
		ids[i] = c.ID
	}
	lines, err := tx.LastMessages(ctx, ids)
	if err != nil {
		return nil, err
	}
	last := make(map[int64]string, len(lines))
	for _, m := range lines {
		last[m.ConversationID] = d.md.Text(m.Body, lineLength)
	}
	places, err := placesOf(ctx, tx, reader, ids)
	if err != nil {
		return nil, err
	}
	out := make([]web.Room, len(cs))
	for i, c := range cs {
		out[i] = web.Room{
			ID: c.PublicID, Kind: string(c.Kind), Title: c.Title, Description: c.About, Joined: places.joined(c), Unread: places.unread(c),
			LastSeq: uint64(c.LastSeq), LastAt: moment(c.LastMessageAt), LastText: last[c.ID], Members: int(c.MemberCount),
		}
		if c.Kind == store.Direct && reader != nil {
			if err := d.face(ctx, tx, c, reader, &out[i]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// face gives a direct conversation the other person's name.
func (d *Drawer) face(ctx context.Context, tx store.Tx, c store.Conversation, reader *store.User, room *web.Room) error {
	both, err := tx.Participants(ctx, c.ID, 2)
	if err != nil {
		return err
	}
	for _, u := range both {
		if u.ID != reader.ID || len(both) == 1 {
			peer := d.Person(u)
			room.Peer, room.Title = &peer, peer.Display
		}
	}
	return nil
}

// places are a reader's memberships by conversation.
type places map[int64]store.Membership

func placesOf(ctx context.Context, tx store.Tx, reader *store.User, ids []int64) (places, error) {
	out := make(places)
	if reader == nil {
		return out, nil
	}
	ms, err := tx.Memberships(ctx, reader.ID, ids)
	for _, m := range ms {
		out[m.ConversationID] = m
	}
	return out, err
}

func (p places) unread(c store.Conversation) int {
	if !p.joined(c) {
		return 0
	}
	m := p[c.ID]
	return int(m.Unread(c.LastSeq))
}

// joined reports whether what is unread there counts for the reader: a post counts once opened.
func (p places) joined(c store.Conversation) bool {
	m, ok := p[c.ID]
	return ok && m.LeftSeq == nil && (m.Role != store.Reader || c.Kind == store.Post)
}
