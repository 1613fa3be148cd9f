package community_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/web"
)

// socket opens the live connection of a signed-in visitor, as their browser does.
func (v *visitor) socket() *parleytest.Client {
	v.t.Helper()
	at, err := url.Parse(v.home)
	if err != nil {
		v.t.Fatal(err)
	}
	var cookies []string
	for _, c := range v.http.Jar.Cookies(at) {
		cookies = append(cookies, c.String())
	}
	c := parleytest.Open(v.t, "ws"+strings.TrimPrefix(v.home, "http")+web.PathLive,
		http.Header{"Cookie": {strings.Join(cookies, "; ")}, "Origin": {v.home}})
	reply := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{}}})
	if reply.GetConnected() == nil {
		v.t.Fatalf("connect: %v", reply)
	}
	return c
}

type m = map[string]any

// send says a line over a socket.
func send(t testing.TB, c *parleytest.Client, conversation, key, body string) web.Message {
	t.Helper()
	var out web.Message
	if err := c.Call("message.send", m{"conversation": conversation, "key": key, "body": body}, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func into[T any](t testing.TB, msg *parleyv1.Message) (v T) {
	t.Helper()
	if err := json.Unmarshal(msg.GetPayload(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func code(err error) string {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Code
	}
	return "none"
}

func TestChatOverTheSocket(t *testing.T) {
	w := newTown(t)
	zoe, kim := w.member(t, "zoe").socket(), w.member(t, "kim").socket()
	zoe.Subscribe(web.TopicConversation("lobby"))
	kim.Subscribe(web.TopicConversation("lobby"))
	kim.Subscribe(web.TopicTyping("lobby"))
	zoe.Subscribe(web.TopicTyping("lobby"))

	if err := zoe.Call("typing", m{"conversation": "lobby"}, nil); err != nil {
		t.Fatal(err)
	}
	if e := into[struct{ User web.Person }](t, kim.Expect("typing")); e.User.Name != "zoe" {
		t.Errorf("typing: %+v", e)
	}
	first := send(t, zoe, "lobby", "k1", "hello **there**")
	again := send(t, zoe, "lobby", "k1", "hello **there**")
	if first.Seq != 7 || again.Seq != first.Seq || again.ID != first.ID {
		t.Errorf("first %d, repeat %d", first.Seq, again.Seq)
	}
	got := kim.Expect("message.created")
	line := into[web.Message](t, got)
	if got.GetFrom() != "zoe" || line.Seq != 7 || line.HTML != "<p>hello <strong>there</strong></p>" || line.Key != "k1" || line.Author.Display != "zoe" {
		t.Errorf("kim got %+v from %s", line, got.GetFrom())
	}
	if err := zoe.Call("message.edit", m{"conversation": "lobby", "seq": 7, "body": "hello you"}, nil); err != nil {
		t.Fatal(err)
	}
	if line = into[web.Message](t, kim.Expect("message.edited")); line.Body != "hello you" || !line.Edited {
		t.Errorf("edited: %+v", line)
	}
	if err := kim.Call("message.delete", m{"conversation": "lobby", "seq": 7}, nil); code(err) != "forbidden" {
		t.Errorf("kim deleted zoe's line: %v", err)
	}
	if err := zoe.Call("message.delete", m{"conversation": "lobby", "seq": 7}, nil); err != nil {
		t.Fatal(err)
	}
	if gone := into[struct{ Seq int }](t, kim.Expect("message.deleted")); gone.Seq != 7 {
		t.Errorf("deleted: %+v", gone)
	}
	var page struct {
		Messages []web.Message
		More     bool
	}
	if err := kim.Call("history.load", m{"conversation": "lobby", "before": 4, "limit": 2}, &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Messages) != 2 || page.Messages[0].Seq != 2 || !page.More {
		t.Errorf("history: %+v", page)
	}
}

func TestRefusedOverTheSocket(t *testing.T) {
	w := newTown(t)
	zoe, kim := w.member(t, "zoe"), w.member(t, "kim")
	direct := zoe.submit("/direct", "/direct", "user", "mara").must(t, 200)
	secret := strings.TrimPrefix(direct.path, "/direct/")
	c := kim.socket()
	for _, topic := range []string{web.TopicConversation(secret), web.TopicTyping(secret), "community/#", "community/c/+", "community/c/nothing", "$user/zoe"} {
		r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic}}})
		if r.GetError() == nil {
			t.Errorf("kim subscribed to %s", topic)
		}
	}
	for _, topic := range []string{web.TopicConversation("lobby"), web.TopicFeed} {
		r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: topic, Type: "message.created"}}})
		if r.GetError().GetCode() != "forbidden" {
			t.Errorf("kim published on %s: %v", topic, r)
		}
	}
	for name, bad := range map[string]struct {
		typ  string
		in   m
		code string
	}{
		"secret":    {"message.send", m{"conversation": secret, "key": "k", "body": "x"}, "not_found"},
		"history":   {"history.load", m{"conversation": secret}, "not_found"},
		"no key":    {"message.send", m{"conversation": "lobby", "body": "x"}, "bad_request"},
		"long key":  {"message.send", m{"conversation": "lobby", "body": "x", "key": strings.Repeat("k", 65)}, "bad_request"},
		"empty":     {"message.send", m{"conversation": "lobby", "body": "  ", "key": "k"}, "bad_request"},
		"bad reply": {"message.send", m{"conversation": "lobby", "body": "x", "key": "k", "reply_to": -1}, "bad_request"},
		"limit":     {"history.load", m{"conversation": "lobby", "limit": 1000}, "bad_request"},
		"category":  {"post.create", m{"category": "attic", "title": "A title", "body": "b", "key": "k"}, "bad_request"},
	} {
		if err := c.Call(bad.typ, bad.in, nil); code(err) != bad.code {
			t.Errorf("%s: %v, want %s", name, err, bad.code)
		}
	}
	if n := len(kim.get("/chat/lobby").body); n == 0 || strings.Contains(kim.get("/chat/lobby").body, `id="c7"`) {
		t.Error("a refused line is on the page")
	}
}

