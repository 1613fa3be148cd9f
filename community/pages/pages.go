// Package pages answers the browser: it reads the forms, asks the rules of package talk and hands
// what is to be shown to package web. Every page reads and posts without JavaScript.
package pages

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// Live is what the pages ask the live side.
type Live interface {
	// Position is where a topic stands now.
	Position(ctx context.Context, topic string) web.Position
	// Online lists the handles of who has a page open.
	Online(ctx context.Context) []string
	// SignedOut ends the sockets of a person whose sessions ended.
	SignedOut(ctx context.Context, handle string)
	// Changed checks anew what a person's sockets may follow.
	Changed(ctx context.Context, handle string)
}

// Config makes the pages.
type Config struct {
	DB       *store.DB
	Accounts *account.Service
	Talk     *talk.Service
	Draw     *view.Drawer
	Site     *web.Site
	Live     Live
	// PublicURL is the address people use, such as "https://talk.example.org". Empty: whatever the
	// request says.
	PublicURL string
	Log       *slog.Logger
	Now       func() time.Time
}

// Pages are the handlers. Safe for concurrent use.
type Pages struct {
	Config
	sameOrigin *http.CrossOriginProtection
}

// New makes the handlers. It fails when PublicURL is not an address.
func New(c Config) (*Pages, error) {
	p := &Pages{Config: c, sameOrigin: http.NewCrossOriginProtection()}
	if c.PublicURL == "" {
		return p, nil
	}
	origin, err := originOf(c.PublicURL)
	if err != nil {
		return nil, err
	}
	return p, p.sameOrigin.AddTrustedOrigin(origin)
}

// Mount registers every page on r.
func (p *Pages) Mount(r gin.IRouter) {
	g := r.Group("", p.recover, p.Identify, p.guard)
	g.GET("/static/*path", gin.WrapH(p.Site.Assets()))
	g.HEAD("/static/*path", gin.WrapH(p.Site.Assets()))
	g.POST(web.PathPreferences, gin.WrapF(p.Site.SetPreferences))

	get := func(path string, h handler) {
		g.GET(path, p.answer(h))
		g.HEAD(path, p.answer(h))
	}
	post := func(path string, h handler) { g.POST(path, p.answer(h)) }

	get("/", p.home)
	get("/c/:slug", p.category)
	get("/new", p.newPost)
	post("/new", p.createPost)
	get("/p/:id", p.post)
	post("/p/:id", p.comment)
	get("/p/:id/edit", p.editPost)
	post("/p/:id/edit", p.savePost)
	post("/p/:id/delete", p.deletePost)
	get("/m/:id/:seq/edit", p.editMessage)
	post("/m/:id/:seq/edit", p.saveMessage)
	post("/m/:id/:seq/delete", p.deleteMessage)

	get("/chat", p.rooms)
	get("/chat/new", p.newRoom)
	post("/chat/new", p.createRoom)
	get("/chat/:id", p.room)
	post("/chat/:id", p.sayInRoom)
	post("/chat/:id/members", p.invite)
	post("/chat/:id/leave", p.leave)
	get("/direct", p.directs)
	post("/direct", p.openDirect)
	get("/direct/:id", p.room)
	post("/direct/:id", p.sayInRoom)

	get("/notifications", p.inbox)
	post("/notifications", p.readInbox)
	get("/notifications/:id", p.openNotification)

	get("/signin", p.signInForm)
	post("/signin", p.signIn)
	get("/signup", p.signUpForm)
	post("/signup", p.signUp)
	post("/signout", p.signOut)
	get("/u/:name", p.profile)
	post("/u/:name/role", p.setRole)
	post("/u/:name/close", p.closeAccount)
	get("/settings", p.settings)
	post("/settings", p.saveSettings)
	post("/settings/password", p.changePassword)
	post("/settings/sessions", p.revoke)
}

// NotFound answers what no route knows, in the reader's language.
func (p *Pages) NotFound(c *gin.Context) {
	p.Identify(c)
	p.answer(func(*gin.Context) error { return notFound() })(c)
}
