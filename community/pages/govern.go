package pages

import (
	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// govern is what an admin may change about a person, nil when the reader may not, or it is
// themselves: an admin who demotes themselves may be the last.
func govern(reader *store.User, u store.User) *web.Govern {
	if reader == nil || reader.Role != store.Admin || reader.ID == u.ID {
		return nil
	}
	out := &web.Govern{Closed: u.BannedAt != nil}
	for _, role := range store.Roles() {
		out.Roles = append(out.Roles, string(role))
	}
	return out
}

func (p *Pages) setRole(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	handle := c.Param("name")
	if err := p.Accounts.SetRole(c.Request.Context(), in.User, handle, store.Role(c.PostForm("role"))); err != nil {
		return err
	}
	p.Live.Changed(c.Request.Context(), handle)
	p.flash(c, "ok", "settings.saved")
	redirect(c, web.ProfileURL(handle))
	return nil
}

func (p *Pages) closeAccount(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	handle, act := c.Param("name"), p.Accounts.Unban
	if c.PostForm("closed") == "1" {
		act = p.Accounts.Ban
	}
	if err := act(c.Request.Context(), in.User, handle); err != nil {
		return err
	}
	p.Live.SignedOut(c.Request.Context(), handle)
	p.flash(c, "ok", "settings.saved")
	redirect(c, web.ProfileURL(handle))
	return nil
}

// invite adds somebody to a group.
func (p *Pages) invite(c *gin.Context) error {
	err := p.Talk.Invite(c.Request.Context(), actor(c), c.Param("id"), c.PostForm("user"))
	if f, ok := fault.Of(err); ok && f.Text == fault.NoPerson {
		p.flash(c, "error", f.Text)
	} else if err != nil {
		return err
	}
	redirect(c, web.RoomURL("group", c.Param("id")))
	return nil
}

// leave ends the reader's membership of a group.
func (p *Pages) leave(c *gin.Context) error {
	if err := p.Talk.Leave(c.Request.Context(), actor(c), c.Param("id")); err != nil {
		return err
	}
	p.Live.Changed(c.Request.Context(), actor(c))
	redirect(c, web.PathChat)
	return nil
}
