package sse_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
)

// page listens as any page would, with the EventSource of the browser.
const page = `<!doctype html><link rel=icon href="data:,"><script>
const seen = [], named = [], states = [];
const source = new EventSource('/sse?topic=public/a&topic=public/b');
source.onmessage = e => seen.push(JSON.parse(e.data).payload);
source.onopen = () => states.push('open');
source.onerror = () => states.push(source.readyState === EventSource.CLOSED ? 'closed' : 'again');
for (const name of ['connected', 'gap', 'leaving', 'refused']) source.addEventListener(name, e => named.push(name));
</script>`

// cable is a listener whose connections can be cut.
type cable struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func (c *cable) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
	}
	return nc, err
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		_ = nc.Close()
	}
	c.conns = nil
}

// A page needs nothing but EventSource: it signs in with its cookie, comes back
// by itself when its connection is cut, gets what it missed, and stops when it
// is not wanted any more.
func TestInABrowser(t *testing.T) {
	chromium := needChromium(t)
	live := parley.New()
	r := gin.New()
	login := func(c *gin.Context) {
		if name, err := c.Cookie("name"); err == nil {
			parley.SetIdentity(c, parley.Identity{User: name})
		}
	}
	r.GET("/sse", login, live.SSE())
	r.GET("/", func(c *gin.Context) {
		http.SetCookie(c.Writer, &http.Cookie{Name: "name", Value: "ann", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		c.Data(http.StatusOK, "text/html", []byte(page))
	})
	h := httptest.NewUnstartedServer(r)
	line := &cable{Listener: h.Listener}
	h.Listener = line
	h.Start()
	defer h.Close()
	defer func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := live.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	publish := func(topic string, n int) {
		t.Helper()
		if _, err := live.Publish(t.Context(), topic, "t", n); err != nil {
			t.Fatal(err)
		}
	}
	until, end := openPage(t, chromium, h.URL)
	defer end()

	until(`named.includes('connected')`)
	publish("public/a", 1)
	publish("public/b", 2)
	until(`seen.length === 2`)
	for round := range 3 {
		line.cut()
		publish("public/b", 3+2*round)
		publish("public/a", 4+2*round)
		until(fmt.Sprintf(`seen.length === %d`, 4+2*round))
	}
	until(`seen.toSorted().join() === '1,2,3,4,5,6,7,8' && !named.includes('gap')`)
	if n, err := live.Disconnect(t.Context(), "ann", "that was all"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	until(`named.includes('leaving') && named.includes('refused')`)
}

func needChromium(t *testing.T) string {
	t.Helper()
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
	return path
}

// openPage shows a page and returns how to wait for a condition in it.
func openPage(t *testing.T, chromium, url string) (until func(condition string), end func()) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	browser, stopBrowser := chromedp.NewContext(allocator)
	ctx, late := context.WithTimeout(browser, time.Minute)
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	until = func(condition string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`!!(`+condition+`)`, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
			seen, _ := chromedp.Run(context.WithoutCancel(ctx), chromedp.Evaluate[string](`JSON.stringify({seen, named, states})`))
			t.Fatalf("%s: %v %v", condition, err, seen)
		}
	}
	return until, func() {
		late()
		_ = chromedp.Cancel(browser) // closes the browser and waits for it
		stopBrowser()
		stopAllocator()
	}
}
