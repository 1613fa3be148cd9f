package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience bounds every single wait in a browser, so that a failure names the step.
const patience = 15 * time.Second

// needChromium skips a test on a machine without Chromium; continuous integration must have it.
func needChromium(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("browser tests take half a minute: run without -short")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Chromium on this machine: install the package chromium")
	}
	t.Skip("no Chromium on this machine: install the package chromium to run this test")
	return ""
}

// browser is one person at one Chromium of their own.
type browser struct {
	t    *testing.T
	ctx  context.Context
	name string
	home string

	mu      sync.Mutex
	console []string // errors and warnings of the pages
}

// openBrowser starts a Chromium with an empty profile whose community is at home.
func openBrowser(t *testing.T, name, home string) *browser {
	t.Helper()
	path := needChromium(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860),
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-US"),
		chromedp.Env("LANGUAGE=en_US"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	b := &browser{t: t, ctx: ctx, name: name, home: home}
	if err := chromedp.Do(ctx, focused()); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	var listening sync.WaitGroup
	messages := chromedp.Console(ctx)
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning {
				b.mu.Lock()
				b.console = append(b.console, m.String())
				b.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			b.shoot("failed-" + name)
		}
		_ = chromedp.Cancel(ctx) // closes the browser and waits for it
		end()
		stop()
		listening.Wait()
	})
	return b
}

// do runs steps within the patience.
func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", b.name, err)
	}
}

// open goes to a path and waits until its live parts are connected, when it has some.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.home + path))
}

// live waits until the page's socket stands.
func (b *browser) live() {
	b.t.Helper()
	b.until(`document.documentElement.dataset.live === 'connected'`)
}

// until waits for a condition of the page.
func (b *browser) until(condition string) {
	b.t.Helper()
	b.within(patience, condition)
}

func (b *browser) within(d time.Duration, condition string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, d)
	defer stop()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](`!!(`+condition+`)`, chromedp.WithPollingInterval(20*time.Millisecond)))
		if err == nil {
			return
		}
		// A poll ends when the page goes elsewhere; the condition may be about the next page.
		if ctx.Err() != nil || !gone(err) {
			b.t.Fatalf("%s waited %s for %s: %v\nconsole: %q", b.name, d, condition, err, b.errors())
		}
	}
}

// gone reports whether an error is about a page that was left.
func gone(err error) bool {
	for _, sign := range []string{"context", "navigated", "Not attached"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

// ask evaluates an expression of the page.
func ask[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %s: %v", b.name, expression, err)
	}
	return v
}

// press types keys at whatever has the focus.
func (b *browser) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// fill writes into a field.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.until(`document.querySelector(` + quote(selector) + `)`)
	ask[bool](b, `(() => { const f = document.querySelector(`+quote(selector)+`); f.focus(); f.select?.(); return true; })()`)
	b.press(text)
}

// signUp makes an account with the form and goes to next.
func (b *browser) signUp(next string) {
	b.t.Helper()
	b.open("/signup?next=" + url.QueryEscape(next))
	b.fill("#name", b.name)
	b.fill("#password", "correct horse")
	b.press("\r")
	b.until(`location.pathname === ` + quote(next))
}

// errors are what the pages complained about so far.
func (b *browser) errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.console...)
}

// forget drops the complaints so far: those of a cut cable are expected.
func (b *browser) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = nil
}

// clean fails when the pages complained.
func (b *browser) clean() {
	b.t.Helper()
	for _, e := range b.errors() {
		b.t.Errorf("%s: console: %s", b.name, e)
	}
}

// shoot keeps a picture of the page when PARLEY_SHOTS names a folder.
func (b *browser) shoot(name string) {
	dir := os.Getenv("PARLEY_SHOTS")
	if dir == "" {
		return
	}
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600)
	}
	if err != nil {
		b.t.Logf("picture %s: %v", name, err)
	}
}

func quote(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprint(err)) // a string is always JSON
	}
	return strings.ReplaceAll(string(out), "</", `<\/`)
}
