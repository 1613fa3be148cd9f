package talk_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

func newName() string { return talk.NewKey() }

// told lists "user kind" of the notification events among es.
func told(t *testing.T, es []store.Event) (out []string) {
	t.Helper()
	for _, e := range es {
		if e.Type == "notification.created" {
			out = append(out, e.ToUser+" "+payload[struct{ Notification web.Notification }](t, e).Notification.Kind)
		}
	}
	return out
}

func TestWhoIsNotified(t *testing.T) {
	h := newHall(t)
	post := h.post(t, "ada", "Hello", "First post, @bob @nobody @ada")
	if got := strings.Join(told(t, h.drain(t)), ", "); got != "bob mention" {
		t.Errorf("post: %s", got)
	}
	seq := h.say(t, "bob", post, "thanks")
	if got := strings.Join(told(t, h.drain(t)), ", "); got != "ada comment" {
		t.Errorf("comment: %s", got)
	}
	_, err := h.Send(t.Context(), "cleo", talk.Line{Conversation: post, Key: "k", Body: "I agree, @ada", ReplyTo: seq})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told(t, h.drain(t)), ", "); got != "ada mention, bob reply" {
		t.Errorf("reply: %s", got)
	}
	direct, err := h.OpenDirect(t.Context(), "bob", "ada")
	if err != nil {
		t.Fatal(err)
	}
	h.say(t, "bob", direct.PublicID, "psst @cleo") // cleo cannot enter, so she is not told
	h.say(t, "bob", direct.PublicID, "still there?")
	es := h.drain(t)
	if got := strings.Join(told(t, es), ", "); got != "ada direct, ada direct" {
		t.Errorf("direct: %s", got)
	}
	for _, e := range es {
		if e.Type == "direct.message" {
			room := payload[struct{ Room web.Room }](t, e).Room
			if (room.Title == "bob") != (e.ToUser == "ada") {
				t.Errorf("%s sees the direct conversation as %q", e.ToUser, room.Title)
			}
		}
	}
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		ns, err := tx.Notifications(ctx, 1, 0, 50)
		if len(ns) != 3 || ns[0].Kind != "direct" || ns[0].Count != 2 {
			t.Errorf("ada's inbox: %+v", ns)
		}
		return err
	})
}

func TestReadingEmptiesTheInbox(t *testing.T) {
	h := newHall(t)
	direct, err := h.OpenDirect(t.Context(), "bob", "ada")
	if err != nil {
		t.Fatal(err)
	}
	seq := h.say(t, "bob", direct.PublicID, "one")
	h.say(t, "ada", "lobby", "@bob look")
	h.drain(t)
	_, unread, err := h.MarkRead(t.Context(), "ada", direct.PublicID, seq)
	if err != nil || unread != (web.Unread{}) {
		t.Errorf("ada: %+v, %v", unread, err)
	}
	es := h.drain(t)
	if len(es) != 1 || es[0].Type != "read.changed" || es[0].ToUser != "ada" {
		t.Errorf("told: %+v", es)
	}
	if _, _, err := h.MarkRead(t.Context(), "ada", direct.PublicID, seq-1); err != nil {
		t.Fatal(err)
	}
	if es := h.drain(t); len(es) != 0 {
		t.Errorf("a cursor that did not move was told: %+v", es)
	}
	unread, err = h.ReadNotification(t.Context(), "bob", 0)
	if err != nil || unread.Notifications != 0 {
		t.Errorf("bob: %+v, %v", unread, err)
	}
}

func TestEditAndDelete(t *testing.T) {
	h := newHall(t)
	seq := h.say(t, "bob", "lobby", "teh line")
	m, err := h.Edit(t.Context(), "bob", "lobby", seq, "the line")
	if err != nil || m.Body != "the line" || !m.Edited {
		t.Fatalf("%+v, %v", m, err)
	}
	_, err = h.Edit(t.Context(), "cleo", "lobby", seq, "mine now")
	refused(t, err, fault.Forbidden, fault.NotAllowed)
	_, err = h.Edit(t.Context(), "ada", "lobby", seq, "power does not rewrite others")
	refused(t, err, fault.Forbidden, fault.NotAllowed)
	h.clock.Add((window + time.Minute).Milliseconds())
	_, err = h.Edit(t.Context(), "bob", "lobby", seq, "too late")
	refused(t, err, fault.Forbidden, fault.WindowClosed)
	refused(t, h.Delete(t.Context(), "bob", "lobby", seq), fault.Forbidden, fault.WindowClosed)
	if err := h.Delete(t.Context(), "ada", "lobby", seq); err != nil {
		t.Fatal(err)
	}
	_, err = h.Edit(t.Context(), "bob", "lobby", seq, "gone")
	refused(t, err, fault.NotFound, fault.NoSuchPage)
	ms, _, err := h.Older(t.Context(), "", "lobby", 0, 10)
	if err != nil || len(ms) != 1 || !ms[0].Deleted || ms[0].Body != "" || ms[0].HTML != "" {
		t.Errorf("%+v, %v", ms, err)
	}
	var types []string
	for _, e := range h.drain(t) {
		types = append(types, e.Type)
	}
	if got := strings.Join(types, " "); got != "message.created message.edited message.deleted" {
		t.Errorf("events: %s", got)
	}
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		es, err := tx.AuditLog(ctx, 5)
		if len(es) != 1 || es[0].Action != "message.deleted" || es[0].Subject != "lobby/1" {
			t.Errorf("audit: %+v", es)
		}
		cs, _ := tx.ChangesAfter(ctx, 1, 0, 5)
		if len(cs) != 2 || cs[1].ChangeSeq != 2 || cs[1].Op != "delete" {
			t.Errorf("changes: %+v", cs)
		}
		return err
	})
}

