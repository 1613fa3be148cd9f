package parley_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
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

// A handshake that is being looked at when a drain begins is waited for and
// told to leave, rather than forgotten.
func TestShutdownDuringAHandshake(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	live := parley.New(parley.WithVerifier(auth.VerifierFunc(func(context.Context, string) (parley.Identity, error) {
		close(asked)
		<-answer
		return parley.Identity{User: "ada"}, nil
	})))
	s := parleytest.Serve(t, live)
	opened := make(chan *parleytest.Client, 1)
	go func() {
		opened <- parleytest.Open(t, s.WebSocketURL("/ws"), http.Header{"Authorization": {"Bearer t"}})
	}()
	<-asked
	ended := make(chan error, 1)
	go func() { ended <- live.Shutdown(context.Background()) }()
	for !live.Stats().Draining {
		runtime.Gosched()
	}
	select {
	case err := <-ended:
		t.Errorf("the drain did not wait: %v", err)
	default:
	}
	close(answer)
	c := <-opened
	if end := c.ExpectEnd(); end.Code != 4000 {
		t.Errorf("closed with %v", end)
	}
	c.Close()
	must(t, <-ended)
}
