package parley

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
)

// Option changes how a Live behaves.
type Option func(*config) error

type config struct {
	node      string
	log       *slog.Logger
	broker    broker.Broker
	store     store.Store
	identify  func(context.Context, string) (Identity, error)
	rules     auth.Authorizer
	topics    []pubsub.Pattern
	fallback  *pubsub.Settings
	limits    Limits
	verifier  auth.Verifier
	secrets   [][]byte
	keys      *ticket.Keys
	public    string
	allowed   []string
	origins   *auth.Origins
	anonymous bool
	metrics   prometheus.Registerer
	compress  *int // bytes from which messages are compressed; nil: never
}

func configure(opts []Option) (*config, error) {
	c := &config{}
	for _, o := range opts {
		if err := o(c); err != nil {
			return nil, err
		}
	}
	c.node = cmp.Or(c.node, "node-1")
	c.log = cmp.Or(c.log, slog.Default())
	if c.store == nil {
		c.store = memorystore.New(memorystore.Limits{})
	}
	if c.broker == nil {
		var log store.Log
		if data, ok := c.store.(Data); ok {
			log = data.Log()
		}
		c.broker = localbroker.NewDurable(localbroker.Limits{}, log)
	}
	if c.rules == nil {
		rules, err := auth.NewRules(auth.DefaultRules()...)
		if err != nil {
			return nil, err
		}
		c.rules = rules
	}
	if len(c.secrets) == 0 {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		c.secrets = [][]byte{secret}
	}
	var err error
	if c.keys, err = ticket.NewKeys(c.secrets[0], c.secrets[1:]...); err != nil {
		return nil, fmt.Errorf("WithSecret: %w", err)
	}
	if c.origins, err = auth.NewOrigins(c.public, c.allowed...); err != nil {
		return nil, err
	}
	return c, nil
}

// WithTopic sets how the topics that match pattern behave. The most specific
// pattern of several decides.
func WithTopic(pattern string, s TopicSettings) Option {
	return func(c *config) error {
		c.topics = append(c.topics, pubsub.Pattern{Filter: pattern, Settings: s})
		return nil
	}
}

// WithDefaultTopic sets how the topics that no pattern matches behave.
func WithDefaultTopic(s TopicSettings) Option {
	return func(c *config) error { c.fallback = &s; return nil }
}

// WithRules replaces the default rules about who may do what on which topics.
func WithRules(rules ...auth.Rule) Option {
	return func(c *config) error {
		r, err := auth.NewRules(rules...)
		if err != nil {
			return fmt.Errorf("WithRules: %w", err)
		}
		c.rules = r
		return nil
	}
}

// WithVerifier accepts bearer tokens that v understands: in the Authorization
// header of a handshake, in the connect command, and to refresh a connection.
func WithVerifier(v auth.Verifier) Option {
	return func(c *config) error { c.verifier = v; return nil }
}

// WithSecret sets the key, at least 32 bytes, that signs resume and one-use
// tickets. Give all nodes the same. Older keys are still accepted, so that a
// key can be replaced. Without it a random key is made, and tickets end with
// the process.
func WithSecret(key []byte, older ...[]byte) Option {
	return func(c *config) error {
		c.secrets = append([][]byte{key}, older...)
		return nil
	}
}

// WithOrigins lets pages of other origins connect, such as
// "https://app.example.com" or "https://*.example.com".
func WithOrigins(origins ...string) Option {
	return func(c *config) error { c.allowed = append(c.allowed, origins...); return nil }
}

// WithPublicURL says under which address browsers see this server, for a
// proxy in front that rewrites the Host header.
func WithPublicURL(url string) Option {
	return func(c *config) error { c.public = url; return nil }
}

