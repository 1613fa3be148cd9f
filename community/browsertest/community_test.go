// Package browsertest drives the community in real browsers, the way people do.
package browsertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/web"
)

// bodies lists the texts of a thread's lines, in the order they stand on the page.
const bodies = `[...document.querySelectorAll('[data-thread] .msg[data-seq] .msg-body')].map((e) => e.textContent.trim())`

// pendings counts lines that the server has not confirmed.
const pendings = `document.querySelectorAll('[data-thread] .msg.sending, [data-thread] .msg.failed').length`

func TestCommentArrivesLive(t *testing.T) {
	w := newTown(t)
	ann, ben := openBrowser(t, "ann", w.http.URL), openBrowser(t, "ben", w.http.URL)
	ann.signUp("/")
	post := ask[string](ann, `[...document.querySelectorAll('.post-title a')].find((a) => a.textContent.includes('tunnels')).getAttribute('href')`)
	ben.signUp(post)
	ann.open(post)
	ann.live()
	ben.live()
	// Ben reads the top of the post. A mark on the window tells whether the page is loaded again.
	ask[bool](ben, `(window.sameVisit = true, scrollTo(0, 0), true)`)
	before := ask[float64](ben, `document.querySelector('.post h1').getBoundingClientRect().top`)

	ann.fill("#composer", "And two **languages** at once, @ben")
	sent := time.Now()
	ask[bool](ann, `(document.querySelector('[data-composer]').requestSubmit(), true)`)
	ben.within(2*time.Second, `document.querySelector('[data-thread]').textContent.includes('And two languages at once')`)
	if took := time.Since(sent); took > time.Second {
		t.Errorf("the comment took %s", took)
	} else {
		t.Logf("the comment took %s", took)
	}
	if !ask[bool](ben, `window.sameVisit === true`) {
		t.Error("the page was loaded again")
	}
	if after := ask[float64](ben, `document.querySelector('.post h1').getBoundingClientRect().top`); after != before {
		t.Errorf("what ben reads moved from %v to %v", before, after)
	}
	ben.until(`document.querySelector('[data-comments-title]').textContent.startsWith('5 ')`)
	ben.until(`document.querySelector('a[href="/notifications"] [data-badge], a[href="/notifications"] .badge')?.textContent.trim() === '1'`)
	if html := ask[string](ben, `[...document.querySelectorAll('.msg-body')].at(-1).innerHTML`); html != `<p>And two <strong>languages</strong> at once, <a href="/u/ben" class="mention">@ben</a></p>` {
		t.Errorf("drawn as %s", html)
	}
	ben.shoot("comment")
	ann.clean()
	ben.clean()
}

func TestTenSecondsWithoutNetwork(t *testing.T) {
	t.Parallel()
	t.Run("cable cut", func(t *testing.T) {
		t.Parallel()
		w := newTown(t)
		wire := lay(t, w.address())
		tenSeconds(t, w, wire, func(*browser) { wire.sever() }, func(*browser) { wire.mend() })
	})
	t.Run("browser offline", func(t *testing.T) {
		t.Parallel()
		w := newTown(t)
		tenSeconds(t, w, lay(t, w.address()), func(b *browser) { b.do(network(false)) }, func(b *browser) { b.do(network(true)) })
	})
}

// tenSeconds lets two people write while one of them has no network.
func tenSeconds(t *testing.T, w *town, wire *cable, cut, mend func(*browser)) {
	t.Helper()
	ann, ben := openBrowser(t, "ann", wire.url()), openBrowser(t, "ben", w.http.URL)
	ann.signUp("/chat/lobby")
	ben.signUp("/chat/lobby")
	ann.live()
	ben.live()
	say := func(b *browser, text string) {
		b.fill("#composer", text)
		b.do(ctrlEnter()) // works with and without a mouse; a machine without one is taken for a phone
	}
	say(ann, "ann before")
	ben.until(`document.querySelector('[data-thread]').textContent.includes('ann before')`)
	ann.clean()
	ben.clean()

	cut(ann)
	ann.until(`document.documentElement.dataset.live !== 'connected'`)
	since := time.Now()
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for i := range 10 { // one line each a second, for ten seconds
		say(ann, fmt.Sprint("ann in the tunnel ", i))
		say(ben, fmt.Sprint("ben outside ", i))
		<-beat.C
	}
	ann.shoot("tunnel")
	if n := ask[int](ann, pendings); n != 10 {
		t.Errorf("ann's page shows %d waiting lines, want 10", n)
	}
	if ask[bool](ben, bodies+`.some((s) => s.startsWith('ann in'))`) {
		t.Error("the cable was not cut")
	}
	t.Logf("without network for %s", time.Since(since).Round(time.Millisecond))
	mend(ann)

	want := 21 // ann before, ten of each
	said := bodies + `.filter((s) => /^(ann|ben) (before|in|outside)/.test(s))`
	for _, b := range []*browser{ann, ben} {
		b.within(40*time.Second, fmt.Sprintf(`%s.length >= %d && %s === 0`, said, want, pendings))
	}
	hers, his := ask[[]string](ann, said), ask[[]string](ben, said)
	if !slices.Equal(hers, his) {
		t.Errorf("orders differ:\nann %q\nben %q", hers, his)
	}
	if once := slices.Compact(slices.Sorted(slices.Values(hers))); len(hers) != want || len(once) != want {
		t.Errorf("%d lines, %d different, want %d: %q", len(hers), len(once), want, hers)
	}
	for _, who := range []string{"ann in the tunnel", "ben outside"} {
		own := slices.DeleteFunc(slices.Clone(hers), func(s string) bool { return len(s) < len(who) || s[:len(who)] != who })
		if !slices.IsSorted(own) {
			t.Errorf("lines of one person changed their order: %q", own)
		}
	}
	ben.clean()
	ann.forget() // the browser itself complains about the cut cable
	say(ann, "ann is back")
	ben.until(`document.querySelector('[data-thread]').textContent.includes('ann is back')`)
	ann.shoot("back-ann")
	ben.shoot("back-ben")
	ann.clean()
}

