package view

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

const (
	excerptLength = 160
	facesPerRow   = 4
	recentLines   = 40 // how far back the faces are looked for
)

// Posts draws rows of a list of posts, for a reader or for a visitor (nil), in a language.
func (d *Drawer) Posts(ctx context.Context, tx store.Tx, cs []store.Conversation, reader *store.User, lang web.Lang) ([]web.PostSummary, error) {
	ids := make([]int64, len(cs))
	for i, c := range cs {
		ids[i] = c.ID
	}
	shelves, err := d.shelves(ctx, tx, lang)
	if err != nil {
		return nil, err
	}
	opening, err := d.openings(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	voices, people, err := d.voices(ctx, tx, cs, ids)
	if err != nil {
		return nil, err
	}
	places, err := placesOf(ctx, tx, reader, ids)
	if err != nil {
		return nil, err
	}
	out := make([]web.PostSummary, len(cs))
	for i, c := range cs {
		out[i] = web.PostSummary{
			ID: c.PublicID, Title: c.Title, Excerpt: opening[c.ID], Author: people[c.CreatorID],
			Comments: int(max(0, c.LastSeq-1)), Created: moment(c.CreatedAt), LastAt: moment(c.LastMessageAt),
			LastAuthor: people[c.CreatorID], Pinned: c.Pinned, People: voices[c.ID],
		}
		if c.CategoryID != nil {
			out[i].Category = shelves[*c.CategoryID]
		}
		if c.LastSenderID != nil {
			out[i].LastAuthor = people[*c.LastSenderID]
		}
		if reader != nil {
			_, opened := places[c.ID]
			out[i].New, out[i].Unread = !opened && c.CreatorID != reader.ID, places.unread(c)
		}
	}
	return out, nil
}

// Post draws one row as live events carry it: for nobody in particular.
func (d *Drawer) Post(ctx context.Context, tx store.Tx, c store.Conversation) (web.PostSummary, error) {
	out, err := d.Posts(ctx, tx, []store.Conversation{c}, nil, web.English)
	if err != nil {
		return web.PostSummary{}, err
	}
	return out[0], nil
}

func (d *Drawer) shelves(ctx context.Context, tx store.Tx, lang web.Lang) (map[int64]web.Category, error) {
	cs, err := tx.Categories(ctx)
	out := make(map[int64]web.Category, len(cs))
	for _, c := range cs {
		out[c.ID] = Category(c, lang)
	}
	return out, err
}

func (d *Drawer) openings(ctx context.Context, tx store.Tx, ids []int64) (map[int64]string, error) {
	ms, err := tx.FirstMessages(ctx, ids)
	out := make(map[int64]string, len(ms))
	for _, m := range ms {
		out[m.ConversationID] = d.md.Text(m.Body, excerptLength)
	}
	return out, err
}

// voices finds the faces of each post and everybody named in its row.
func (d *Drawer) voices(ctx context.Context, tx store.Tx, cs []store.Conversation, ids []int64) (map[int64][]web.Person, cast, error) {
	vs, err := tx.Voices(ctx, ids, recentLines)
	if err != nil {
		return nil, nil, err
	}
	var who []int64
	for _, c := range cs {
		who = append(who, c.CreatorID)
		if c.LastSenderID != nil {
			who = append(who, *c.LastSenderID)
		}
	}
	for _, v := range vs {
		who = append(who, v.SenderID)
	}
	slices.Sort(who)
	people, err := d.cast(ctx, tx, slices.Compact(who))
	if err != nil {
		return nil, nil, err
	}
	out := make(map[int64][]web.Person, len(cs))
	for _, v := range vs {
		if len(out[v.ConversationID]) < facesPerRow {
			out[v.ConversationID] = append(out[v.ConversationID], people[v.SenderID])
		}
	}
	return out, people, nil
}

// Notifications draws a person's inbox.
func (d *Drawer) Notifications(ctx context.Context, tx store.Tx, ns []store.Notification) ([]web.Notification, error) {
	var talks, actors []int64
	for _, n := range ns {
		talks, actors = append(talks, n.ConversationID), append(actors, n.ActorID)
	}
	cs, err := tx.ConversationsByID(ctx, talks)
	if err != nil {
		return nil, err
	}
	people, err := d.cast(ctx, tx, actors)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]store.Conversation, len(cs))
	for _, c := range cs {
		byID[c.ID] = c
	}
	out := make([]web.Notification, 0, len(ns))
	for _, n := range ns {
		c := byID[n.ConversationID]
		// An invitation may come before anything was said.
		m, err := tx.Message(ctx, n.ConversationID, n.Seq)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out = append(out, web.Notification{
			ID: strconv.FormatInt(n.ID, 10), Kind: n.Kind, Actor: people[n.ActorID], Title: c.Title,
			Excerpt: d.md.Text(m.Body, quoteLength), URL: MessageURL(c, n.Seq), Created: moment(n.CreatedAt), Read: n.ReadAt != nil,
		})
	}
	return out, nil
}

// MessageURL is the address of a message on its page.
func MessageURL(c store.Conversation, seq int64) string {
	page := web.RoomURL(string(c.Kind), c.PublicID)
	if c.Kind == store.Post {
		page = web.PostURL(c.PublicID)
	}
	if seq == 0 || c.Kind == store.Post && seq == 1 {
		return page
	}
	return page + "#c" + strconv.FormatInt(seq, 10)
}
