package community_test

import (
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

func TestEveryRefusalIsTranslated(t *testing.T) {
	site, err := web.New(web.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range fault.Reasons() {
		for _, lang := range []web.Lang{web.English, web.Chinese} {
			if text := site.Text(lang, key); text == key {
				t.Errorf("%s is missing in the %s catalogue", key, lang)
			}
		}
	}
}

func TestVisitorsRead(t *testing.T) {
	w := newTown(t)
	v := w.visit(t)
	home := v.get("/").must(t, 200, "Welcome, and how this place works", "Questions", "lobby")
	if got := home.header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
		t.Errorf("policy %q", got)
	}
	v.get("/c/questions").must(t, 200, "How do you test an interface for tunnels?").mustNot(t, "A screen in the bakery")
	v.get("/c/attic").must(t, 404)
	v.get("/?order=new").must(t, 200)
	v.get("/?q=flour").must(t, 200, "A screen in the bakery").mustNot(t, "How do you test")
	v.get("/chat").must(t, 200, "lobby")
	v.get("/chat/lobby").must(t, 200, "Kettle is on").mustNot(t, "<textarea")
	v.get("/u/linwei").must(t, 200, "林薇", "把物流地图")
	v.get("/u/nobody").must(t, 404)
	v.get("/nowhere").must(t, 404)
	v.get(postPath(t, home, "How do you test")).must(t, 200, "Two devices, one of them in the tunnel")
	for _, closed := range []string{"/new", "/settings", "/notifications", "/direct", "/chat/new"} {
		if p := v.get(closed); !strings.HasPrefix(p.path, "/signin?next=") {
			t.Errorf("%s led a visitor to %s", closed, p.path)
		}
	}
}

// postPath finds the address of a post in a list.
func postPath(t testing.TB, p page, title string) string {
	t.Helper()
	found := regexp.MustCompile(`href="(/p/[^"]+)">` + regexp.QuoteMeta(title)).FindStringSubmatch(p.body)
	if found == nil {
		t.Fatalf("no post %q on %s", title, p.path)
	}
	return found[1]
}

func TestLanguages(t *testing.T) {
	w := newTown(t)
	v := w.visit(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Language", "zh-CN,zh;q=0.9")
	v.do(r).must(t, 200, `lang="zh-CN"`, "问答", "工坊")
	v.post("/preferences", "lang", "zh-CN", "back", "/chat").must(t, 200, `lang="zh-CN"`)
	v.get("/nowhere").must(t, 404, `lang="zh-CN"`)
}

func TestFirstStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "community.db")
	w := openTown(t, path)
	w.visit(t).get("/signin").must(t, 200, "password of the account")
	a := w.admin(t)
	a.get("/notifications").must(t, 200, "mentioned you in")
	w.visit(t).get("/signin").mustNot(t, "password of the account")
	w.close()
	again := openTown(t, path)
	if again.first.Password != "" {
		t.Error("the second start made a password")
	}
	if n := strings.Count(again.visit(t).get("/").must(t, 200).body, `data-post="`); n != 4 {
		t.Errorf("%d posts after the second start", n)
	}
}

