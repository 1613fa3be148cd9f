// Package community is a forum, chat rooms, direct messages and notifications on one Parley. It
// uses the public API of package parley and nothing else of it, so it is also the largest example
// of what an application looks like:
//
//	live, err := parley.Open(append(options, community.LiveOptions()...)...)
//	app, err := community.New(ctx, community.Config{Path: "data/community.db", Live: live})
//	first, err := app.Bootstrap(ctx)
//	app.Mount(r)
//	r.GET("/ws", app.Identify, live.Handler())
package community

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/outbox"
	"github.com/parleyhq/parley/community/pages"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/community/view"
	"github.com/parleyhq/parley/web"
)

// DefaultEditWindow is how long people may change what they wrote.
const DefaultEditWindow = 24 * time.Hour

// Config makes an App. Path and Live are required.
type Config struct {
	// Path of the SQLite file; it is created when absent.
	Path string
	// Live carries the live parts. Open it with LiveOptions. The App does not shut it down.
	Live *parley.Live
	// Name of the community as pages show it. Default "Parley".
	Name string
	// PublicURL is the address people use, for cookies and the check of forms behind a proxy.
	PublicURL string
	// EditWindow is how long people may change what they wrote. Default DefaultEditWindow.
	EditWindow time.Duration
	// Log takes what operators should know. Default slog.Default().
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// App is a running community. Safe for concurrent use.
type App struct {
	db       *store.DB
	accounts *account.Service
	talk     *talk.Service
	pages    *pages.Pages
	site     *web.Site
	live     *parley.Live
	log      *slog.Logger
	now      func() time.Time

	stop    context.CancelFunc
	running sync.WaitGroup // the outbox and the receipts
}

// New opens the database, registers the live handlers and begins to publish what the outbox
// holds. Close ends it; ctx bounds the opening alone.
func New(ctx context.Context, c Config) (*App, error) {
	c = c.withDefaults()
	site, err := web.New(web.Options{Name: c.Name, Now: c.Now})
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, c.Path)
	if err != nil {
		return nil, err
	}
	a := &App{db: db, site: site, live: c.Live, log: c.Log, now: c.Now, accounts: account.New(db, c.Now)}
	box := outbox.New(db, publisher{c.Live}, c.Log)
	md := markup.New()
	draw := view.NewDrawer(md, c.Now, c.EditWindow, c.Live.Online)
	a.talk = talk.New(talk.Config{DB: db, Draw: draw, Markup: md, Now: c.Now, Wake: box.Wake})
	a.pages, err = pages.New(pages.Config{
		DB: db, Accounts: a.accounts, Talk: a.talk, Draw: draw, Site: site, Live: liveSide{c.Live, a.accounts, c.Log},
		PublicURL: c.PublicURL, Log: c.Log, Now: c.Now,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	a.register()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	a.running.Go(func() { box.Run(running) })
	got := newReceipts(a.talk.Received, c.Log)
	c.Live.OnReceipt(got.note)
	a.running.Go(func() { got.run(running) })
	return a, nil
}

func (c Config) withDefaults() Config {
	if c.EditWindow == 0 {
		c.EditWindow = DefaultEditWindow
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Mount registers the pages on r. The socket is mounted by the caller, behind Identify, at
// web.PathLive, and the browser SDK at web.PathSDK.
func (a *App) Mount(r gin.IRouter) { a.pages.Mount(r) }

// NotFound answers addresses that no route knows.
func (a *App) NotFound(c *gin.Context) { a.pages.NotFound(c) }

// Identify tells Parley who a request belongs to, from the session cookie. Visitors pass without
// an identity.
func (a *App) Identify(c *gin.Context) {
	a.pages.Identify(c)
	if in, ok := pages.SignedIn(c); ok {
		parley.SetIdentity(c, identityOf(in, web.PreferencesOf(c.Request).Lang))
	}
}

// Ping reports whether the database answers.
func (a *App) Ping(ctx context.Context) error {
	if err := a.db.Ping(ctx); err != nil {
		return fmt.Errorf("the community's database does not answer: %w", err)
	}
	return nil
}

// Close stops publishing and closes the database. What was committed and not yet published is
// published at the next start. Call it after Live.Shutdown, so that no handler needs the database
// any more.
func (a *App) Close() error {
	a.stop()
	a.running.Wait()
	return a.db.Close()
}
