package community

import (
	"errors"
	"strconv"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

// What the pages' modules call; web/live.go describes the answers. Limits of the texts are in
// package talk, so that forms and sockets are refused alike.
type (
	sendIn struct {
		Conversation string `json:"conversation" validate:"required,max=64"`
		Key          string `json:"key" validate:"required,max=64"`
		Body         string `json:"body"`
		ReplyTo      int64  `json:"reply_to" validate:"min=0"`
	}
	editIn struct {
		Conversation string `json:"conversation" validate:"required,max=64"`
		Seq          int64  `json:"seq" validate:"min=1"`
		Body         string `json:"body"`
	}
	placeIn struct {
		Conversation string `json:"conversation" validate:"required,max=64"`
		Seq          int64  `json:"seq" validate:"min=0"`
	}
	historyIn struct {
		Conversation string `json:"conversation" validate:"required,max=64"`
		Before       int64  `json:"before" validate:"min=0"`
		After        *int64 `json:"after" validate:"omitempty,min=0"` // given: newer messages instead
		Limit        int    `json:"limit" validate:"min=0,max=200"`
	}
	postIn struct {
		Category string `json:"category" validate:"required,max=64"`
		Title    string `json:"title"`
		Body     string `json:"body"`
		Key      string `json:"key" validate:"required,max=64"`
	}
	peopleIn struct {
		IDs []string `json:"ids" validate:"max=50"`
	}
	findIn struct {
		Query string `json:"query" validate:"max=64"`
	}
	noteIn struct {
		ID string `json:"id" validate:"omitempty,numeric,max=19"`
	}
)

type (
	none       struct{}
	historyOut struct {
		Messages []web.Message `json:"messages"`
		More     bool          `json:"more"`
	}
	readOut struct {
		Seq    int64      `json:"seq"`
		Unread web.Unread `json:"unread"`
	}
	postOut struct {
		ID  string `json:"id"`
		URL string `json:"url"`
	}
	peopleOut struct {
		People []web.Person `json:"people"`
	}
	unreadOut struct {
		Unread web.Unread `json:"unread"`
	}
	typingEvent struct {
		Conversation string     `json:"conversation"`
		User         web.Person `json:"user"`
	}
)

// mostFound bounds who is offered while a name is typed.
const mostFound = 10

// register tells Parley what the community decides and answers.
func (a *App) register() {
	a.live.Authorize("community/#", a.authorize)
	handle(a, "message.send", func(c *parley.Ctx, in sendIn) (web.Message, error) {
		return a.talk.Send(c, c.User(), talk.Line(in))
	})
	handle(a, "message.edit", func(c *parley.Ctx, in editIn) (web.Message, error) {
		return a.talk.Edit(c, c.User(), in.Conversation, in.Seq, in.Body)
	})
	handle(a, "message.delete", func(c *parley.Ctx, in placeIn) (none, error) {
		return none{}, a.talk.Delete(c, c.User(), in.Conversation, in.Seq)
	})
	handle(a, "history.load", a.history)
	handle(a, "read.mark", func(c *parley.Ctx, in placeIn) (out readOut, err error) {
		out.Seq, out.Unread, err = a.talk.MarkRead(c, c.User(), in.Conversation, in.Seq)
		return out, err
	})
	handle(a, "typing", a.typing)
	handle(a, "post.create", func(c *parley.Ctx, in postIn) (postOut, error) {
		post, err := a.talk.CreatePost(c, c.User(), talk.Draft(in))
		return postOut{ID: post.PublicID, URL: web.PostURL(post.PublicID)}, err
	})
	handle(a, "people.get", func(c *parley.Ctx, in peopleIn) (out peopleOut, err error) {
		out.People, err = a.talk.GetPeople(c, in.IDs)
		return out, err
	})
	handle(a, "people.find", func(c *parley.Ctx, in findIn) (out peopleOut, err error) {
		out.People, err = a.talk.FindPeople(c, in.Query, mostFound)
		return out, err
	})
	handle(a, "notification.read", func(c *parley.Ctx, in noteIn) (out unreadOut, err error) {
		out.Unread, err = a.talk.ReadNotification(c, c.User(), idOf(in.ID))
		return out, err
	})
}

// idOf reads a notification's id; validation let only digits through.
func idOf(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (a *App) history(c *parley.Ctx, in historyIn) (out historyOut, err error) {
	if in.After != nil {
		out.Messages, out.More, err = a.talk.Newer(c, c.User(), in.Conversation, *in.After, in.Limit)
	} else {
		out.Messages, out.More, err = a.talk.Older(c, c.User(), in.Conversation, in.Before, in.Limit)
	}
	return out, err
}

// typing tells the others that somebody writes. It is not kept: who misses it misses nothing.
func (a *App) typing(c *parley.Ctx, in placeIn) (none, error) {
	who, err := a.talk.Typing(c, c.User(), in.Conversation)
	if err != nil {
		return none{}, err
	}
	_, err = a.live.Publish(c, web.TopicTyping(in.Conversation), "typing", typingEvent{in.Conversation, who},
		parley.From(c.User()), parley.Except(c.SessionID()), parley.Ephemeral())
	return none{}, err
}

// handle registers a handler whose faults are told to the client in its language. A session that
// has ended is refused before the handler runs.
func handle[In, Out any](a *App, typ string, h func(*parley.Ctx, In) (Out, error)) {
	parley.On(a.live, typ, func(c *parley.Ctx, in In) (Out, error) {
		if err := a.stillSignedIn(c, c.Identity()); err != nil {
			var zero Out
			return zero, err
		}
		out, err := h(c, in)
		return out, a.explain(c.Identity(), err)
	})
}

// explain turns a fault into an error the client is shown.
func (a *App) explain(who parley.Identity, err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	lang, _ := who.Claims[claimLang].(string)
	text := a.site.Text(web.Lang(lang), f.Text)
	switch f.Kind {
	case fault.SignedOut, fault.Forbidden:
		return parley.Forbidden("%s", text)
	case fault.NotFound:
		return parley.NotFound("%s", text)
	case fault.Conflict:
		return parley.Conflict("%s", text)
	case fault.TooMany:
		return parley.TooMany(f.After, "%s", text)
	case fault.Invalid:
	}
	return parley.Invalid("%s", text)
}