func TestAccountForms(t *testing.T) {
	w := newTown(t)
	v := w.visit(t)
	v.submit("/signup", "/signup", "name", "x", "password", "correct horse").must(t, 422, "2–32 letters")
	v.submit("/signup", "/signup", "name", "mara", "password", "correct horse").must(t, 422, "That name is taken.", `value="mara"`)
	v.submit("/signup", "/signup", "name", "zoe", "display", "Zoë", "password", "correct horse", "next", "/chat/lobby").
		must(t, 200, "Kettle is on", "<textarea")
	v.get("/signin").must(t, 200, "Discussions") // already in
	v.submit("/settings", "/settings", "display", "Zoë Q.", "bio", "*hi*").must(t, 200, "Saved", "Zoë Q.")
	v.get("/u/zoe").must(t, 200, "<em>hi</em>")
	v.submit("/settings", "/settings", "display", strings.Repeat("z", 50), "bio", "kept").must(t, 422, "at most 40", "kept")
	v.submit("/settings", "/settings/password", "current", "wrong one", "password", "battery staple").must(t, 422, "not the current password")
	v.submit("/settings", "/settings/password", "current", "correct horse", "password", "battery staple").must(t, 200, "Password changed")

	other := w.visit(t)
	other.submit("/signin", "/signin", "name", "zoe", "password", "correct horse").must(t, 422, "Name or password is wrong.")
	other.submit("/signin?next=//evil.example/", "/signin", "name", "Zoe", "password", "battery staple", "next", "//evil.example/").must(t, 200, "Discussions")
	v.submit("/settings", "/settings/sessions", "id", "others").must(t, 200)
	if p := other.get("/settings"); !strings.HasPrefix(p.path, "/signin") {
		t.Errorf("a revoked session still opens %s", p.path)
	}
	v.submit("/settings", "/signout").must(t, 200, "Sign in")
	if p := v.get("/settings"); !strings.HasPrefix(p.path, "/signin") {
		t.Errorf("after signing out %s opens", p.path)
	}
}

func TestForeignForms(t *testing.T) {
	w := newTown(t)
	v := w.member(t, "zoe")
	v.post("/chat/lobby", "body", "no token", "key", "k1").must(t, 403, "open for too long")
	v.post("/chat/lobby", "body", "wrong token", "key", "k1", "csrf", "guess").must(t, 403)
	token := csrfField.FindStringSubmatch(v.get("/chat/lobby").body)[1]
	for name, set := range map[string]func(http.Header){
		"other origin": func(h http.Header) { h.Set("Origin", "https://evil.example") },
		"cross site":   func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/chat/lobby", strings.NewReader("body=x&key=k2&csrf="+token))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		set(r.Header)
		if p := v.do(r); p.status != 403 {
			t.Errorf("%s: status %d", name, p.status)
		}
	}
	w.visit(t).post("/signin", "name", "zoe", "password", "correct horse").must(t, 403)
	v.get("/chat/lobby").mustNot(t, "no token", "wrong token")
}

func TestWritingWithoutScripts(t *testing.T) {
	w := newTown(t)
	v := w.member(t, "zoe")
	v.submit("/new", "/new", "title", "", "category", "workshop", "body", "kept text", "key", "p1").must(t, 422, "2 to 140", "kept text", `value="p1"`)
	post := v.submit("/new", "/new", "title", "A kite", "category", "workshop", "body", "It **flies**", "key", "p1").must(t, 200, "<strong>flies</strong>")
	v.submit("/new", "/new", "title", "A kite", "category", "workshop", "body", "It **flies**", "key", "p1").must(t, 200)
	if n := strings.Count(v.get("/").body, `data-post="`); n != 5 {
		t.Errorf("a form sent twice made %d posts", n-4)
	}
	v.submit(post.path, post.path, "body", " ", "key", "c0").must(t, 422, "This is needed.")
	v.submit(post.path, post.path, "body", "first <b>comment</b>", "key", "c1").must(t, 200, "first &lt;b&gt;comment", `id="c2"`)
	v.submit(post.path, post.path, "body", "an answer", "key", "c2", "reply_to", "2").must(t, 200, `class="quote" href="#c2"`)

	id := strings.TrimPrefix(post.path, "/p/")
	v.get("/m/"+id+"/2/edit").must(t, 200, "first &lt;b&gt;comment")
	v.submit("/m/"+id+"/2/edit", "/m/"+id+"/2/edit", "body", "changed").must(t, 200, "changed", "edited")
	v.submit(post.path, "/m/"+id+"/2/delete").must(t, 200, "This message was deleted.").mustNot(t, "changed")
	v.submit("/p/"+id+"/edit", "/p/"+id+"/edit", "title", "A big kite", "category", "welcome", "body", "It soars").must(t, 200, "A big kite", "soars", "Welcome")

	other := w.member(t, "kim")
	other.get("/p/"+id+"/edit").must(t, 403)
	other.submit("/chat/lobby", "/p/"+id+"/delete").must(t, 403)
	v.submit("/chat/lobby", "/p/"+id+"/delete").must(t, 200)
	v.get("/p/"+id).must(t, 404)
}

func TestRoomsAndDirectMessages(t *testing.T) {
	w := newTown(t)
	zoe, kim, eve := w.member(t, "zoe"), w.member(t, "kim"), w.member(t, "eve")
	zoe.submit("/chat/lobby", "/chat/lobby", "body", "hello @kim", "key", "k1").must(t, 200, "hello <a href=\"/u/kim\"")
	kim.get("/notifications").must(t, 200, "mentioned you in", "lobby", "unread")
	opened := kim.get(regexp.MustCompile(`/notifications/\d+`).FindString(kim.get("/notifications").body)).must(t, 200, "Kettle is on")
	if opened.path != "/chat/lobby" {
		t.Errorf("the notification led to %s", opened.path)
	}
	kim.get("/notifications").must(t, 200).mustNot(t, `class="note unread"`)

	zoe.submit("/direct", "/direct", "user", "nobody").must(t, 200, "There is nobody of that name.")
	zoe.submit("/direct", "/direct", "user", "@zoe").must(t, 200, "That is you.")
	direct := zoe.submit("/direct", "/direct", "user", "kim").must(t, 200, "<textarea")
	zoe.submit(direct.path, direct.path, "body", "between us", "key", "k2").must(t, 200, "between us")
	kim.get("/direct").must(t, 200, "zoe", "between us")
	kim.get(direct.path).must(t, 200, "between us")
	eve.get(direct.path).must(t, 404).mustNot(t, "between us")
	eve.submit("/chat/lobby", direct.path, "body", "let me in", "key", "k").must(t, 404)

	group := zoe.submit("/chat/new", "/chat/new", "title", "Plans", "private", "1").must(t, 200, "Plans")
	eve.get(group.path).must(t, 404)
	eve.get("/chat").must(t, 200).mustNot(t, "Plans")
	zoe.submit(group.path, group.path+"/members", "user", "nobody").must(t, 200, "There is nobody of that name.")
	zoe.submit(group.path, group.path+"/members", "user", "@eve").must(t, 200, "@eve")
	eve.get("/notifications").must(t, 200, "added you to", "Plans")
	eve.submit(group.path, group.path, "body", "thank you", "key", "k").must(t, 200, "thank you")
	eve.submit(group.path, group.path+"/leave").must(t, 200).mustNot(t, "Plans")
	eve.get(group.path).must(t, 404)
	room := zoe.submit("/chat/new", "/chat/new", "title", "Kites", "description", "wind").must(t, 200)
	eve.get(room.path).must(t, 200, "Kites", "wind")
}

// The page says where the live topic stood before its lines were read, so that the module that
// subscribes from there misses nothing.
func TestPagesCarryTheirPosition(t *testing.T) {
	w := newTown(t)
	v := w.member(t, "zoe")
	for i, body := range []string{"one", "two", "three"} {
		v.submit("/chat/lobby", "/chat/lobby", "body", body, "key", talk.NewKey()).must(t, 200)
		at := waitFor(t, w, web.TopicConversation("lobby"), uint64(i+1))
		v.get("/chat/lobby").must(t, 200, `"epoch":"`+at+`"`, `"last_seq":`)
	}
}

// waitFor waits until a topic stands at seq, and returns its epoch.
func waitFor(t testing.TB, w *town, topic string, seq uint64) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	for {
		at, err := w.live.History(ctx, topic, parley.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if at.Position.Seq >= seq {
			return at.Position.Epoch
		}
	}
}