func TestPosts(t *testing.T) {
	h := newHall(t)
	draft := talk.Draft{Category: "general", Title: "  A   title ", Body: "Some *text*", Key: "k1"}
	c, err := h.CreatePost(t.Context(), "bob", draft)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.CreatePost(t.Context(), "bob", draft)
	if err != nil || again.ID != c.ID || again.Title != "A title" {
		t.Errorf("a repeat made %d (%q), %v; first %d", again.ID, again.Title, err, c.ID)
	}
	draft.Title, draft.Body, draft.Key = "Better", "Other text", ""
	if _, err := h.EditPost(t.Context(), "bob", c.PublicID, draft); err != nil {
		t.Fatal(err)
	}
	h.say(t, "cleo", c.PublicID, "a comment")
	ms, more, err := h.Older(t.Context(), "", c.PublicID, 0, 10)
	if err != nil || len(ms) != 1 || ms[0].Seq != 2 || more {
		t.Errorf("the text of the post is among its comments: %+v", ms)
	}
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		for needle, want := range map[string]int{"better": 1, "COMMENT": 1, "100%": 0, "nothing": 0} {
			found, err := tx.SearchPosts(ctx, needle, 10)
			if err != nil || len(found) != want {
				t.Errorf("search %q found %d, %v", needle, len(found), err)
			}
		}
		return nil
	})
	if err := h.Delete(t.Context(), "bob", c.PublicID, 1); err != nil {
		t.Fatal(err)
	}
	refused(t, h.MayRead(t.Context(), "bob", c.PublicID), fault.NotFound, fault.NoSuchPage)
	var feed []string
	for _, e := range h.drain(t) {
		if e.Topic == web.TopicFeed {
			feed = append(feed, e.Type)
		}
	}
	if got := strings.Join(feed, " "); got != "post.created post.updated post.updated post.deleted" {
		t.Errorf("feed: %s", got)
	}
	draft.Category = "attic"
	draft.Key = "k2"
	_, err = h.CreatePost(t.Context(), "bob", draft)
	refused(t, err, fault.Invalid, fault.NoCategory)
}

func TestGroupsAreForMembers(t *testing.T) {
	h := newHall(t)
	g, err := h.CreateRoom(t.Context(), "ada", talk.RoomPlan{Title: "Plans", Private: true})
	if err != nil {
		t.Fatal(err)
	}
	h.say(t, "ada", g.PublicID, "before bob")
	refused(t, h.MayRead(t.Context(), "bob", g.PublicID), fault.NotFound, fault.NoSuchPage)
	refused(t, h.Invite(t.Context(), "bob", g.PublicID, "bob"), fault.NotFound, fault.NoSuchPage)
	for range 2 { // the second changes nothing
		if err := h.Invite(t.Context(), "ada", g.PublicID, " @Bob"); err != nil {
			t.Fatal(err)
		}
	}
	h.say(t, "ada", g.PublicID, "welcome @cleo @bob")
	if got := strings.Join(told(t, h.drain(t)), ", "); got != "bob invite, bob mention" {
		t.Errorf("told: %s", got)
	}
	h.read(t, func(ctx context.Context, tx store.Tx) error {
		rooms, _, err := tx.Unread(ctx, 2)
		if rooms != 1 {
			t.Errorf("bob has %d unread, want what came after he joined", rooms)
		}
		return err
	})
	if err := h.Leave(t.Context(), "bob", g.PublicID); err != nil {
		t.Fatal(err)
	}
	refused(t, h.MayRead(t.Context(), "bob", g.PublicID), fault.NotFound, fault.NoSuchPage)
	refused(t, h.Leave(t.Context(), "ada", "lobby"), fault.Forbidden, fault.NotAllowed)
}
