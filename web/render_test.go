package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/web"
)

func render(t *testing.T, site *web.Site, p web.Page) string {
	t.Helper()
	w := httptest.NewRecorder()
	if err := site.Render(w, http.StatusOK, p); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

// TestEveryPageDraws also holds pages to the policy they are sent with: nothing inline.
func TestEveryPageDraws(t *testing.T) {
	site := newSite(t)
	inline := regexp.MustCompile(`<[^>]+\s(on[a-z]+|style)=|<style|<script(?:\s+[^>]*)?>[^<{]*[a-z]+\(`)
	for path, fixture := range pages() {
		for _, lang := range []web.Lang{web.English, web.Chinese} {
			t.Run(string(lang)+path, func(t *testing.T) {
				p := fixture()
				web.Prefer(p, web.Preferences{Lang: lang, Theme: "dark", Zone: time.UTC})
				page := render(t, site, p)
				for _, want := range []string{`<html lang="` + string(lang) + `" data-theme="dark">`, `id="main"`, `class="skip"`, "</html>"} {
					if !strings.Contains(page, want) {
						t.Errorf("page lacks %s", want)
					}
				}
				for _, no := range []string{"ZgotmplZ", "<no value>", "%!"} {
					if strings.Contains(page, no) {
						t.Errorf("page contains %s", no)
					}
				}
				if found := inline.FindString(page); found != "" {
					t.Errorf("not allowed by the policy: %s", found)
				}
			})
		}
	}
}

// TestZeroModelsDraw: a handler that fills nothing shows an empty page, not an error.
func TestZeroModelsDraw(t *testing.T) {
	site := newSite(t)
	for _, p := range []web.Page{
		&web.Home{}, &web.CategoryPage{}, &web.PostPage{}, &web.PostForm{}, &web.MessageForm{}, &web.Chat{}, &web.ChatIndex{},
		&web.RoomForm{}, &web.Notifications{}, &web.SignIn{}, &web.SignUp{}, &web.Profile{}, &web.Settings{}, &web.ErrorPage{},
	} {
		render(t, site, p)
	}
}

func TestTextIsEscaped(t *testing.T) {
	const evil = `</script><script>alert(1)</script>`
	l := layout("/", evil)
	l.User.Display, l.User.ID = evil, evil
	all := posts()
	all[0].Title, all[0].Excerpt = evil, evil
	l.Flash = &web.Flash{Kind: "ok", Text: evil}
	if page := render(t, newSite(t), &web.Home{Layout: l, Posts: all, Query: evil}); strings.Contains(page, evil) {
		t.Error("text of a user reached the page as markup")
	}
}

func TestThreadRows(t *testing.T) {
	site := newSite(t)
	page := render(t, site, pages()["/chat/general"]())
	if n := strings.Count(page, `class="day"`); n != 2 {
		t.Errorf("%d day separators, want 2 (yesterday and today)", n)
	}
	if n := strings.Count(page, `class="divider"`); n != 1 {
		t.Errorf("%d new-dividers, want 1", n)
	}
	if !regexp.MustCompile(`(?s)class="divider".{0,400}id="c412"`).MatchString(page) {
		t.Error("the divider does not stand before the first unread line, 412")
	}
	for id, grouped := range map[string]bool{"c400": false, "c401": true, "c405": true, "c408": false, "c409": false, "c410": true, "c411": false} {
		tag := regexp.MustCompile(`<article class="([^"]*)" id="` + id + `"`).FindStringSubmatch(page)
		if tag == nil {
			t.Fatalf("no row %s", id)
		}
		if strings.Contains(tag[1], "grouped") != grouped {
			t.Errorf("row %s: class %q, want grouped %v", id, tag[1], grouped)
		}
	}
	if !strings.Contains(page, `class="msg named" id="c408"`) {
		t.Error("a line that mentions the reader is not marked")
	}
}

// Own lines say how far they have got, by name or by number; the others' say nothing.
func TestTicks(t *testing.T) {
	site := newSite(t)
	reader := func(id string, delivered, read uint64) web.Reader {
		return web.Reader{ID: id, Display: "<" + id + ">", Delivered: delivered, Read: read}
	}
	who := func(people ...web.Reader) web.Receipts { return web.Receipts{Told: "who", Live: true, People: people} }
	many := who()
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		many.People = append(many.People, reader(id, 9, 9))
	}
	for name, c := range map[string]struct {
		receipts web.Receipts
		reach    *web.Reach
		lang     web.Lang
		want     []string
	}{
		"nothing":  {web.Receipts{}, &web.Reach{Delivered: 1}, web.English, nil},
		"sent":     {who(reader("a", 1, 1)), nil, web.English, []string{"sent Sent", "sent Sent"}},
		"reached":  {who(reader("a", 2, 1), reader("b", 1, 1)), nil, web.English, []string{"delivered Delivered", "sent Sent"}},
		"read":     {who(reader("a", 4, 2), reader("b", 4, 4)), nil, web.English, []string{"read Read by &lt;a&gt;, &lt;b&gt;", "read Read by &lt;b&gt;"}},
		"中文":       {who(reader("a", 4, 2), reader("b", 4, 4)), nil, web.Chinese, []string{"read &lt;a&gt;、&lt;b&gt; 已读", "read &lt;b&gt; 已读"}},
		"many":     {many, nil, web.English, []string{"read Read by &lt;a&gt;, &lt;b&gt;, &lt;c&gt;, &lt;d&gt;, &lt;e&gt; and 2 more", "read Read by &lt;a&gt;, &lt;b&gt;, &lt;c&gt;, &lt;d&gt;, &lt;e&gt; and 2 more"}},
		"numbers":  {web.Receipts{Told: "count"}, &web.Reach{Delivered: 200, Read: 120}, web.English, []string{"read Read by 120 people", "read Read by 120 people"}},
		"one":      {web.Receipts{Told: "count"}, &web.Reach{Delivered: 200, Read: 1}, web.English, []string{"read Read by 1 person", "read Read by 1 person"}},
		"none yet": {web.Receipts{Told: "count"}, &web.Reach{Delivered: 200}, web.Chinese, []string{"delivered 已送达", "delivered 已送达"}},
	} {
		t.Run(name, func(t *testing.T) {
			me, other := people()["mei"], people()["ada"]
			l := layout("/chat/general", "general")
			l.Lang = c.lang
			page := render(t, site, &web.Chat{Layout: l, Thread: web.Thread{Receipts: c.receipts, Messages: []web.Message{
				{Seq: 1, Author: other, Reach: c.reach},
				{Seq: 2, Author: me, Reach: c.reach},
				{Seq: 3, Author: me, Deleted: true, Reach: c.reach},
				{Seq: 4, Author: me, Reach: c.reach},
			}}})
			var got []string
			for _, m := range regexp.MustCompile(`class="msg-state ([a-z]+)" aria-live="off" title="([^"]*)"><span class="msg-reach">([^<]*)<`).FindAllStringSubmatch(page, -1) {
				if m[2] != m[3] {
					t.Errorf("title %q, text %q", m[2], m[3])
				}
				got = append(got, m[1]+" "+m[2])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("drawn %q, want %q", got, c.want)
			}
		})
	}
}

func TestErrorPageSpeaks(t *testing.T) {
	site := newSite(t)
	page := render(t, site, &web.ErrorPage{Layout: layout("/p/1", ""), Status: 418, Detail: "the kettle is busy"})
	for _, want := range []string{"418", "Something broke on our side", "the kettle is busy"} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q", want)
		}
	}
}

func TestPerson(t *testing.T) {
	for _, c := range []struct {
		p        web.Person
		initials string
	}{
		{web.Person{Name: "sam_k"}, "S"},
		{web.Person{Name: "x", Display: "Mei Lin"}, "ML"},
		{web.Person{Name: "x", Display: "ada maria okafor"}, "AO"},
		{web.Person{Name: "x", Display: "王晓华"}, "王"},
		{web.Person{}, "?"},
	} {
		if got := c.p.Initials(); got != c.initials {
			t.Errorf("%q: initials %q, want %q", c.p.Shown(), got, c.initials)
		}
		if h := c.p.Hue(); h < 0 || h > 11 {
			t.Errorf("hue %d", h)
		}
	}
}
