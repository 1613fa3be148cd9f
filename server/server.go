// Package server is the standalone Parley: it turns a configuration into a
// running community with its socket, REST API, health and metrics, and ends it
// again in order.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
	"github.com/parleyhq/parley/server/listen"
)

// Options are what a server needs besides its configuration.
type Options struct {
	Stdout io.Writer    // for the banner; nil for none
	Log    *slog.Logger // nil means slog.Default
}

// Server is an opened server: it holds its data folder and listens, though
// nothing is answered before Run.
type Server struct {
	cfg      config.Config
	out      io.Writer
	log      *slog.Logger
	dir      datadir.Dir
	listener net.Listener
	engine   engine
	live     *parley.Live
	app      *community.App // nil when it is turned off
	first    community.FirstStart
	health   *health
	http     *http.Server
	requests *prometheus.HistogramVec // seconds, by route and code
	lock     *datadir.Lock

	doors     []door
	ports     []port         // those of the doors that are open
	accepting sync.WaitGroup // on the ports
}

// Open takes the data folder, opens every part and begins to listen. On an
// error everything is given back. Whoever gets a Server calls Run, once.
func Open(ctx context.Context, cfg config.Config, o Options) (_ *Server, err error) {
	s := &Server{cfg: cfg, out: o.Stdout, log: o.Log}
	if s.out == nil {
		s.out = io.Discard
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.takeFolder(); err != nil {
		return nil, err
	}
	if s.listener, err = listen.Config().Listen(ctx, "tcp", cfg.Addr); err != nil {
		return nil, fmt.Errorf("cannot listen on %s (choose another address with --addr): %w", cfg.Addr, err)
	}
	registry := newRegistry(cfg.Node)
	if err := s.openLive(registry); err != nil {
		return nil, err
	}
	if err := s.openDoors(ctx); err != nil {
		return nil, err
	}
	if cfg.Community {
		if err := s.openCommunity(ctx); err != nil {
			return nil, err
		}
	}
	s.health = &health{live: s.live, node: cfg.Node, started: time.Now()}
	if s.app != nil {
		s.health.database = s.app.Ping
	}
	handler, err := s.routes(registry)
	if err != nil {
		return nil, err
	}
	s.http = newHTTP(handler, s.log)
	return s, nil
}

func (s *Server) takeFolder() (err error) {
	if s.dir, err = datadir.Open(s.cfg.Data); err != nil {
		return err
	}
	s.lock, err = s.dir.Lock()
	return err
}

func (s *Server) openLive(registry *prometheus.Registry) error {
	tokens, err := verifier(s.dir, s.cfg.JWT)
	if err != nil {
		return err
	}
	tickets, _, err := s.dir.Secret(ticketSecret)
	if err != nil {
		return err
	}
	if s.engine, err = openEngine(s.cfg.Broker, s.dir, s.log); err != nil {
		return err
	}
	options := append(liveOptions(s.cfg, s.engine.data != nil),
		parley.WithVerifier(tokens), parley.WithSecret(tickets), parley.WithBroker(s.engine.broker),
		parley.WithLogger(s.log), parley.WithMetrics(registry))
	if s.engine.data != nil {
		options = append(options, parley.WithStore(s.engine.data))
	}
	if s.cfg.Community {
		options = append(options, community.LiveOptions()...)
	}
	s.live, err = parley.Open(options...)
	return err
}

// liveOptions says in the words of the public API what the configuration says.
// durable is whether the broker can keep durable topics.
func liveOptions(c config.Config, durable bool) []parley.Option {
	options := []parley.Option{
		parley.WithNode(c.Node), parley.WithPublicURL(c.PublicURL), parley.WithOrigins(c.Origins...),
		parley.WithRules(c.AuthRules()...), parley.WithHeartbeat(c.Heartbeat.Interval, c.Heartbeat.Timeout),
		parley.WithHeartbeatStrategy(c.Heartbeat.Strategy),
		parley.WithLimits(parley.Limits{
			MessageBytes: c.Limits.MessageBytes, QueueBytes: c.Limits.QueueBytes, Subscriptions: c.Limits.Subscriptions,
			Calls: c.Limits.Calls, ConnectionsNode: c.Limits.Connections, ConnectionsUser: c.Limits.ConnectionsPerUser,
			ConnectionsOneIP: c.Limits.ConnectionsPerAddress, ConnectTimeout: c.Limits.ConnectTimeout,
			AcceptRate: orNone(c.Limits.AcceptRate), AcceptRateOneIP: orNone(c.Limits.AcceptRatePerAddress),
			IdleTimeout: c.Limits.IdleTimeout, ResumeWindow: c.Limits.ResumeWindow, SessionExpiry: c.Limits.SessionExpiry,
		}),
	}
	if c.Anonymous {
		options = append(options, parley.WithAnonymous())
	}
	if c.Compression.Enabled {
		options = append(options, parley.WithCompression(c.Compression.MinBytes))
	}
	return append(options, topicOptions(c, durable)...)
}

// orNone turns the 0 of the configuration, no limit, into that of the API, where
// 0 is the default.
func orNone(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}

func (s *Server) openCommunity(ctx context.Context) (err error) {
	s.app, err = community.New(ctx, community.Config{
		Path: s.dir.File("community.db"), Live: s.live, PublicURL: s.cfg.PublicURL, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("open the community: %w", err)
	}
	if s.first, err = s.app.Bootstrap(ctx); err != nil {
		return fmt.Errorf("furnish the community: %w", err)
	}
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }
