package pages

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// Lengths of the lists of posts.
const (
	postsPerPage = 25
	mostResults  = 50
	mostLatest   = 5
	mostPages    = 400
	longestQuery = 100
)

func (p *Pages) home(c *gin.Context) error {
	query := strings.TrimSpace(c.Query("q"))
	if len(query) > longestQuery {
		query = strings.ToValidUTF8(query[:longestQuery], "")
	}
	return p.show(c, 200, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		page := &web.Home{Layout: l, Order: order(c), Query: query}
		var err error
		if query != "" {
			page.Title = p.Site.Text(l.Lang, "search.results")
			found, err := tx.SearchPosts(ctx, query, mostResults)
			if err != nil {
				return nil, err
			}
			page.Posts, err = p.Draw.Posts(ctx, tx, found, reader(c), l.Lang)
			return page, err
		}
		page.Posts, page.Next, err = p.posts(ctx, tx, c, store.PostQuery{}, l.Lang)
		return page, err
	})
}

func (p *Pages) category(c *gin.Context) error {
	return p.show(c, 200, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		shelf, err := tx.CategoryBySlug(ctx, c.Param("slug"))
		if errors.Is(err, store.ErrNotFound) {
			return nil, notFound()
		}
		if err != nil {
			return nil, err
		}
		page := &web.CategoryPage{Layout: l, Category: view.Category(shelf, l.Lang), Order: order(c)}
		page.Title = page.Category.Name
		page.Posts, page.Next, err = p.posts(ctx, tx, c, store.PostQuery{Category: shelf.ID}, l.Lang)
		return page, err
	})
}

// posts draws one page of a list and the address of the next.
func (p *Pages) posts(ctx context.Context, tx store.Tx, c *gin.Context, q store.PostQuery, lang web.Lang) ([]web.PostSummary, string, error) {
	n, err := strconv.Atoi(c.DefaultQuery("page", "1"))
	if err != nil || n < 1 || n > mostPages {
		n = 1
	}
	q.Newest, q.Offset, q.Limit = order(c) == "new", (n-1)*postsPerPage, postsPerPage+1
	rows, err := tx.Posts(ctx, q)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(rows) > postsPerPage {
		rows = rows[:postsPerPage]
		next = c.Request.URL.Path + "?" + url.Values{"order": {order(c)}, "page": {strconv.Itoa(n + 1)}}.Encode()
	}
	drawn, err := p.Draw.Posts(ctx, tx, rows, reader(c), lang)
	return drawn, next, err
}

func order(c *gin.Context) string {
	if c.Query("order") == "new" {
		return "new"
	}
	return "active"
}

// reader is the signed-in person, nil for a visitor.
func reader(c *gin.Context) *store.User {
	in, ok := signedIn(c)
	if !ok {
		return nil
	}
	return &in.User
}

func (p *Pages) post(c *gin.Context) error { return p.showPost(c, 200, "", "") }

// showPost draws a post and its comments; draft and refusal are of a comment that was refused.
func (p *Pages) showPost(c *gin.Context, status int, draft, refusal string) error {
	id := c.Param("id")
	position := p.Live.Position(c.Request.Context(), web.TopicConversation(id))
	return p.show(c, status, func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error) {
		place, err := p.Talk.Open(ctx, tx, actor(c), id)
		if err != nil {
			return nil, err
		}
		if place.Conversation.Kind != store.Post {
			return nil, notFound()
		}
		page := &web.PostPage{Layout: l}
		page.Title = place.Conversation.Title
		if page.Post, err = p.opening(ctx, tx, c, place.Conversation, l.Lang); err != nil {
			return nil, err
		}
		if page.Thread, err = p.Talk.Thread(ctx, tx, place, number(c.Query("before"))); err != nil {
			return nil, err
		}
		page.Thread.Position, page.Thread.Draft, page.Thread.Error = position, draft, refusal
		page.Latest, err = p.latest(ctx, tx, c, place.Conversation, l.Lang)
		return page, err
	})
}

// opening draws the post itself.
func (p *Pages) opening(ctx context.Context, tx store.Tx, c *gin.Context, post store.Conversation, lang web.Lang) (web.Post, error) {
	rows, err := p.Draw.Posts(ctx, tx, []store.Conversation{post}, reader(c), lang)
	if err != nil {
		return web.Post{}, err
	}
	first, err := tx.Message(ctx, post.ID, 1)
	if err != nil {
		return web.Post{}, err
	}
	out := web.Post{
		ID: post.PublicID, Title: post.Title, HTML: p.Draw.HTML(first.Body), Author: rows[0].Author, Category: rows[0].Category,
		Created: rows[0].Created, Edited: first.EditedAt != nil, Comments: rows[0].Comments,
	}
	out.CanEdit, out.CanDelete = p.Draw.MayChange(reader(c), first)
	return out, nil
}

// latest lists a few other posts.
func (p *Pages) latest(ctx context.Context, tx store.Tx, c *gin.Context, but store.Conversation, lang web.Lang) ([]web.PostSummary, error) {
	rows, err := tx.Posts(ctx, store.PostQuery{Limit: mostLatest + 1})
	if err != nil {
		return nil, err
	}
	var others []store.Conversation
	for _, row := range rows {
		if row.ID != but.ID && len(others) < mostLatest {
			others = append(others, row)
		}
	}
	return p.Draw.Posts(ctx, tx, others, reader(c), lang)
}

// number reads a seq from a form or address, 0 when it is none.
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
