package pages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// mostForm bounds a form in bytes: the longest post in four-byte characters, percent-encoded.
const mostForm = 640 << 10

// Sizes of the lists around a page.
const (
	mostDirects = 20
	mostRooms   = 50
	mostOnline  = 30
)

// handler answers one request, or says why it cannot.
type handler func(c *gin.Context) error

// drawing fills one page. It runs on one state of the data, the one the layout shows.
type drawing func(ctx context.Context, tx store.Tx, l web.Layout) (web.Page, error)

// answer runs a handler and draws what it refused.
func (p *Pages) answer(h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, mostForm)
		if err := h(c); err != nil {
			p.refuse(c, err)
		}
	}
}

// refuse draws the error page of a fault; anything else is logged and shown as our mistake.
func (p *Pages) refuse(c *gin.Context, err error) {
	if errors.Is(err, context.Canceled) && c.Request.Context().Err() != nil {
		return // the reader has gone
	}
	status, detail := http.StatusInternalServerError, ""
	if f, ok := fault.Of(err); ok {
		status, detail = f.Status(), f.Text
		if f.Kind == fault.SignedOut && c.Request.Method != http.MethodPost {
			redirect(c, "/signin?next="+url.QueryEscape(c.Request.URL.RequestURI()))
			return
		}
		if f.After > 0 {
			c.Header("Retry-After", strconv.Itoa(int(f.After.Seconds())+1))
		}
		if status == http.StatusUnprocessableEntity {
			status = http.StatusBadRequest
		}
	} else {
		p.Log.ErrorContext(c, "page failed", "method", c.Request.Method, "path", c.Request.URL.Path, "request", requestID(c), "error", err)
	}
	if strings.HasSuffix(detail, ".hint") || detail == fault.NeedSignIn {
		detail = "" // what the page says for this status anyway
	}
	err = p.show(c, status, func(_ context.Context, _ store.Tx, l web.Layout) (web.Page, error) {
		l.Title = p.Site.Text(l.Lang, "error."+strconv.Itoa(status))
		return &web.ErrorPage{Layout: l, Status: status, Detail: detail, RequestID: requestID(c)}, nil
	})
	if err == nil || c.Writer.Written() {
		return
	}
	p.Log.ErrorContext(c, "error page failed", "request", requestID(c), "error", err)
	http.Error(c.Writer, http.StatusText(status), status)
}

// show draws a page around one state of the data.
func (p *Pages) show(c *gin.Context, status int, draw drawing) error {
	ctx := c.Request.Context()
	l := p.frame(c)
	var page web.Page
	err := p.DB.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := p.furnish(ctx, tx, c, &l); err != nil {
			return err
		}
		var err error
		page, err = draw(ctx, tx, l)
		return err
	})
	if err != nil {
		return err
	}
	return p.Site.Render(c.Writer, status, page)
}

// frame fills of the layout what needs no data. The feed's position is taken here, before the
// data is read, so that nothing falls between the two.
func (p *Pages) frame(c *gin.Context) web.Layout {
	l := web.Layout{
		Preferences: web.PreferencesOf(c.Request), Path: c.Request.URL.RequestURI(), CSRF: p.formToken(c), Flash: takeFlash(c),
	}
	if c.Request.Method == http.MethodPost {
		l.Path = c.Request.URL.Path
	}
	if _, ok := signedIn(c); ok {
		l.LiveURL = web.PathLive
		l.Feed = p.Live.Position(c.Request.Context(), web.TopicFeed)
	}
	return l
}

// furnish fills the columns around a page.
func (p *Pages) furnish(ctx context.Context, tx store.Tx, c *gin.Context, l *web.Layout) error {
	var reader *store.User
	if in, ok := signedIn(c); ok {
		reader = &in.User
		person := p.Draw.Person(in.User)
		l.User = &person
	}
	shelves, err := tx.Categories(ctx)
	if err != nil {
		return err
	}
	l.Categories = view.Categories(shelves, l.Lang)
	if err := p.furnishRooms(ctx, tx, reader, l); err != nil {
		return err
	}
	if err := p.furnishOnline(ctx, tx, l); err != nil || reader == nil {
		return err
	}
	l.Unread, err = view.Unread(ctx, tx, reader.ID)
	return err
}

func (p *Pages) furnishRooms(ctx context.Context, tx store.Tx, reader *store.User, l *web.Layout) error {
	rooms, err := tx.Rooms(ctx)
	if err != nil {
		return err
	}
	var directs []store.Conversation
	if reader != nil {
		own, err := tx.ConversationsOf(ctx, reader.ID, mostRooms+mostDirects)
		if err != nil {
			return err
		}
		for _, conversation := range own {
			if conversation.Kind == store.Group {
				rooms = append(rooms, conversation)
			} else if len(directs) < mostDirects {
				directs = append(directs, conversation)
			}
		}
	}
	if l.Rooms, err = p.Draw.Rooms(ctx, tx, rooms[:min(len(rooms), mostRooms)], reader); err != nil {
		return err
	}
	l.Directs, err = p.Draw.Rooms(ctx, tx, directs, reader)
	return err
}

func (p *Pages) furnishOnline(ctx context.Context, tx store.Tx, l *web.Layout) error {
	handles := p.Live.Online(ctx)
	l.OnlineCount = len(handles)
	people, err := tx.UsersByHandle(ctx, handles[:min(len(handles), mostOnline)])
	l.Online = p.Draw.People(people)
	return err
}

// recover turns a panic into the page for our mistakes.
func (p *Pages) recover(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if gone, ok := v.(error); ok && errors.Is(gone, http.ErrAbortHandler) {
			panic(v)
		}
		p.Log.ErrorContext(c, "page panicked", "path", c.Request.URL.Path, "request", requestID(c), "panic", v, "stack", string(debug.Stack()))
		c.Abort()
		if !c.Writer.Written() {
			p.refuse(c, fmt.Errorf("panic: %v", v))
		}
	}()
	c.Next()
}

// redirect sends the browser on with GET.
func redirect(c *gin.Context, to string) { c.Redirect(http.StatusSeeOther, to) }

// requestID is the id the server gave the request, if it did.
func requestID(c *gin.Context) string { return c.Writer.Header().Get("X-Request-Id") }

func notFound() error { return fault.New(fault.NotFound, fault.NoSuchPage) }

// fieldErrors puts a refusal beside its field; other errors stay errors.
func fieldErrors(err error) (map[string]string, error) {
	f, ok := fault.Of(err)
	if !ok || f.Kind != fault.Invalid && f.Kind != fault.TooMany && f.Kind != fault.Conflict {
		return nil, err
	}
	return map[string]string{f.Field: f.Text}, nil
}

// statusOf is the status of a form that came back with a refusal.
func statusOf(err error) int {
	if f, ok := fault.Of(err); ok {
		return f.Status()
	}
	return http.StatusInternalServerError
}
