package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestPageInBrowser is what a reader sees who follows the README: the page in a
// real browser, talking with somebody elsewhere.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no Chromium on this machine: install the package chromium")
		}
		t.Skip("no Chromium on this machine: install the package chromium to run this test")
	}
	address := start(t)
	bob := enter(t, address, "Bob")
	bob.Subscribe("room/lobby")
	if err := bob.Call("chat.send", Line{Text: "anybody here?"}, nil); err != nil {
		t.Fatal(err)
	}

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	browser, end := chromedp.NewContext(allocator)
	defer end()
	ctx, late := context.WithTimeout(browser, 40*time.Second)
	defer late()
	evaluate := func(expression string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression)); err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
	}
	until := func(condition string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`!!(`+condition+`)`, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
	}
	visit := func(url string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
	}
	visit("http://" + address + "/sdk/parley.js") // of the same origin, without the question for a name
	evaluate(`document.cookie = 'name=Ann; Path=/; SameSite=Lax', true`)
	visit("http://" + address + "/")
	until(`document.querySelector('#lines').textContent === 'Bobanybody here?'`)
	until(`document.querySelector('#here').textContent.includes('Ann')`)
	if err := chromedp.Do(ctx, chromedp.KeyEvent("me & <b>you</b>\r")); err != nil { // the field has the focus
		t.Fatal(err)
	}
	bob.Expect("chat.line")
	if m := bob.Expect("chat.line"); m.GetFrom() != "Ann" || string(m.GetPayload()) != `{"text":"me \u0026 \u003cb\u003eyou\u003c/b\u003e"}` {
		t.Errorf("%v", m)
	}
	until(`[...document.querySelectorAll('#lines li')].at(-1).textContent === 'Annme & <b>you</b>'`)
}
