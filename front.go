package parley

import (
	"net"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/websocket"
)

// FrontConfig is what Live.Front needs to know.
type FrontConfig struct {
	// Path is where Handler is mounted, such as /ws.
	Path string
	// Wait is how long a client may take to send its first bytes: as
	// ReadHeaderTimeout of the http.Server, and 5 s when it is 0.
	Wait time.Duration
	// Taken is told of each handshake that was answered without the http.Server,
	// whose logs and metrics do not see it. It may be called by many goroutines at
	// once; nil for nobody.
	Taken func(address string, took time.Duration)
}

// Front spares WebSocket handshakes the http.Server, which costs more than all
// the rest of a handshake:
//
//	server.Serve(live.Front(listener, parley.FrontConfig{Path: "/ws"}))
//
// It takes the plain ones, that is those which Handler would accept without a
// look at a cookie, a token, a ticket or anything a proxy has added, and hands
// everything else to the server as it came. Middleware in front of Handler does
// not run for what it takes, so use it only where that does nothing but identify by one
// of these. It returns the listener to serve, which is ln itself
// where it can do nothing, as on systems other than Linux; ln must not be one of TLS that
// somebody else wraps later. Closing it closes ln.
func (l *Live) Front(ln net.Listener, c FrontConfig) net.Listener {
	const wait = 5 * time.Second
	if c.Wait <= 0 {
		c.Wait = wait
	}
	return l.sockets.Front(ln, websocket.FrontConfig{Path: c.Path, Wait: c.Wait, Admit: l.admitPlain, Taken: c.Taken})
}

// admitPlain is open for a client that has shown nothing of itself but its
// page. What it refuses comes again, to open, and is told why.
func (l *Live) admitPlain(address, host, origin string) (session.Info, bool) {
	if auth.CheckOrigin(auth.OriginRequest{Origin: origin, Host: host}, l.origins) != nil || !l.sessions.TryAdmit(address) {
		return session.Info{}, false
	}
	return session.Info{Address: address}, true
}
