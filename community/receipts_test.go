package community_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/web"
)

// follow subscribes as the pages do, from the position of the page.
func follow(t testing.TB, c *parleytest.Client, conversation string, since *parleyv1.Position) {
	t.Helper()
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{
		Topic: web.TopicConversation(conversation), Qos: 1, Receipts: true, Since: since,
	}}})
	if r.GetSubscribed().GetQos() != 1 {
		t.Fatalf("subscribe: %v", r)
	}
}

// receipt waits for one that satisfies want.
func receipt(c *parleytest.Client, what string, want func(*parleyv1.Receipt) bool) {
	c.Until(what, func(r *parleyv1.Reply) bool { return r.GetReceipt() != nil && want(r.GetReceipt()) })
}

// Receipts come from Parley and are on the page that the server draws: what a page brought counts as
// delivered, what came live when it is acknowledged, and what was read when that was said.
func TestReceiptsReachThePage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "community.db")
	w := openTown(t, path)
	zoe, kim := w.member(t, "zoe"), w.member(t, "kim")
	place := zoe.submit("/direct", "/direct", "user", "kim").must(t, 200).path
	direct := strings.TrimPrefix(place, "/direct/")
	z := zoe.socket()
	follow(t, z, direct, nil)
	send(t, z, direct, "k1", "one")
	epoch := waitFor(t, w, web.TopicConversation(direct), 1)
	shows := func(states ...string) {
		t.Helper()
		page := zoe.get(place)
		for _, state := range states {
			page.must(t, 200, state)
		}
		if n := strings.Count(page.body, `class="msg-state`); n != len(states) {
			t.Errorf("%d ticks, want %d", n, len(states))
		}
	}
	shows(`class="msg-state sent" aria-live="off" title="Sent"`)

	k := kim.socket()
	follow(t, k, direct, &parleyv1.Position{Epoch: epoch, Seq: 1}) // the page has the line
	receipt(z, "delivered", func(r *parleyv1.Receipt) bool {
		return r.GetUser() == "kim" && r.GetDelivered() == 1 && r.GetRead() == 0
	})
	if err := z.Call("message.edit", m{"conversation": direct, "seq": 1, "body": "One"}, nil); err != nil {
		t.Fatal(err)
	}
	send(t, z, direct, "k2", "two")
	last := k.Expect("message.created")
	k.Send(`{"ack":{"topic":"` + web.TopicConversation(direct) + `","seq":3}}`)
	k.Send(`{"read":{"topic":"` + web.TopicConversation(direct) + `","seq":2}}`)
	receipt(z, "read", func(r *parleyv1.Receipt) bool { return r.GetDelivered() == last.GetSeq() && r.GetRead() == 2 })

	w.close() // what waits for the database gets there
	w = openTown(t, path)
	zoe.home = w.URL
	shows(`class="msg-state read" aria-live="off" title="Read by kim"`, `class="msg-state delivered" aria-live="off" title="Delivered"`)
	if strings.Contains(zoe.get("/chat/lobby").body, "msg-state") {
		t.Error("there are ticks on what others wrote")
	}
}
