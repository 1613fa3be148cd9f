package parley

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// Transport is a way in that the program adds to those of this package, such
// as one of the folders under transport/.
type Transport interface {
	// Wait returns when every connection of the transport has ended and
	// released what it held. It is called when all sessions have been ended.
	Wait()
}

// Join adds a transport. open makes it on the sessions of this Live, which
// Shutdown ends; afterwards it waits for the transport. Listeners are the
// caller's: they are closed before Shutdown.
func (l *Live) Join(open func(*session.Manager) Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined = append(l.joined, open(l.sessions))
}

// Upgrade is Handler for a transport of the program's own: who may connect, and
// who the client is, is decided as there, and serve takes the connection over.
// When serve returns an error it has written nothing, and has released what was
// admitted (session.Manager.Release).
func (l *Live) Upgrade(serve func(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer c.Abort() // nothing may write after the connection was taken over
		if refused := l.open(c, serve); refused != nil {
			writeError(c, refused)
		}
	}
}

// traffic returns what the transports that were joined have carried, of those
// that tell.
func (l *Live) traffic() (list []transport.Traffic) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, t := range l.joined {
		if c, ok := t.(transport.Carrier); ok {
			list = append(list, c.Traffic())
		}
	}
	return list
}

// wait returns when every connection has ended.
func (l *Live) wait() {
	l.sockets.Wait()
	l.streams.Wait()
	l.mu.RLock()
	joined := l.joined
	l.mu.RUnlock()
	for _, t := range joined {
		t.Wait()
	}
}