func TestPostsAndInboxLive(t *testing.T) {
	w := newTown(t)
	zoe, kim := w.member(t, "zoe"), w.member(t, "kim")
	z, k := zoe.socket(), kim.socket()
	k.Subscribe(web.TopicFeed)
	var made struct{ ID, URL string }
	if err := z.Call("post.create", m{"category": "workshop", "title": "Kites", "body": "for @kim", "key": "p"}, &made); err != nil {
		t.Fatal(err)
	}
	if row := into[web.PostSummary](t, k.Expect("post.created")); row.ID != made.ID || row.Author.Name != "zoe" || row.Category.Slug != "workshop" {
		t.Errorf("feed: %+v", row)
	}
	note := into[struct {
		Notification web.Notification
		Unread       web.Unread
	}](t, k.Expect("notification.created"))
	if note.Notification.Kind != "mention" || note.Notification.URL != made.URL || note.Unread.Notifications != 1 {
		t.Errorf("inbox: %+v", note)
	}
	send(t, k, made.ID, "c1", "thank you")
	if row := into[web.PostSummary](t, k.Expect("post.updated")); row.Comments != 1 || row.LastAuthor.Name != "kim" {
		t.Errorf("feed: %+v", row)
	}
	z.Expect("notification.created")
	var read struct {
		Seq    int
		Unread web.Unread
	}
	if err := z.Call("read.mark", m{"conversation": made.ID, "seq": 2}, &read); err != nil || read.Seq != 2 || read.Unread.Notifications != 0 {
		t.Errorf("read: %+v, %v", read, err)
	}
	z.Expect("read.changed")
	var unread struct{ Unread web.Unread }
	if err := k.Call("notification.read", m{"id": note.Notification.ID}, &unread); err != nil || unread.Unread.Notifications != 0 {
		t.Errorf("notification.read: %+v, %v", unread, err)
	}
	var people struct{ People []web.Person }
	if err := k.Call("people.find", m{"query": "zo"}, &people); err != nil || len(people.People) != 1 || !people.People[0].Online {
		t.Errorf("people.find: %+v, %v", people, err)
	}
	if err := k.Call("people.get", m{"ids": []string{"mara", "nobody"}}, &people); err != nil || len(people.People) != 1 || people.People[0].Display != "Mara Okafor" {
		t.Errorf("people.get: %+v, %v", people, err)
	}
}

func TestDirectMessagesLive(t *testing.T) {
	w := newTown(t)
	zoe, kim := w.member(t, "zoe"), w.member(t, "kim")
	direct := strings.TrimPrefix(zoe.submit("/direct", "/direct", "user", "kim").must(t, 200).path, "/direct/")
	z, k := zoe.socket(), kim.socket()
	send(t, z, direct, "k1", "psst")
	got := into[struct {
		Room    web.Room
		Message web.Message
		Unread  web.Unread
	}](t, k.Expect("direct.message"))
	if got.Room.Title != "zoe" || got.Room.Unread != 1 || got.Message.Body != "psst" || got.Unread.Direct != 1 {
		t.Errorf("kim got %+v", got)
	}
	if err := k.Call("read.mark", m{"conversation": direct, "seq": 1}, nil); err != nil {
		t.Fatal(err)
	}
	if c := into[struct{ Unread web.Unread }](t, k.Expect("read.changed")); c.Unread != (web.Unread{}) {
		t.Errorf("after reading: %+v", c)
	}
}

