package parley

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/sse"
)

// SSE streams what is published on the topics of the request, for pages that
// only listen:
//
//	r.GET("/sse", login, live.SSE())
//
//	new EventSource("/sse?topic=room/1&topic=news/%23").onmessage = e => show(JSON.parse(e.data))
//
// A browser that lost its connection comes back by itself and goes on behind
// the last message of every topic; what cannot be had any more is told by an
// event of the type gap. Who the client is, is taken as Handler does, except
// that there is no first message for a token.
//
// Pages of other origins need them allowed (WithOrigins). Those that ask with
// fetch and headers of their own ask for permission first: mount the handler
// without a login for OPTIONS too.
func (l *Live) SSE() gin.HandlerFunc { return l.listen(l.streams.Serve) }

// Poll answers with what was published on the topics of the request since the
// id of the last answer, as soon as there is something, for networks that break
// streams:
//
//	r.GET("/poll", login, live.Poll())
//
//	GET /poll?topic=room/1&last_event_id=…&timeout=25s   →   {"messages":[…],"id":"…"}
func (l *Live) Poll() gin.HandlerFunc { return l.listen(l.streams.Poll) }

func (l *Live) listen(serve func(http.ResponseWriter, *http.Request, session.Info) *protocol.Error) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer c.Abort() // a stream is all there is to say
		l.allowOrigin(c)
		if c.Request.Method == http.MethodOptions {
			c.Status(http.StatusNoContent)
			return
		}
		if refused := l.open(c, serve); refused != nil && !sse.Postpone(c.Writer, c.Request, refused) {
			writeError(c, refused)
		}
	}
}

// allowOrigin lets a page of another origin read the answer when that origin
// may connect. Where any may, none gets what cookies sign in for.
func (l *Live) allowOrigin(c *gin.Context) {
	c.Writer.Header().Add("Vary", "Origin")
	origin := c.GetHeader("Origin")
	if origin == "" || auth.CheckOrigin(auth.OriginRequestOf(c.Request, c.ClientIP() != c.RemoteIP()), l.origins) != nil {
		return
	}
	if l.origins.Any() {
		c.Header("Access-Control-Allow-Origin", "*")
	} else {
		c.Header("Access-Control-Allow-Origin", origin)
		c.Header("Access-Control-Allow-Credentials", "true")
	}
	if c.Request.Method == http.MethodOptions {
		c.Header("Access-Control-Allow-Methods", "GET")
		c.Header("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
		c.Header("Access-Control-Max-Age", "600")
	}
}
