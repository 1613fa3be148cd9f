package community_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community"
	"github.com/parleyhq/parley/web"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// town is a furnished community behind a real HTTP server.
type town struct {
	*httptest.Server
	app   *community.App
	live  *parley.Live
	first community.FirstStart
}

// model is a furnished database and how to sign in to it. Furnishing takes a moment, so it is
// done once and copied.
type model struct {
	file  []byte
	first community.FirstStart
}

var furnished = sync.OnceValues(func() (m model, err error) {
	dir, err := os.MkdirTemp("", "parley-model")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "community.db")
	log := slog.New(slog.DiscardHandler)
	live := parley.New(append(community.LiveOptions(), parley.WithLogger(log))...)
	defer func() { err = errors.Join(err, live.Shutdown(context.Background())) }()
	app, err := community.New(context.Background(), community.Config{Path: path, Live: live, Log: log})
	if err != nil {
		return m, err
	}
	m.first, err = app.Bootstrap(context.Background())
	if err = errors.Join(err, app.Close()); err != nil {
		return m, err
	}
	m.file, err = os.ReadFile(path)
	return m, err
})

func newTown(t testing.TB) *town {
	t.Helper()
	m, err := furnished()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "community.db")
	if err := os.WriteFile(path, m.file, 0o600); err != nil {
		t.Fatal(err)
	}
	w := openTown(t, path)
	w.first = m.first
	return w
}

func openTown(t testing.TB, path string) *town {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &town{live: parley.New(append(community.LiveOptions(), parley.WithLogger(log))...)}
	var err error
	w.app, err = community.New(t.Context(), community.Config{Path: path, Live: w.live, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if w.first, err = w.app.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	w.app.Mount(r)
	r.NoRoute(w.app.NotFound)
	r.GET(web.PathLive, w.app.Identify, w.live.Handler())
	r.GET(web.PathSDK, gin.WrapH(parley.SDK()))
	r.GET("/ticket-of-mine", w.app.Identify, w.live.TicketHandler())
	r.GET("/ticket-of/:user", func(c *gin.Context) { parley.SetIdentity(c, parley.Identity{User: c.Param("user")}) }, w.live.TicketHandler())
	w.Server = httptest.NewServer(r)
	t.Cleanup(w.close)
	return w
}

// close takes the town down; closing twice is fine.
func (w *town) close() {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	_ = w.live.Shutdown(ctx)
	w.Server.Close()
	_ = w.app.Close()
}

// visitor is a browser without scripts.
type visitor struct {
	t    testing.TB
	home string
	http *http.Client
}

func (w *town) visit(t testing.TB) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, home: w.URL, http: &http.Client{Jar: jar, Transport: transport}}
}

// page is what a visitor got to see at last, after redirects.
type page struct {
	status int
	path   string
	body   string
	header http.Header
}

func (v *visitor) do(r *http.Request) page {
	v.t.Helper()
	res, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return page{res.StatusCode, res.Request.URL.RequestURI(), string(body), res.Header}
}

func (v *visitor) get(path string) page {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.home+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.do(r)
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

// submit sends a form as a browser would: with the hidden token of the page it stands on.
func (v *visitor) submit(on, action string, fields ...string) page {
	v.t.Helper()
	token := csrfField.FindStringSubmatch(v.get(on).body)
	if token == nil {
		v.t.Fatalf("%s has no form", on)
	}
	return v.post(action, append(fields, "csrf", token[1])...)
}

func (v *visitor) post(action string, fields ...string) page {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.home+action, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", v.home)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.do(r)
}

func (p page) must(t testing.TB, status int, texts ...string) page {
	t.Helper()
	if p.status != status {
		t.Errorf("%s: status %d, want %d\n%s", p.path, p.status, status, excerpt(p.body))
	}
	for _, text := range texts {
		if !strings.Contains(p.body, text) {
			t.Errorf("%s does not show %q\n%s", p.path, text, excerpt(p.body))
		}
	}
	return p
}

func (p page) mustNot(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(p.body, text) {
			t.Errorf("%s shows %q", p.path, text)
		}
	}
}

// excerpt is the part of a page that a failure is likely about.
func excerpt(body string) string {
	if _, main, ok := strings.Cut(body, "<main"); ok {
		body = main
	}
	return body[:min(len(body), 1500)]
}

// member signs somebody up.
func (w *town) member(t testing.TB, name string) *visitor {
	t.Helper()
	v := w.visit(t)
	v.submit("/signup", "/signup", "name", name, "password", "correct horse").must(t, 200, "/u/"+name)
	return v
}

// admin signs in as the first start said.
func (w *town) admin(t testing.TB) *visitor {
	t.Helper()
	v := w.visit(t)
	p := v.submit("/signin", "/signin", "name", w.first.Handle, "password", w.first.Password)
	p.must(t, 200, "Welcome, and how this place works")
	return v
}

// regexpLast is the last match's group 1 of a pattern in a page.
func regexpLast(t testing.TB, body, pattern string) string {
	t.Helper()
	all := regexp.MustCompile(pattern).FindAllStringSubmatch(body, -1)
	if len(all) == 0 {
		t.Fatalf("no %s on the page", pattern)
	}
	return all[len(all)-1][1]
}