func TestSigningOutEndsTheSocket(t *testing.T) {
	w := newTown(t)
	zoe, kim := w.member(t, "zoe"), w.member(t, "kim")
	other := w.visit(t)
	other.submit("/signin", "/signin", "name", "zoe", "password", "correct horse").must(t, 200)
	gone, stays, k := zoe.socket(), other.socket(), kim.socket()
	gone.Subscribe(web.TopicConversation("lobby"))
	stays.Subscribe(web.TopicConversation("lobby"))
	zoe.submit("/settings", "/signout").must(t, 200)
	send(t, k, "lobby", "k1", "still here, @zoe?")
	stays.Expect("message.created") // the other device goes on
	if end := gone.ExpectEnd(); end.Code != 4502 {
		t.Errorf("the signed-out socket ended with %v", end)
	}
	for _, r := range gone.Unread() {
		if r.GetMessage() != nil {
			t.Errorf("the signed-out socket received %v", r)
		}
	}
}

// ticketSocket opens a live connection with the one-use ticket that path answers with.
func (v *visitor) ticketSocket(path string) *parleytest.Client {
	v.t.Helper()
	var answer struct {
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal([]byte(v.get(path).must(v.t, 200).body), &answer); err != nil {
		v.t.Fatal(err)
	}
	c := parleytest.Open(v.t, "ws"+strings.TrimPrefix(v.home, "http")+web.PathLive, http.Header{})
	reply := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Token: answer.Ticket}}})
	if reply.GetConnected() == nil {
		v.t.Fatalf("connect: %v", reply)
	}
	return c
}

// A socket that was opened with a ticket belongs to the sign-in that fetched it.
func TestSigningOutEndsTheSocketOfATicket(t *testing.T) {
	zoe := newTown(t).member(t, "zoe")
	socket := zoe.ticketSocket("/ticket-of-mine")
	socket.Subscribe(web.TopicConversation("lobby"))
	zoe.submit("/settings", "/signout").must(t, 200)
	if end := socket.ExpectEnd(); end.Code != 4502 {
		t.Errorf("the signed-out socket ended with %v", end)
	}
}

// A token outlives the sign-ins of its person, but not their account.
func TestClosingAnAccountEndsTheSocketsOfTokens(t *testing.T) {
	w := newTown(t)
	admin, zoe, other := w.admin(t), w.member(t, "zoe"), w.visit(t)
	socket := other.ticketSocket("/ticket-of/zoe")
	socket.Subscribe(web.TopicConversation("lobby"))
	zoe.submit("/settings", "/signout").must(t, 200)
	send(t, socket, "lobby", "k1", "still here")
	admin.submit("/u/zoe", "/u/zoe/close", "closed", "1").must(t, 200)
	if end := socket.ExpectEnd(); end.Code != 4502 {
		t.Errorf("the socket of a closed account ended with %v", end)
	}
}

// A restart of the server loses the topics' history in memory, and nothing else: the page's
// position no longer holds, the database has it all, and what was committed is published.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "community.db")
	w := openTown(t, path)
	zoe := w.member(t, "zoe")
	line := send(t, zoe.socket(), "lobby", "k1", "before the restart")
	epoch := waitFor(t, w, web.TopicConversation("lobby"), 1)
	w.close()

	again := openTown(t, path)
	zoe.home = again.URL
	v := again.visit(t)
	v.submit("/signin", "/signin", "name", "zoe", "password", "correct horse").must(t, 200)
	c := v.socket()
	answer := c.SubscribeSince(web.TopicConversation("lobby"), &parleyv1.Position{Epoch: epoch, Seq: 1})
	if answer.GetRecovered() {
		t.Error("an epoch that is gone was recovered")
	}
	if same := send(t, c, "lobby", "k1", "before the restart"); same.Seq != line.Seq || same.ID != line.ID {
		t.Errorf("the repeat after a restart got seq %d, want %d", same.Seq, line.Seq)
	}
	if next := send(t, c, "lobby", "k2", "after"); next.Seq != line.Seq+1 {
		t.Errorf("seq %d after %d", next.Seq, line.Seq)
	}
	if e := into[web.Message](t, c.Expect("message.created")); e.Body != "after" {
		t.Errorf("live: %+v", e)
	}
}
