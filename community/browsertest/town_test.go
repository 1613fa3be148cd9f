package browsertest

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	http  *httptest.Server
	live  *parley.Live
	app   *community.App
	first community.FirstStart

	closing sync.Once
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

// newTown starts a furnished server.
func newTown(t *testing.T) *town {
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

// openTown starts a server on the community at path.
func openTown(t *testing.T, path string) *town {
	t.Helper()
	needChromium(t)
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
	w.http = httptest.NewServer(r)
	t.Cleanup(func() { w.close(t) })
	return w
}

// close takes the server down; once is enough.
func (w *town) close(t *testing.T) {
	t.Helper()
	w.closing.Do(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		_ = w.live.Shutdown(ctx)
		w.http.Close()
		if err := w.app.Close(); err != nil {
			t.Error(err)
		}
	})
}

// address is host:port of the server.
func (w *town) address() string { return strings.TrimPrefix(w.http.URL, "http://") }
