package browsertest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// covered opens a tab in front of the page, as when somebody turns to something else.
func covered() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, target.CreateTarget, target.CreateTargetParams{URL: "about:blank"})
		return err
	})
}

// ticks is what the page shows of the line with a text: "delivered: Delivered", say.
func ticks(text string) string {
	return fmt.Sprintf(`(() => {
		const row = [...document.querySelectorAll('[data-thread] .msg[data-seq]')].find((m) => m.querySelector('.msg-body').textContent.trim() === %s);
		const state = row?.querySelector('.msg-state');
		return state ? state.className.replace('msg-state ', '') + ': ' + state.title : '';
	})()`, quote(text))
}

// say writes a line and waits until the server has it.
func (b *browser) say(text string) {
	b.t.Helper()
	b.fill("#composer", text)
	b.do(ctrlEnter())
	b.until(pendings + ` === 0 && ` + bodies + `.includes(` + quote(text) + `)`)
}

// shows asks for ticks of a line, now or soon.
func (b *browser) shows(text, want string) {
	b.t.Helper()
	b.until(ticks(text) + ` === ` + quote(want))
}

// Ann writes to Ben: one tick while he is away, two when his page has it, filled ones when he has
// looked at it; live, and on a page that is loaded again.
func TestReceipts(t *testing.T) {
	w := newTown(t)
	ann, ben := openBrowser(t, "ann", w.http.URL), openBrowser(t, "ben", w.http.URL)
	ben.signUp("/")
	ben.live()
	ben.open("/signin?next=/") // a page without live parts: Ben is away
	ann.signUp("/direct")
	ann.open("/u/ben")
	ask[bool](ann, `(document.querySelector('form[action="/direct"]').requestSubmit(), true)`)
	ann.until(`location.pathname.startsWith('/direct/')`)
	ann.live()
	place := ask[string](ann, `location.pathname`)
	ann.say("first")
	ann.say("second")
	ann.shows("first", "sent: Sent")
	ann.shows("second", "sent: Sent")
	ann.shoot("receipts-sent")

	ben.do(covered())
	ben.open(place)
	ben.live()
	if ask[bool](ben, `document.hasFocus()`) {
		t.Fatal("Ben's page has the focus")
	}
	ann.shows("second", "delivered: Delivered")
	ann.shows("first", "delivered: Delivered")
	ann.say("third, while Ben's page is open")
	ann.shows("third, while Ben's page is open", "delivered: Delivered")
	ann.shoot("receipts-delivered")
	ann.do(chromedp.Reload())
	ann.live()
	ann.shows("third, while Ben's page is open", "delivered: Delivered")

	ben.do(focused())
	ann.shows("third, while Ben's page is open", "read: Read by ben")
	ann.shows("first", "read: Read by ben")
	ann.shoot("receipts-read")
	ask[bool](ann, `(fetch(location.href).then((r) => r.text()).then((page) => {
		const rows = new DOMParser().parseFromString(page, 'text/html').querySelectorAll('.msg-state');
		window.drawn = [...rows].map((r) => r.className + ' ' + r.textContent + '\n').join('');
	}), true)`)
	ann.until(`window.drawn !== undefined`)
	drawn := ask[string](ann, `window.drawn`)
	if want := strings.Repeat("msg-state read Read by ben\n", 3); drawn != want {
		t.Errorf("the server draws\n%s", drawn)
	}
	ann.do(chromedp.Reload())
	ann.live()
	ann.shows("third, while Ben's page is open", "read: Read by ben")
	if n := ask[int](ben, `document.querySelectorAll('.msg-state').length`); n != 0 {
		t.Errorf("Ben sees %d ticks on what Ann wrote", n)
	}
	ann.clean()
	ben.clean()
}

// In a larger room numbers are told, in the largest nothing.
func TestReceiptsOfLargeRooms(t *testing.T) {
	m, err := furnished()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "community.db")
	if err := os.WriteFile(path, m.file, 0o600); err != nil {
		t.Fatal(err)
	}
	grow := func(members int) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.ExecContext(t.Context(), `UPDATE conversations SET member_count = ? WHERE public_id = 'lobby'`, members); err != nil {
			t.Fatal(err)
		}
	}
	grow(101)
	w := openTown(t, path)
	ann, ben := openBrowser(t, "ann", w.http.URL), openBrowser(t, "ben", w.http.URL)
	ann.signUp("/chat/lobby")
	ben.signUp("/chat/lobby")
	ann.live()
	ben.live()
	ann.say("hello, all of you")
	ann.shows("hello, all of you", "read: Read by 1 person")
	ann.do(chromedp.Reload())
	ann.live()
	ann.shows("hello, all of you", "read: Read by 1 person")

	grow(1001)
	ann.do(chromedp.Reload())
	ann.live()
	if n := ask[int](ann, `document.querySelectorAll('.msg-state').length`); n != 0 {
		t.Errorf("%d ticks in the largest room", n)
	}
	ann.say("is anybody there?")
	ann.shows("is anybody there?", "sent: Sent")
	ann.clean()
	ben.clean()
}
