package parley

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/protocol"
	sdk "github.com/parleyhq/parley/sdk/js"
	"github.com/parleyhq/parley/session"
)

const identityKey = "parley.identity"

// SetIdentity says who makes the request. An application's own login
// middleware calls it before the Live's handlers run.
func SetIdentity(c *gin.Context, id Identity) { c.Set(identityKey, id) }

// IdentityFrom returns who makes the request, if SetIdentity was called.
func IdentityFrom(c *gin.Context) (Identity, bool) {
	v, _ := c.Get(identityKey)
	id, ok := v.(Identity)
	return id, ok
}

// Handler opens WebSocket connections:
//
//	r.GET("/ws", login, live.Handler())
//
// Who the client is, is taken from SetIdentity, else from an Authorization
// header, else from the one-use ticket in ?ticket=…, else from the token in
// the client's first message. A handshake that is refused is answered with a
// plain HTTP error that says why.
//
// How long a client may take to send its handshake is up to the http.Server:
// set ReadHeaderTimeout, or a client that sends a byte now and then holds its
// connection for ever.
func (l *Live) Handler() gin.HandlerFunc {
	return func(c *gin.Context) {
		defer c.Abort() // nothing may write after the connection was taken over
		if refused := l.open(c, l.sockets.Serve); refused != nil {
			writeError(c, refused)
		}
	}
}

// open lets a request in and has it served, by somebody who releases what was
// admitted and has written nothing when there is an error.
func (l *Live) open(c *gin.Context, serve func(http.ResponseWriter, *http.Request, session.Info) *protocol.Error) *protocol.Error {
	r := c.Request
	// Gin gives c to another request when this handler returns: what the
	// connection needs is copied into info.
	info := session.Info{Address: strings.Clone(c.ClientIP())}
	if err := l.sessions.Admit(info.Address); err != nil {
		return session.ClientError(err)
	}
	served := false
	defer func() {
		if !served { // a verifier may panic, too
			l.sessions.Release(info.Address)
		}
	}()
	if err := auth.CheckOrigin(auth.OriginRequestOf(r, c.ClientIP() != c.RemoteIP()), l.origins); err != nil {
		return session.ClientError(err)
	}
	var err error
	if info.Identity, info.Known, err = l.identify(c); err != nil {
		return session.ClientError(err)
	}
	served = true // serve sees to it from here on
	return serve(c.Writer, r, info)
}

// identify tells who makes the request; known is false when that is still to
// be said.
func (l *Live) identify(c *gin.Context) (id Identity, known bool, err error) {
	if id, ok := IdentityFrom(c); ok {
		if id.ExpiredAt(time.Now()) {
			return id, false, protocol.TokenExpired.Errorf("the session has expired: sign in again")
		}
		return id, true, nil
	}
	if scheme, token, ok := strings.Cut(c.GetHeader("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		if l.verifier == nil {
			return id, false, protocol.Unauthorized.Errorf("this server takes no bearer tokens")
		}
		id, err = l.verifier.Verify(c.Request.Context(), strings.TrimSpace(token))
		return id, err == nil, err
	}
	if text := c.Query("ticket"); text != "" {
		if !ticket.Is(text) {
			return id, false, protocol.Unauthorized.Errorf("?ticket= takes one-use tickets only; a token belongs into the first message, never into a URL")
		}
		id, err = l.tickets.Redeem(c.Request.Context(), text)
		return id, err == nil, err
	}
	return id, false, nil
}

// TicketHandler answers with a ticket that opens one connection within 30
// seconds, for clients that can send neither cookie nor header:
//
//	r.POST("/ticket", login, live.TicketHandler())
func (l *Live) TicketHandler() gin.HandlerFunc {
	return func(c *gin.Context) {
		id, known, err := l.identify(c)
		if err == nil && !known {
			err = protocol.Unauthorized.Errorf("sign in first: a ticket stands for somebody")
		}
		if err != nil {
			writeError(c, session.ClientError(err))
			return
		}
		text, life, err := l.tickets.Issue(id)
		if err != nil {
			writeError(c, session.ClientError(err))
			return
		}
		c.Header("Cache-Control", "no-store")
		c.JSON(http.StatusOK, gin.H{"ticket": text, "expires_in_ms": life.Milliseconds()})
	}
}

// SDK serves the browser SDK, one ES module without dependencies.
func SDK() http.Handler {
	started := time.Now()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache") // always asked for anew, answered with 304 until the next start
		http.ServeContent(w, r, "parley.js", started, strings.NewReader(sdk.Module()))
	})
}

func writeError(c *gin.Context, e *protocol.Error) {
	if e.HTTP == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", "Bearer")
	}
	if e.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	c.AbortWithStatusJSON(e.HTTP, gin.H{"error": e.Wire()})
}
