package pages

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

const (
	mostNotes    = 60
	postsProfile = 10
)

func (p *Pages) inbox(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	return p.show(c, http.StatusOK, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "inbox.title")
		rows, err := tx.Notifications(ctx, in.User.ID, number(c.Query("before")), mostNotes+1)
		if err != nil {
			return nil, err
		}
		page := &web.Notifications{Layout: l}
		if len(rows) > mostNotes {
			rows = rows[:mostNotes]
			page.Next = web.PathNotifications + "?before=" + strconv.FormatInt(rows[mostNotes-1].ID, 10)
		}
		page.Items, err = p.Draw.Notifications(ctx, tx, rows)
		return page, err
	})
}

func (p *Pages) readInbox(c *gin.Context) error {
	if _, err := p.Talk.ReadNotification(c.Request.Context(), actor(c), 0); err != nil {
		return err
	}
	redirect(c, web.PathNotifications)
	return nil
}

func (p *Pages) openNotification(c *gin.Context) error {
	if _, err := member(c); err != nil {
		return err
	}
	url, err := p.Talk.OpenNotification(c.Request.Context(), actor(c), number(c.Param("id")))
	if err != nil {
		return err
	}
	redirect(c, url)
	return nil
}

func (p *Pages) profile(c *gin.Context) error {
	return p.show(c, http.StatusOK, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		u, err := tx.UserByHandle(ctx, strings.ToLower(c.Param("name")))
		if errors.Is(err, store.ErrNotFound) {
			return nil, notFound()
		}
		if err != nil {
			return nil, err
		}
		page := &web.Profile{
			Layout: l, Person: p.Draw.Person(u), Joined: time.UnixMilli(u.CreatedAt).UTC(),
			IsSelf: actor(c) == u.Handle, Govern: govern(reader(c), u),
		}
		page.Title = u.DisplayName
		if u.SeenAt > 0 {
			page.LastSeen = time.UnixMilli(u.SeenAt).UTC()
		}
		if u.Bio != "" {
			page.Bio = p.Draw.HTML(u.Bio)
		}
		posts, err := tx.CountPosts(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		said, err := tx.CountMessages(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		page.PostsN, page.CommentN = int(posts), int(max(0, said-posts))
		rows, err := tx.Posts(ctx, store.PostQuery{Author: u.ID, Newest: true, Limit: postsProfile})
		if err != nil {
			return nil, err
		}
		page.Posts, err = p.Draw.Posts(ctx, tx, rows, reader(c), l.Lang)
		return page, err
	})
}

func (p *Pages) settings(c *gin.Context) error { return p.showSettings(c, nil) }

// showSettings draws the settings, with what was typed and why it was refused.
func (p *Pages) showSettings(c *gin.Context, refusal error) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	status, display, bio := http.StatusOK, in.User.DisplayName, in.User.Bio
	var refused map[string]string
	if refusal != nil {
		status = statusOf(refusal)
		if refused, err = fieldErrors(refusal); err != nil {
			return err
		}
		if _, typed := c.GetPostForm("bio"); typed {
			display, bio = c.PostForm("display"), c.PostForm("bio")
		}
	}
	sessions, err := p.Accounts.Sessions(c.Request.Context(), in.User)
	if err != nil {
		return err
	}
	return p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "settings.title")
		return &web.Settings{
			Layout: l, DisplayName: display, BioSource: bio, Errors: refused, Sessions: devices(sessions, in.Session.ID),
		}, nil
	})
}

func (p *Pages) saveSettings(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	err = p.Accounts.SaveSettings(c.Request.Context(), in.User, store.Settings{
		DisplayName: c.PostForm("display"), Bio: c.PostForm("bio"), Language: in.User.Language, Theme: in.User.Theme,
	})
	if err != nil {
		return p.showSettings(c, err)
	}
	p.flash(c, "ok", "settings.saved")
	redirect(c, web.PathSettings)
	return nil
}

func (p *Pages) changePassword(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	err = p.Accounts.ChangePassword(c.Request.Context(), in, c.PostForm("current"), c.PostForm("password"))
	if err != nil {
		return p.showSettings(c, err)
	}
	p.Live.SignedOut(c.Request.Context(), in.User.Handle)
	p.flash(c, "ok", "settings.password_changed")
	redirect(c, web.PathSettings)
	return nil
}

// revoke ends one other session, or all others.
func (p *Pages) revoke(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	if id := c.PostForm("id"); id == "others" {
		err = p.Accounts.RevokeOthers(c.Request.Context(), in)
	} else {
		err = p.Accounts.Revoke(c.Request.Context(), in, number(id))
	}
	if f, ok := fault.Of(err); err != nil && (!ok || f.Kind != fault.NotFound) {
		return err // one that has ended already is what was asked for
	}
	p.Live.SignedOut(c.Request.Context(), in.User.Handle)
	redirect(c, web.PathSettings)
	return nil
}

func devices(sessions []store.Session, current int64) []web.Session {
	out := make([]web.Session, len(sessions))
	for i, s := range sessions {
		out[i] = web.Session{
			ID: strconv.FormatInt(s.ID, 10), Device: device(s.Agent), Address: s.Address, Current: s.ID == current,
			Created: time.UnixMilli(s.CreatedAt).UTC(), LastSeen: time.UnixMilli(s.SeenAt).UTC(),
		}
	}
	return out
}

// device makes "Firefox · Linux" of a User-Agent. The order matters: every browser claims to be
// several others.
func device(agent string) string {
	name := firstOf(agent, "Edg", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "Chrome/", "Chrome", "Safari/", "Safari", "curl/", "curl")
	system := firstOf(agent, "Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS", "macOS", "Linux", "Linux")
	switch {
	case name == "":
		return "Browser"
	case system == "":
		return name
	}
	return name + " · " + system
}

// firstOf answers the name after the first sign, of pairs of both, that is in s.
func firstOf(s string, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if strings.Contains(s, pairs[i]) {
			return pairs[i+1]
		}
	}
	return ""
}

// signInAs sets the session cookie and leaves the visitor's behind.
func (p *Pages) signInAs(c *gin.Context, token string) {
	p.setCookie(c, sessionCookie, token, int(account.SessionLife.Seconds()))
	p.setCookie(c, visitorCookie, "", -1)
}
