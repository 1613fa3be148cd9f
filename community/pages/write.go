package pages

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

func (p *Pages) newPost(c *gin.Context) error {
	return p.postForm(c, http.StatusOK, "", talk.Draft{Category: c.Query("category")}, nil)
}

func (p *Pages) createPost(c *gin.Context) error {
	draft := draftOf(c)
	post, err := p.Talk.CreatePost(c.Request.Context(), actor(c), draft)
	if err != nil {
		return p.postForm(c, statusOf(err), "", draft, err)
	}
	redirect(c, web.PostURL(post.PublicID))
	return nil
}

func (p *Pages) editPost(c *gin.Context) error {
	id := c.Param("id")
	post, first, err := p.Talk.Changeable(c.Request.Context(), actor(c), id, 1)
	if err != nil {
		return err
	}
	draft := talk.Draft{Title: post.Title, Body: first.Body}
	err = p.DB.Read(c.Request.Context(), func(ctx context.Context, tx store.Tx) error {
		shelves, err := tx.Categories(ctx)
		for _, shelf := range shelves {
			if post.CategoryID != nil && shelf.ID == *post.CategoryID {
				draft.Category = shelf.Slug
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.postForm(c, http.StatusOK, id, draft, nil)
}

func (p *Pages) savePost(c *gin.Context) error {
	draft, id := draftOf(c), c.Param("id")
	if _, err := p.Talk.EditPost(c.Request.Context(), actor(c), id, draft); err != nil {
		return p.postForm(c, statusOf(err), id, draft, err)
	}
	redirect(c, web.PostURL(id))
	return nil
}

func draftOf(c *gin.Context) talk.Draft {
	return talk.Draft{Category: c.PostForm("category"), Title: c.PostForm("title"), Body: c.PostForm("body"), Key: c.PostForm("key")}
}

// postForm draws the form of a new post (id "") or of one that exists, with why it was refused.
func (p *Pages) postForm(c *gin.Context, status int, id string, draft talk.Draft, refusal error) error {
	if _, err := member(c); err != nil {
		return err
	}
	var refused map[string]string
	if refusal != nil {
		var err error
		if refused, err = fieldErrors(refusal); err != nil {
			return err
		}
	}
	return p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		title := "post.new"
		if id != "" {
			title = "post.edit"
		}
		l.Title = p.Site.Text(l.Lang, title)
		return &web.PostForm{
			Layout: l, ID: id, Key: draft.Key, PostTitle: draft.Title, Body: draft.Body, CategoryID: draft.Category, Errors: refused,
		}, nil
	})
}

func (p *Pages) deletePost(c *gin.Context) error {
	if err := p.Talk.Delete(c.Request.Context(), actor(c), c.Param("id"), 1); err != nil {
		return err
	}
	redirect(c, web.PathHome)
	return nil
}

// comment takes the comment form of a post.
func (p *Pages) comment(c *gin.Context) error {
	id := c.Param("id")
	m, err := p.Talk.Send(c.Request.Context(), actor(c), lineOf(c, id))
	if err != nil {
		refused, err := fieldErrors(err)
		if err != nil {
			return err
		}
		return p.showPost(c, http.StatusUnprocessableEntity, c.PostForm("body"), anyOf(refused))
	}
	redirect(c, web.PostURL(id)+anchor(m.Seq))
	return nil
}

func lineOf(c *gin.Context, conversation string) talk.Line {
	return talk.Line{Conversation: conversation, Key: c.PostForm("key"), Body: c.PostForm("body"), ReplyTo: number(c.PostForm("reply_to"))}
}

func anchor(seq uint64) string { return "#c" + strconv.FormatUint(seq, 10) }

// anyOf is the one refusal of a form that has one field.
func anyOf(refused map[string]string) string {
	for _, text := range refused {
		return text
	}
	return ""
}

func (p *Pages) editMessage(c *gin.Context) error {
	return p.messageForm(c, http.StatusOK, "", nil)
}

func (p *Pages) saveMessage(c *gin.Context) error {
	id, seq := c.Param("id"), number(c.Param("seq"))
	body := c.PostForm("body")
	if _, err := p.Talk.Edit(c.Request.Context(), actor(c), id, seq, body); err != nil {
		refused, err := fieldErrors(err)
		if err != nil {
			return err
		}
		return p.messageForm(c, http.StatusUnprocessableEntity, body, refused)
	}
	return p.backTo(c, id, seq)
}

func (p *Pages) messageForm(c *gin.Context, status int, body string, refused map[string]string) error {
	conversation, m, err := p.Talk.Changeable(c.Request.Context(), actor(c), c.Param("id"), number(c.Param("seq")))
	if err != nil {
		return err
	}
	if refused != nil {
		m.Body = body
	}
	return p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "message.edit_title")
		back := view.MessageURL(conversation, number(c.Param("seq")))
		return &web.MessageForm{Layout: l, Message: m, Back: back, Errors: refused}, nil
	})
}

func (p *Pages) deleteMessage(c *gin.Context) error {
	id, seq := c.Param("id"), number(c.Param("seq"))
	if err := p.Talk.Delete(c.Request.Context(), actor(c), id, seq); err != nil {
		return err
	}
	return p.backTo(c, id, seq)
}

// backTo sends the browser to where a message stands.
func (p *Pages) backTo(c *gin.Context, id string, seq int64) error {
	var place talk.Place
	err := p.DB.Read(c.Request.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		place, err = p.Talk.Open(ctx, tx, actor(c), id)
		return err
	})
	if err != nil {
		return err
	}
	redirect(c, view.MessageURL(place.Conversation, seq))
	return nil
}