// WithLimits sets bounds; zero fields keep their defaults. What was set
// by WithHeartbeat and WithHeartbeatStrategy is kept.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		interval, timeout, strategy := c.limits.HeartbeatInterval, c.limits.HeartbeatTimeout, c.limits.Heartbeat
		c.limits = l
		c.limits.Heartbeat = cmp.Or(l.Heartbeat, strategy)
		c.limits.HeartbeatInterval = cmp.Or(l.HeartbeatInterval, interval)
		c.limits.HeartbeatTimeout = cmp.Or(l.HeartbeatTimeout, timeout)
		return nil
	}
}

// WithHeartbeat sets how often clients are pinged and how long they have to
// answer: 25 s and 10 s.
func WithHeartbeat(interval, timeout time.Duration) Option {
	return func(c *config) error {
		if interval < time.Second || timeout < time.Second {
			return errors.New("WithHeartbeat: interval and timeout must be at least a second")
		}
		c.limits.HeartbeatInterval, c.limits.HeartbeatTimeout = interval, timeout
		return nil
	}
}

// WithHeartbeatStrategy sets when clients are pinged: HeartbeatFixed (the
// default), HeartbeatAdaptive or HeartbeatOnIdle.
func WithHeartbeatStrategy(s HeartbeatStrategy) Option {
	return func(c *config) error {
		if s > HeartbeatOnIdle {
			return fmt.Errorf("WithHeartbeatStrategy: there is no strategy %d", s)
		}
		c.limits.Heartbeat = s
		return nil
	}
}

// WithCompression lets WebSocket clients that ask for it, as browsers do, get
// and send compressed messages (permessage-deflate, RFC 7692). A message is
// compressed once for all its receivers; what has fewer than from bytes, 0 for
// 512, is sent as it is. It is off unless asked for, because it pays only where
// the network is dearer than the processor.
func WithCompression(from int) Option {
	return func(c *config) error {
		if from < 0 {
			return fmt.Errorf("WithCompression: %d bytes: 0 for the default, or more", from)
		}
		c.compress = &from
		return nil
	}
}

// WithAnonymous serves clients that do not say who they are. What they may do
// is what rules for the role "*" grant, which by default is nothing.
func WithAnonymous() Option {
	return func(c *config) error { c.anonymous = true; return nil }
}

// WithBroker sets the engine under the topics, which the Live then owns: it
// is closed by Shutdown. The default keeps everything in this process.
func WithBroker(b broker.Broker) Option {
	return func(c *config) error { c.broker = b; return nil }
}

// Data keeps both what topics hold and what is known about their clients, such
// as a pebblestore.DB does in one folder.
type Data interface {
	store.Store
	// Log keeps the messages of durable topics.
	Log() store.Log
}

// WithData keeps messages, sessions and receipts in d, which the Live then
// owns: Shutdown closes it.
//
//	data, err := pebblestore.Open("data", pebblestore.Options{})
//	…
//	live := parley.New(parley.WithData(data),
//		parley.WithTopic("orders/#", parley.TopicSettings{Durable: true}))
//
// What a durable topic has accepted is on the disk, and who was away, or lives
// through a crash of the program, goes on where it was. Without it everything
// is in memory, within bounds, and ends with the process.
func WithData(d Data) Option { return WithStore(d) }

// WithStore keeps sessions and receipts in s, which the Live then owns: Shutdown
// closes it. It is for programs that choose a broker of their own; with one
// folder for everything use WithData.
func WithStore(s store.Store) Option {
	return func(c *config) error { c.store = s; return nil }
}

// WithIdentity lets Reauthorize give connections the roles that their users
// have now: f returns who a user is at the moment. With an error, which may be
// one for the client such as Forbidden, the user's connections end.
func WithIdentity(f func(ctx context.Context, user string) (Identity, error)) Option {
	return func(c *config) error { c.identify = f; return nil }
}

// WithNode names this node, as clients and logs see it.
func WithNode(name string) Option {
	return func(c *config) error { c.node = name; return nil }
}

// WithLogger sets where the Live logs; the default is slog.Default.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error { c.log = log; return nil }
}

// WithMetrics registers the Live's metrics.
func WithMetrics(r prometheus.Registerer) Option {
	return func(c *config) error { c.metrics = r; return nil }
}
