// Package sample furnishes an empty community: categories, rooms, a few people, and enough said
// between them that a newcomer sees what the place is for.
package sample

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
)

// before is how long ago the sample people began, so that the last of them spoke a little while
// before now.
const before = 47*time.Hour + 40*time.Minute

// joined is how long ago they signed up.
const joined = 73 * 24 * time.Hour

// Plant furnishes db as of now, before anybody is let in. It may be called again after it was interrupted: what is there
// already is left as it is. The people get passwords that nobody knows.
func Plant(ctx context.Context, db *store.DB, now time.Time) error {
	p := &planter{db: db}
	p.clock.Store(now.Add(-joined).UnixMilli())
	clock := func() time.Time { return time.UnixMilli(p.clock.Load()) }
	p.accounts = account.New(db, clock)
	md := markup.New()
	p.talk = talk.New(talk.Config{
		DB: db, Markup: md, Now: clock, Wake: func() {}, PerSecond: 1000, Burst: 1000,
		Draw: view.NewDrawer(md, clock, time.Hour, func(string) bool { return false }),
	})
	for _, step := range []func(context.Context) error{p.people, p.categories, p.rooms, p.posts, p.chats, p.hush} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("sample: %w", err)
		}
	}
	return nil
}

type planter struct {
	db       *store.DB
	accounts *account.Service
	talk     *talk.Service
	clock    atomic.Int64 // Unix milliseconds; moves as the sample people speak
}

// pass lets time go by between what is said.
func (p *planter) pass(d time.Duration) { p.clock.Add(d.Milliseconds()) }

func (p *planter) people(ctx context.Context) error {
	defer p.pass(joined - before)
	for _, who := range people() {
		_, err := p.accounts.Create(ctx, who.handle, who.name, rand.Text(), store.Member)
		if f, ok := fault.Of(err); ok && f.Text == fault.TakenHandle {
			continue
		}
		if err != nil {
			return err
		}
		err = p.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
			u, err := tx.UserByHandle(ctx, who.handle)
			if err != nil {
				return err
			}
			return tx.SaveSettings(ctx, u.ID, store.Settings{DisplayName: who.name, Bio: who.bio})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *planter) categories(ctx context.Context) error {
	return p.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		for i, c := range categories() {
			_, err := tx.CategoryBySlug(ctx, c.Slug)
			if !errors.Is(err, store.ErrNotFound) {
				if err != nil {
					return err
				}
				continue
			}
			c.Position, c.CreatedAt = i, p.clock.Load()
			if err := tx.AddCategory(ctx, &c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *planter) rooms(ctx context.Context) error {
	for _, room := range rooms() {
		_, err := p.talk.CreateRoom(ctx, room.host, talk.RoomPlan{Title: room.title, About: room.about, Slug: room.slug})
		if f, ok := fault.Of(err); err != nil && (!ok || f.Kind != fault.Conflict) {
			return err
		}
	}
	return nil
}

func (p *planter) chats(ctx context.Context) error {
	for _, room := range rooms() {
		for i, l := range room.lines {
			p.pass(time.Duration(2+7*(i%3)) * time.Minute)
			if err := p.say(ctx, room.slug, room.slug, i, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planter) posts(ctx context.Context) error {
	for _, post := range posts() {
		p.pass(10 * time.Hour)
		c, err := p.talk.CreatePost(ctx, post.author, talk.Draft{
			Category: post.category, Title: post.title, Body: post.body, Key: "sample-" + post.key,
		})
		if err != nil {
			return err
		}
		if post.pinned {
			err := p.db.Write(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Pin(ctx, c.ID) })
			if err != nil {
				return err
			}
		}
		for i, l := range post.comments {
			p.pass(time.Duration(6+i*23) * time.Minute)
			if err := p.say(ctx, c.PublicID, post.key, i, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// hush drops the live events of the planting: nobody was there to hear them, and who comes now
// finds it all on the pages.
func (p *planter) hush(ctx context.Context) error {
	return p.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		for {
			events, err := tx.Outbox(ctx, 500)
			if err != nil || len(events) == 0 {
				return err
			}
			ids := make([]int64, len(events))
			for i, e := range events {
				ids[i] = e.ID
			}
			if err := tx.Published(ctx, ids); err != nil {
				return err
			}
		}
	})
}

// say speaks a line under a fixed key, so that planting twice says it once.
func (p *planter) say(ctx context.Context, conversation, key string, n int, l line) error {
	_, err := p.talk.Send(ctx, l.who, talk.Line{
		Conversation: conversation, Key: fmt.Sprintf("sample-%s-%d", key, n), Body: l.says, ReplyTo: l.answers,
	})
	if err != nil {
		return err
	}
	return p.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.UserByHandle(ctx, l.who)
		if err != nil {
			return err
		}
		return tx.Seen(ctx, u.ID, p.clock.Load())
	})
}
