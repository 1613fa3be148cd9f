// Package parley adds real-time messaging to a Go program: topics, typed
// handlers, presence, history and resume over WebSocket, mounted into a Gin
// application with one line.
//
//	live := parley.New()
//	r.GET("/ws", login, live.Handler())
//	parley.On(live, "chat.send", func(c *parley.Ctx, in Send) (Ack, error) { … })
//	live.Publish(ctx, "room/1", "chat.message", msg)
//
// Without options it is safe: browsers connect from the same origin only,
// frames are at most 64 KiB, every queue is bounded, and a signed-in user may
// use public/# and user/<own id>/#, nobody else anything.
package parley

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-playground/validator/v10"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/transport/sse"
	"github.com/parleyhq/parley/transport/websocket"
)

// Words of the floors below that callers need.
type (
	// Position is a place in the history of a topic.
	Position = message.Position
	// Message is a published message. It is shared: do not change it.
	Message = message.Message
	// TopicSettings say how the topics of a pattern behave.
	TopicSettings = pubsub.Settings
	// Limits bound what a client can take.
	Limits = session.Limits
	// Pressure is what happens to messages for a receiver that is behind.
	Pressure = hub.Pressure
	// HeartbeatStrategy is when a client is pinged.
	HeartbeatStrategy = session.HeartbeatStrategy
	// Event tells that a client has connected or disconnected.
	Event = session.Event
	// Identity is who a client is.
	Identity = auth.Identity
)

// Strategies of WithHeartbeatStrategy.
const (
	HeartbeatFixed    = session.HeartbeatFixed
	HeartbeatAdaptive = session.HeartbeatAdaptive
	HeartbeatOnIdle   = session.HeartbeatOnIdle
)

// What TopicSettings.Sync can be.
const (
	SyncAlways   = pubsub.SyncAlways
	SyncInterval = pubsub.SyncInterval
	SyncNever    = pubsub.SyncNever
)

// Policies of TopicSettings.Pressure.
const (
	PressureDisconnect = hub.PressureDisconnect
	PressureDropOldest = hub.PressureDropOldest
	PressureLatest     = hub.PressureLatest
	PressureSample     = hub.PressureSample
	PressureSpill      = hub.PressureSpill
)

// Live is a running Parley. Its methods may be called concurrently.
type Live struct {
	node     string
	log      *slog.Logger
	broker   broker.Broker
	store    store.Store
	pubsub   *pubsub.Service
	router   *routing.Router
	sessions *session.Manager
	sockets  *websocket.Server
	streams  *sse.Server
	origins  *auth.Origins
	verifier auth.Verifier
	tickets  *ticket.Once
	validate *validator.Validate
	stop     context.CancelFunc

	mu         sync.RWMutex // guards what follows
	middleware []Middleware
	joined     []Transport

	shutdown sync.Once
	ended    error
}

// New returns a running Live. Like regexp.MustCompile it panics when an
// option is wrong; use Open to get the error instead. Shutdown ends it.
func New(opts ...Option) *Live {
	l, err := Open(opts...)
	if err != nil {
		panic("parley: " + err.Error())
	}
	return l
}

// Open returns a running Live, or what is wrong with an option.
func Open(opts ...Option) (*Live, error) {
	c, err := configure(opts)
	if err != nil {
		return nil, err
	}
	l := &Live{
		node: c.node, log: c.log, broker: c.broker, store: c.store, origins: c.origins, verifier: c.verifier,
		tickets: ticket.NewOnce(c.keys, ticket.NewMemory(0), 0), validate: newValidator(),
	}
	l.router = routing.New(0, c.log)
	l.pubsub, err = pubsub.New(pubsub.Config{
		Broker: c.broker, Authorizer: c.rules, Topics: c.topics, Default: c.fallback, Receipts: c.store.Receipts(),
		Groups: c.store.Groups(), Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	l.sessions = session.NewManager(session.Config{
		PubSub: l.pubsub, Router: l.router, Keys: c.keys, Tickets: l.tickets, Verifier: c.verifier,
		Anonymous: c.anonymous, Store: c.store, Identify: c.identify, Limits: c.limits, Node: c.node, Log: c.log,
	})
	l.sockets = websocket.New(l.sessions, c.log)
	l.streams = sse.New(l.sessions)
	if c.compress != nil {
		l.sockets.Compress(*c.compress)
	}
	if c.metrics != nil {
		if err := c.metrics.Register(newCollector(l)); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	if err := l.pubsub.Start(ctx, l.sessions); err != nil {
		stop()
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	l.sessions.Start()
	return l, nil
}

// Node returns the name of this node.
func (l *Live) Node() string { return l.node }

// Shutdown asks every client to leave, spread over a few seconds when they
// come back, and releases everything. When ctx ends first, the remaining
// connections are cut and the requests under way cancelled; a handler or hook
// that does not return then is left behind, and the error says so. Call it
// before http.Server.Shutdown, which knows nothing of WebSockets. Later calls
// return the result of the first.
func (l *Live) Shutdown(ctx context.Context) error {
	l.shutdown.Do(func() {
		l.ended = l.sessions.Drain(ctx)
		released := make(chan error, 1)
		go func() { released <- l.release(ctx) }()
		if err := await(ctx, released); l.ended == nil || errors.Is(err, errStuck) {
			l.ended = err
		}
	})
	return l.ended
}

var errStuck = errors.New("a handler or hook of the application does not end")

// await returns what comes, or errStuck a second after ctx has ended: that
// long a handler may take to notice that it was cancelled.
func await(ctx context.Context, released <-chan error) error {
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case err := <-released:
		return err
	case <-late.C:
		return fmt.Errorf("%w: %w", errStuck, ctx.Err())
	}
}

// release waits for everything that the connections left behind. The order
// matters: sessions and receipts write what is left of them, then the broker
// what was published, and the store below both is the last to go.
func (l *Live) release(ctx context.Context) error {
	l.wait()
	l.sessions.Close()
	l.stop()
	l.pubsub.Wait()
	var failed error
	if err := l.broker.Close(ctx); err != nil {
		failed = fmt.Errorf("close the broker: %w", err)
	}
	if err := l.store.Close(ctx); err != nil {
		failed = errors.Join(failed, fmt.Errorf("close the store: %w", err))
	}
	return failed
}
