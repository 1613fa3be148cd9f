// Command gin-chat is a complete chat in a Gin application: start it, open
// http://localhost:3000 in two windows, and talk.
package main

import (
	"cmp"
	_ "embed"
	"log"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
)

//go:embed index.html
var page []byte

// Line is what a browser says. Its tags are checked before the handler runs.
type Line struct {
	Text string `json:"text" validate:"required,max=500"`
}

func main() {
	// Who has signed in may read the room; writing goes through the handler below.
	live := parley.New(parley.WithRules(auth.Rule{
		Actions: []auth.Action{auth.ActionSubscribe, auth.ActionHistory, auth.ActionPresence}, Pattern: "room/#",
	}))
	parley.On(live, "chat.send", func(c *parley.Ctx, in Line) (parley.Position, error) {
		return c.Publish("room/lobby", "chat.line", in) // in the name of who called
	})

	r := gin.Default()
	r.GET("/", func(c *gin.Context) { c.Data(http.StatusOK, "text/html; charset=utf-8", page) })
	r.GET("/sdk/parley.js", gin.WrapH(parley.SDK()))
	r.GET("/ws", login, live.Handler())

	log.Fatal(r.Run("localhost:" + cmp.Or(os.Getenv("PORT"), "3000")))
}

// login is your application's own: here whoever has a name is believed.
func login(c *gin.Context) {
	name, err := c.Cookie("name")
	if err != nil || name == "" {
		c.AbortWithStatus(http.StatusUnauthorized)
		return
	}
	parley.SetIdentity(c, parley.Identity{User: name, Name: name})
}
