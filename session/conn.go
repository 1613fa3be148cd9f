// Package session is the state of one client: who it is, what it is
// subscribed to, what it may still ask. A transport feeds it commands and
// gives it a Conn to answer on; it knows nothing of bytes.
package session

import (
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/hub"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"

	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session/heartbeat"
)

// Conn is what a session needs of a transport. Its methods may be called
// concurrently and never block; what is sent leaves in the order of the calls
// of one goroutine.
type Conn interface {
	// Reply queues an answer for the client.
	Reply(r *parleyv1.Reply)
	// Deliver queues something that other receivers get too. It must not be
	// changed. It reports false, and has queued nothing, when there is no room
	// and the shape of d is hub.PressureSpill; never otherwise.
	Deliver(d *hub.Delivery) bool
	// Ready reports whether there is room for what Deliver refused. If not, f is
	// called, once, when there is; not after the connection's end. It must not
	// block.
	Ready(f func()) bool
	// Close sends what is queued, then ends the connection with r. Later
	// calls do nothing. Session.End follows, once.
	Close(r protocol.Reason)
	// Abort ends the connection at once. Session.End follows, once.
	Abort()
}

// Info is what a transport knows about a connection.
type Info struct {
	Transport string // websocket …
	Address   string // the client's IP address, as far as it can be trusted
	// Identity is who the handshake said it is. Known is false when that is
	// still to be told by a token in the connect command.
	Identity auth.Identity
	Known    bool
	// Quiet: the protocol has no pings of a server. The transport itself sees to
	// it that a dead peer is noticed, and the session never pings this one.
	Quiet bool
	// ByDevice: a client that does not say who it is finds its session again by
	// the device alone, and so does whoever says the same.
	ByDevice bool
}

// HeartbeatStrategy is when a client is pinged.
type HeartbeatStrategy = heartbeat.Strategy

// The strategies.
const (
	HeartbeatFixed    = heartbeat.Fixed
	HeartbeatAdaptive = heartbeat.Adaptive
	HeartbeatOnIdle   = heartbeat.OnIdle
)

// Limits bound what one client can take. Zero values take the defaults, so
// that forgetting one is safe.
type Limits struct {
	MessageBytes      int           // largest frame or message a client may send: 64 KiB
	QueueBytes        int           // most bytes waiting to be written to one client: 1 MiB
	Subscriptions     int           // per connection: 1,000
	Calls             int           // under way at once per connection: 16
	CommandsPerSecond int           // sustained, twice as many at once: 200,000
	Errors            int           // a client may make at once, one more a second: 100
	ConnectTimeout    time.Duration // until the first command: 5 s
	CallTimeout       time.Duration // longest a call may take: 30 s
	IdleTimeout       time.Duration // without any command but pong; 0: never
	ConnectionsNode   int           // 0: no limit
	ConnectionsUser   int           // 100
	ConnectionsOneIP  int           // 0: no limit; behind a proxy set it only with trusted proxies
	AcceptRate        int           // new connections a second, ten times as many at once: 20,000; negative: no limit
	AcceptRateOneIP   int           // the same of one address: 5,000; behind a proxy it needs trusted proxies
	ResumeWindow      time.Duration // a session can be taken up again, if its client asks for nothing else: 2 min
	SessionExpiry     time.Duration // longest a session is kept; that of a device with subscriptions at QoS 1: 7 days
	DetachedSessions  int           // kept in memory for that: 10,000
	DrainSpread       time.Duration // clients told to leave come back within: 5 s
	HeaderCount       int           // on a published message: 32
	HeartbeatInterval time.Duration // 25 s
	HeartbeatTimeout  time.Duration // for the answer to a ping: 10 s
	Heartbeat         HeartbeatStrategy
}

// WithDefaults returns l with every zero value replaced.
func (l Limits) WithDefaults() Limits {
	set(&l.MessageBytes, 64<<10)
	set(&l.QueueBytes, 1<<20)
	set(&l.Subscriptions, 1000)
	set(&l.Calls, 16)
	set(&l.CommandsPerSecond, 200_000)
	set(&l.Errors, 100)
	set(&l.ConnectTimeout, 5*time.Second)
	set(&l.CallTimeout, 30*time.Second)
	set(&l.ConnectionsUser, 100)
	set(&l.AcceptRate, 20_000)
	set(&l.AcceptRateOneIP, 5_000)
	set(&l.ResumeWindow, 2*time.Minute)
	set(&l.SessionExpiry, 7*24*time.Hour)
	set(&l.DetachedSessions, 10_000)
	set(&l.DrainSpread, 5*time.Second)
	set(&l.HeaderCount, 32)
	set(&l.HeartbeatInterval, 25*time.Second)
	set(&l.HeartbeatTimeout, 10*time.Second)
	return l
}

func set[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
