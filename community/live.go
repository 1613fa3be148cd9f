package community

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/web"
)

// Claims of the identities that Identify makes. Their names are no other's: a token of somebody
// else's may have claims as well.
const (
	claimLogin = "community.login" // id of the session the person signed in with
	claimLang  = "community.lang"  // language for messages over the socket
)

// loginOf answers with which session somebody signed in, if there is one.
func loginOf(who parley.Identity) (session int64, ok bool) {
	session, ok = who.Claims[claimLogin].(int64)
	return session, ok
}

// LiveOptions are the topic settings the community needs: conversations are kept long enough for
// a phone to come back out of a tunnel; everything older is in the database.
func LiveOptions() []parley.Option {
	kept := parley.TopicSettings{History: 500, HistoryAge: 30 * time.Minute, KeyWindow: 30 * time.Minute}
	said := kept
	said.Receipts = parley.ReceiptsAuto
	return []parley.Option{
		parley.WithTopic("community/c/+", said),
		parley.WithTopic("community/c/+/typing", parley.TopicSettings{NoPresence: true}),
		parley.WithTopic(web.TopicFeed, kept),
		parley.WithTopic(web.TopicOnline, parley.TopicSettings{}),
		parley.WithTopic(web.TopicAnnouncements, parley.TopicSettings{NoPresence: true}),
	}
}

// identityOf is what Parley knows of a person.
func identityOf(in account.SignedIn, lang web.Lang) parley.Identity {
	return parley.Identity{
		User: in.User.Handle, Name: in.User.DisplayName, Roles: []string{string(in.User.Role)},
		Expires: time.UnixMilli(in.Session.ExpiresAt),
		Claims:  map[string]any{claimLogin: in.Session.ID, claimLang: string(lang)},
	}
}

// authorize decides who may follow what. Nobody publishes on these topics but the community: what
// people say goes through its handlers.
func (a *App) authorize(ctx context.Context, who parley.Identity, action auth.Action, topic string) error {
	if action == auth.ActionPublish || action == auth.ActionManage {
		return refusal("the community publishes on %s itself: call message.send instead", topic)
	}
	if err := a.stillSignedIn(ctx, who); err != nil {
		return err
	}
	switch topic {
	case web.TopicFeed, web.TopicOnline, web.TopicAnnouncements:
		return nil
	}
	id, ok := strings.CutPrefix(topic, web.TopicConversation(""))
	id = strings.TrimSuffix(id, "/typing")
	if !ok || strings.ContainsAny(id, "/+#") {
		return refusal("there is no topic %s in the community: name one conversation", topic)
	}
	err := a.talk.MayRead(ctx, who.User, id)
	if _, refused := fault.Of(err); refused {
		return refusal("%s may not read conversation %s", who.User, id)
	}
	return err
}

func refusal(format string, args ...any) error { return parley.Forbidden(format, args...) }

// stillSignedIn refuses a socket whose session has ended since it was opened. Identities that do
// not come from a session (bearer tokens) end by their own expiry.
func (a *App) stillSignedIn(ctx context.Context, who parley.Identity) error {
	login, ok := loginOf(who)
	if !ok {
		return nil
	}
	alive, err := a.accounts.Alive(ctx, login)
	if err == nil && !alive {
		return refusal("%s has signed out", who.User)
	}
	return err
}

// publisher says live what the outbox holds.
type publisher struct{ live *parley.Live }

// PublishEvent publishes one event, keyed by its id so that a repeat after a crash is stored once.
func (p publisher) PublishEvent(ctx context.Context, e store.Event) (store.Place, error) {
	if e.ToUser != "" {
		return store.Place{}, p.live.SendUser(ctx, e.ToUser, e.Type, json.RawMessage(e.Payload), parley.From(e.FromUser))
	}
	at, err := p.live.Publish(ctx, e.Topic, e.Type, json.RawMessage(e.Payload),
		parley.Key(fmt.Sprintf("outbox-%d", e.ID)), parley.From(e.FromUser))
	return store.Place{Epoch: at.Epoch, Seq: int64(at.Seq)}, err
}

// liveSide is what the pages ask.
type liveSide struct {
	live     *parley.Live
	accounts *account.Service
	log      *slog.Logger
}

// Position is where a topic stands; unknown means "from now".
func (l liveSide) Position(ctx context.Context, topic string) web.Position {
	page, err := l.live.History(ctx, topic, parley.Query{})
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			l.log.WarnContext(ctx, "position of a topic is unknown", "topic", topic, "error", err)
		}
		return web.Position{}
	}
	return web.Position{Epoch: page.Position.Epoch, Seq: page.Position.Seq}
}

// Online lists who has a page open.
func (l liveSide) Online(ctx context.Context) []string {
	members, err := l.live.Presence(ctx, web.TopicOnline)
	if err != nil {
		l.log.WarnContext(ctx, "who is online is unknown", "error", err)
		return nil
	}
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = m.User
	}
	return out
}

// Changed checks anew what a person's sockets may follow.
func (l liveSide) Changed(ctx context.Context, handle string) { l.live.Reauthorize(ctx, handle) }

// SignedOut ends the sockets of a person whose sessions have ended; those of sessions that still
// stand go on, and so do those with a token of their own unless the account was closed.
func (l liveSide) SignedOut(ctx context.Context, handle string) {
	l.live.DisconnectWhere(ctx, handle, "signed out", func(who parley.Identity) bool {
		stands, err := l.stands(ctx, who)
		if err != nil {
			l.log.ErrorContext(ctx, "a session could not be checked: its socket is ended", "user", handle, "error", err)
		}
		return !stands
	})
}

// stands reports whether what somebody signed in with still holds; false with an error.
func (l liveSide) stands(ctx context.Context, who parley.Identity) (bool, error) {
	if login, ok := loginOf(who); ok {
		return l.accounts.Alive(ctx, login)
	}
	closed, err := l.accounts.Closed(ctx, who.User)
	return !closed && err == nil, err
}
