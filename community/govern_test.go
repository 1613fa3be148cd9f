package community_test

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/web"
)

func TestAdminsGovern(t *testing.T) {
	w := newTown(t)
	admin, zoe, kim := w.admin(t), w.member(t, "zoe"), w.member(t, "kim")
	zoe.get("/u/kim").must(t, 200).mustNot(t, "Administration")
	zoe.submit("/chat/lobby", "/u/kim/role", "role", "admin").must(t, 403)
	zoe.submit("/chat/lobby", "/u/kim/close", "closed", "1").must(t, 403)
	admin.get("/u/admin").must(t, 200).mustNot(t, "Administration")
	admin.submit("/u/kim", "/u/kim/role", "role", "king").must(t, 400)
	admin.submit("/u/kim", "/u/kim/role", "role", "moderator").must(t, 200, "Administration", "Saved")

	line := zoe.submit("/chat/lobby", "/chat/lobby", "body", "spam", "key", "k1").must(t, 200, "spam")
	kim.get("/chat/lobby").must(t, 200, "spam")
	at := strings.TrimPrefix(regexpLast(t, line.body, `id="c(\d+)"`), "c")
	kim.submit("/chat/lobby", "/m/lobby/"+at+"/delete").must(t, 200, "This message was deleted.")

	socket := zoe.socket()
	socket.Subscribe(web.TopicConversation("lobby"))
	admin.submit("/u/zoe", "/u/zoe/close", "closed", "1").must(t, 200, "Open this account again")
	if end := socket.ExpectEnd(); end.Code != 4502 {
		t.Errorf("the socket of a closed account ended with %v", end)
	}
	if p := zoe.get("/settings"); !strings.HasPrefix(p.path, "/signin") {
		t.Errorf("a closed account still opens %s", p.path)
	}
	zoe.submit("/signin", "/signin", "name", "zoe", "password", "correct horse").must(t, 403, "closed by a moderator")
	admin.submit("/u/zoe", "/u/zoe/close", "closed", "0").must(t, 200, "Close this account")
	zoe.submit("/signin", "/signin", "name", "zoe", "password", "correct horse").must(t, 200, "Discussions")
}
