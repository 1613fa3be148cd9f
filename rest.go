package parley

import (
	"cmp"
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/parleyhq/parley/transport/rest"
)

// RESTConfig says who may use the REST API and how much they may send.
type RESTConfig = rest.Config

// REST returns the HTTP API: publish, history, presence and more, described
// by the OpenAPI document at /api/v1/openapi.json. Mount it at
// RESTConfig.Prefix, which is /api/v1 unless set:
//
//	api, err := live.REST(parley.RESTConfig{Keys: []string{os.Getenv("PARLEY_API_KEY")}})
//	r.Any("/api/v1/*path", gin.WrapH(api))
//
// Bearer tokens of the Live's verifier are accepted too, within the rules.
func (l *Live) REST(c RESTConfig) (http.Handler, error) {
	if c.Verifier == nil {
		c.Verifier = l.verifier
	}
	c.MaxPayload = cmp.Or(c.MaxPayload, l.sessions.Limits.MessageBytes)
	c.Log = cmp.Or(c.Log, l.log)
	return rest.New(c, l.pubsub, node{l, time.Now()})
}

// node is what the REST API sees of this process.
type node struct {
	l       *Live
	started time.Time
}

// Disconnect is described at rest.Node.
func (n node) Disconnect(ctx context.Context, user, reason string) (int, error) {
	return n.l.Disconnect(ctx, user, reason)
}

// Ticket is described at rest.Node.
func (n node) Ticket(id Identity) (string, time.Duration, error) { return n.l.tickets.Issue(id) }

// Info is described at rest.Node.
func (n node) Handled(typ string) bool { return n.l.router.Handles(typ) }

func (n node) Info() rest.Info {
	s, p := n.l.sessions.Stats(), n.l.pubsub.Stats()
	return rest.Info{
		Version: Version(), Node: n.l.node, UptimeMS: time.Since(n.started).Milliseconds(),
		Connections: s.Open, Users: s.Users, Topics: p.Topics,
		Published: p.Published, Delivered: p.Delivered, Draining: s.Draining,
	}
}

// Version returns the version of Parley in this binary, as the Go toolchain
// recorded it; "devel" when it did not.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	const self = "github.com/parleyhq/parley"
	version := ""
	if info.Main.Path == self {
		version = info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == self {
			version = m.Version
		}
	}
	if version == "" || version == "(devel)" {
		return "devel"
	}
	return version
}
