package client_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/client"
)

// newServer stands for a server somewhere else. Everybody is ada to it.
func newServer() (address string, stop func()) {
	live := parley.New()
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	login := func(c *gin.Context) { parley.SetIdentity(c, parley.Identity{User: "ada"}) }
	r.GET("/ws", login, live.Handler())
	server := httptest.NewServer(r)
	return server.URL + "/ws", func() {
		_ = live.Shutdown(context.Background())
		server.Close()
	}
}

func Example() {
	address, stop := newServer()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	c, err := client.Dial(ctx, address)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	lines, err := c.Subscribe(ctx, "public/lobby", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Publish(ctx, "public/lobby", "chat.line", "hello"); err != nil {
		fmt.Println(err)
		return
	}
	for m := range lines.Messages(ctx) {
		fmt.Println(m.Seq, m.From, m.Type, string(m.Payload))
		break
	}
	// Output: 1 ada chat.line "hello"
}