func TestAnnouncement(t *testing.T) {
	w := newTown(t)
	ann := openBrowser(t, "ann", w.http.URL)
	ann.signUp("/chat")
	ann.live()
	ann.until(`performance.getEntriesByType('resource').some((r) => r.name.includes('announce'))`)
	said := parley.Key("once")
	for range 2 { // the same key: shown once
		if _, err := w.live.Publish(t.Context(), web.TopicAnnouncements, "announcement", map[string]string{"text": "Bread at <noon>"}, said); err != nil {
			t.Fatal(err)
		}
	}
	ann.until(`document.querySelector('#toasts').textContent.includes('Bread at <noon>')`)
	if n := ask[int](ann, `document.querySelectorAll('#toasts .toast').length`); n != 1 {
		t.Errorf("%d toasts", n)
	}
	ann.clean()
}

func TestByKeyboard(t *testing.T) {
	w := newTown(t)
	ann := openBrowser(t, "ann", w.http.URL)
	ann.signUp("/")
	ann.live()
	ann.press("?")
	ann.until(`document.querySelector('#shortcuts')?.open`)
	ann.shoot("shortcuts")
	ann.press("\u001b")
	ann.until(`!document.querySelector('#shortcuts').open`)
	ann.press("jj")
	ann.until(`document.activeElement.matches('.post-title a')`)
	title := ask[string](ann, `document.activeElement.textContent`)
	ann.press("\r")
	ann.until(`location.pathname.startsWith('/p/')`)
	ann.until(`document.querySelector('h1').textContent.trim() === ` + quote(title))
	ann.live()
	ann.press("j")
	ann.until(`document.activeElement.matches('.msg')`)
	ann.press("r")
	ann.until(`document.activeElement.id === 'composer' && document.querySelector('.replying:not([hidden])')`)
	ann.press("answered without a mouse")
	ann.do(ctrlEnter())
	ann.until(`[...document.querySelectorAll('.msg[data-seq]')].some((m) => m.textContent.includes('answered without a mouse') && m.querySelector('.quote'))`)
	ann.press("\u001b")
	ann.press("gc")
	ann.until(`location.pathname === '/chat'`)
	ann.clean()
}

func TestEveryPageIsQuiet(t *testing.T) {
	w := newTown(t)
	ann := openBrowser(t, "ann", w.http.URL)
	for _, path := range []string{"/", "/c/questions", "/chat", "/chat/lobby", "/signin", "/u/linwei"} {
		ann.open(path)
		ann.until(`document.readyState === 'complete'`)
		ann.shoot("visitor" + flat(path))
	}
	ann.signUp("/")
	for _, path := range []string{"/", "/new", "/chat", "/chat/new", "/chat/zh-room", "/direct", "/notifications", "/settings", "/u/ann"} {
		ann.open(path)
		ann.live()
		ann.shoot("member" + flat(path))
		if ask[bool](ann, `document.documentElement.scrollWidth > innerWidth`) {
			t.Errorf("%s is wider than the window", path)
		}
	}
	ann.open("/chat/new")
	ann.fill("#title", "Saturday")
	ask[bool](ann, `(document.querySelector('[name="private"]').click(), document.querySelector('main form').requestSubmit(), true)`)
	ann.until(`document.body.dataset.page === 'chat'`)
	ann.live()
	ann.fill("#user", "@priya")
	ann.press("\r")
	ann.until(`document.querySelector('.aside').textContent.includes('@priya')`)
	ann.shoot("member-group")
	ann.clean()

	admin := openBrowser(t, w.first.Handle, w.http.URL)
	admin.open("/signin?next=/u/priya")
	admin.fill("#name", w.first.Handle)
	admin.fill("#password", w.first.Password)
	admin.press("\r")
	admin.until(`document.querySelector('#role')`)
	admin.live()
	admin.shoot("admin-profile")
	admin.clean()

	ann.open("/nowhere") // the browser itself notes the status
	ann.until(`document.body.dataset.page === 'error'`)
	ann.shoot("error")
}
