// Package parleytest tests applications that use parley, over real sockets:
//
//	func TestChat(t *testing.T) {
//		s := parleytest.Serve(t, newChat())     // your *parley.Live
//		ada, bob := s.Dial("ada"), s.Dial("bob")
//		bob.Subscribe("room/1")
//		ada.Call("chat.send", Send{Text: "hi"}, nil)
//		if m := bob.Expect("chat.message"); m.GetFrom() != "ada" { … }
//	}
//
// When the test ends the Live is shut down, and the test fails if a goroutine
// was left behind.
package parleytest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
)

// patience is how long a test waits for something that should come at once.
const patience = 10 * time.Second

// Server is a Live behind a real HTTP server.
type Server struct {
	URL  string // of the HTTP server
	Live *parley.Live

	t    testing.TB
	path string
}

// Serve mounts live at /ws of a server of its own, where Dial says who the
// client is. More routes can be added. Everything ends with the test.
func Serve(tb testing.TB, live *parley.Live, routes ...func(*gin.Engine)) *Server {
	tb.Helper()
	return ServeOn(tb, nil, live, routes...)
}

// ServeOn is Serve on a listener of the test's own, which it closes.
func ServeOn(tb testing.TB, listener net.Listener, live *parley.Live, routes ...func(*gin.Engine)) *Server {
	tb.Helper()
	before := goleak.IgnoreCurrent()
	gin.SetMode(gin.TestMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/ws", login, live.Handler())
	for _, add := range routes {
		add(r)
	}
	h := httptest.NewUnstartedServer(r)
	h.Config.ReadHeaderTimeout = patience // a handshake that is never finished is cut
	if listener != nil {
		_ = h.Listener.Close() // it was not used
		h.Listener = listener
	}
	h.Start()
	tb.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := live.Shutdown(ctx); err != nil {
			tb.Errorf("parleytest: shutdown: %v", err)
		}
		h.Client().CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		h.Close()
		if err := goleak.Find(before); err != nil {
			tb.Errorf("parleytest: goroutines were left behind: %v", err)
		}
	})
	return &Server{URL: h.URL, Live: live, t: tb, path: "/ws"}
}

// login believes what Dial says. It exists in tests alone.
func login(c *gin.Context) {
	if user := c.GetHeader("Parley-Test-User"); user != "" {
		var roles []string
		if list := c.GetHeader("Parley-Test-Roles"); list != "" {
			roles = strings.Split(list, ",")
		}
		parley.SetIdentity(c, parley.Identity{User: user, Roles: roles})
	}
}

// WebSocketURL returns the address of a path of the server, as WebSocket
// clients write it.
func (s *Server) WebSocketURL(path string) string {
	return "ws" + strings.TrimPrefix(s.URL, "http") + path
}

// Dial connects as a user, who may have roles.
func (s *Server) Dial(user string, roles ...string) *Client {
	s.t.Helper()
	c := s.Open(http.Header{"Parley-Test-User": {user}, "Parley-Test-Roles": {strings.Join(roles, ",")}})
	c.connect()
	return c
}

// Open opens a connection with header and sends no connect command.
func (s *Server) Open(header http.Header) *Client {
	s.t.Helper()
	return Open(s.t, s.WebSocketURL(s.path), header)
}
