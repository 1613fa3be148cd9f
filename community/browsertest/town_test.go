package browsertest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
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
}

func newTown(t *testing.T) *town {
	t.Helper()
	needChromium(t)
	log := slog.New(slog.DiscardHandler)
	w := &town{live: parley.New(append(community.LiveOptions(), parley.WithLogger(log))...)}
	var err error
	w.app, err = community.New(t.Context(), community.Config{Path: filepath.Join(t.TempDir(), "community.db"), Live: w.live, Log: log})
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
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		_ = w.live.Shutdown(ctx)
		w.http.Close()
		if err := w.app.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// address is host:port of the server.
func (w *town) address() string { return strings.TrimPrefix(w.http.URL, "http://") }
