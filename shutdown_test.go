package parley_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
)

// A handler that ignores its context must not keep a process from ending.
func TestShutdownLeavesAStuckHandlerBehind(t *testing.T) {
	live := parley.New()
	began, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	parley.On(live, "stuck", func(*parley.Ctx, any) (bool, error) {
		close(began)
		<-release
		close(ended)
		return true, nil
	})
	r := gin.New()
	r.GET("/ws", func(c *gin.Context) { parley.SetIdentity(c, parley.Identity{User: "ada"}) }, live.Handler())
	h := httptest.NewServer(r)
	defer h.Close()
	c := parleytest.Open(t, "ws"+strings.TrimPrefix(h.URL, "http")+"/ws", http.Header{})
	c.Send(`[{"id":1,"connect":{}},{"id":2,"publish":{"topic":"public/1","type":"stuck"}}]`)
	<-began
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	start := time.Now()
	err := live.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("shutdown: %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	close(release)
	<-ended
}
