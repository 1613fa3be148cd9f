package pages

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

// mostPeople bounds who is offered to write to.
const mostPeople = 50

func (p *Pages) rooms(c *gin.Context) error {
	return p.show(c, http.StatusOK, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "chat.title")
		return &web.ChatIndex{Layout: l, Kind: "room"}, nil
	})
}

func (p *Pages) directs(c *gin.Context) error {
	in, err := member(c)
	if err != nil {
		return err
	}
	return p.show(c, http.StatusOK, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "direct.title")
		people, err := tx.SearchUsers(ctx, "", mostPeople)
		if err != nil {
			return nil, err
		}
		page := &web.ChatIndex{Layout: l, Kind: "direct"}
		for _, u := range people {
			if u.ID != in.User.ID {
				page.People = append(page.People, p.Draw.Person(u))
			}
		}
		return page, nil
	})
}

func (p *Pages) openDirect(c *gin.Context) error {
	conversation, err := p.Talk.OpenDirect(c.Request.Context(), actor(c), c.PostForm("user"))
	if f, ok := fault.Of(err); ok && f.Kind != fault.SignedOut {
		p.flash(c, "error", f.Text)
		redirect(c, web.PathDirects)
		return nil
	}
	if err != nil {
		return err
	}
	redirect(c, web.RoomURL("direct", conversation.PublicID))
	return nil
}

func (p *Pages) newRoom(c *gin.Context) error {
	return p.roomForm(c, http.StatusOK, talk.RoomPlan{}, nil)
}

func (p *Pages) createRoom(c *gin.Context) error {
	plan := talk.RoomPlan{Title: c.PostForm("title"), About: c.PostForm("description"), Private: c.PostForm("private") == "1"}
	room, err := p.Talk.CreateRoom(c.Request.Context(), actor(c), plan)
	if err != nil {
		refused, err := fieldErrors(err)
		if err != nil {
			return err
		}
		return p.roomForm(c, http.StatusUnprocessableEntity, plan, refused)
	}
	redirect(c, web.RoomURL(string(room.Kind), room.PublicID))
	return nil
}

func (p *Pages) roomForm(c *gin.Context, status int, plan talk.RoomPlan, refused map[string]string) error {
	if _, err := member(c); err != nil {
		return err
	}
	return p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "room.new")
		return &web.RoomForm{Layout: l, RoomTitle: plan.Title, Description: plan.About, Private: plan.Private, Errors: refused}, nil
	})
}

func (p *Pages) room(c *gin.Context) error { return p.showRoom(c, http.StatusOK, "", "") }

// showRoom draws a room, a group or a direct conversation; draft and refusal are of a line that
// was refused.
func (p *Pages) showRoom(c *gin.Context, status int, draft, refusal string) error {
	id := c.Param("id")
	position := p.Live.Position(c.Request.Context(), web.TopicConversation(id))
	return p.show(c, status, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		place, err := p.Talk.Open(ctx, tx, actor(c), id)
		if err != nil {
			return nil, err
		}
		if place.Conversation.Kind == store.Post {
			return nil, notFound()
		}
		rooms, err := p.Draw.Rooms(ctx, tx, []store.Conversation{place.Conversation}, place.Who)
		if err != nil {
			return nil, err
		}
		page := &web.Chat{Layout: l, Room: rooms[0], CanInvite: place.Conversation.Kind == store.Group}
		page.Title = page.Room.Title
		page.Thread, err = p.Talk.Thread(ctx, tx, place, number(c.Query("before")))
		page.Thread.Position, page.Thread.Draft, page.Thread.Error = position, draft, refusal
		return page, err
	})
}

// sayInRoom takes the composer's form.
func (p *Pages) sayInRoom(c *gin.Context) error {
	id := c.Param("id")
	m, err := p.Talk.Send(c.Request.Context(), actor(c), lineOf(c, id))
	if err != nil {
		refused, err := fieldErrors(err)
		if err != nil {
			return err
		}
		return p.showRoom(c, http.StatusUnprocessableEntity, c.PostForm("body"), anyOf(refused))
	}
	redirect(c, c.Request.URL.Path+anchor(m.Seq))
	return nil
}
