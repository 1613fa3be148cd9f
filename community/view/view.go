// Package view draws rows of the store as the models that web shows and the socket carries.
package view

import (
	"context"
	"html/template"
	"time"

	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// Drawer turns rows into models. Safe for concurrent use.
type Drawer struct {
	md     *markup.Renderer
	now    func() time.Time
	window time.Duration
	online func(handle string) bool
}

// NewDrawer makes a drawer. window is how long own messages may be changed; online tells whether
// a person has a page open, and may be called at any time.
func NewDrawer(md *markup.Renderer, now func() time.Time, window time.Duration, online func(handle string) bool) *Drawer {
	return &Drawer{md: md, now: now, window: window, online: online}
}

// Person draws one person.
func (d *Drawer) Person(u store.User) web.Person {
	return web.Person{ID: u.Handle, Name: u.Handle, Display: u.DisplayName, Role: string(u.Role), Online: d.online(u.Handle)}
}

// People draws several.
func (d *Drawer) People(us []store.User) []web.Person {
	out := make([]web.Person, len(us))
	for i, u := range us {
		out[i] = d.Person(u)
	}
	return out
}

// HTML draws Markdown.
func (d *Drawer) HTML(source string) template.HTML { return d.md.HTML(source) }

// MayChange reports whether a person may edit or delete a message now. Own messages within the
// window; moderators delete (and never edit) those of others at any time.
func (d *Drawer) MayChange(who *store.User, m store.Message) (edit, remove bool) {
	if who == nil || m.DeletedAt != nil {
		return false, false
	}
	power := who.Role == store.Admin || who.Role == store.Moderator
	own := m.SenderID == who.ID && d.now().UnixMilli()-m.CreatedAt < d.window.Milliseconds()
	return own, own || power
}

// cast finds people by id for the length of one drawing.
type cast map[int64]web.Person

func (d *Drawer) cast(ctx context.Context, tx store.Tx, ids []int64) (cast, error) {
	us, err := tx.UsersByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(cast, len(us))
	for _, u := range us {
		out[u.ID] = d.Person(u)
	}
	return out, nil
}

// Category draws a shelf in the reader's language.
func Category(c store.Category, lang web.Lang) web.Category {
	out := web.Category{ID: c.Slug, Slug: c.Slug, Name: c.Name, Description: c.About, Hue: c.Hue, Posts: int(c.Posts)}
	if lang == web.Chinese && c.NameZH != "" {
		out.Name, out.Description = c.NameZH, c.AboutZH
	}
	return out
}

// Categories draws all shelves.
func Categories(cs []store.Category, lang web.Lang) []web.Category {
	out := make([]web.Category, len(cs))
	for i, c := range cs {
		out[i] = Category(c, lang)
	}
	return out
}

// Unread counts what waits for a person.
func Unread(ctx context.Context, tx store.Tx, user int64) (u web.Unread, err error) {
	inbox, err := tx.UnreadNotifications(ctx, user)
	if err != nil {
		return u, err
	}
	rooms, direct, err := tx.Unread(ctx, user)
	return web.Unread{Notifications: int(inbox), Chat: int(rooms), Direct: int(direct)}, err
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
