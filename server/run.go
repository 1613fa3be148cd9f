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

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/server/config"
)

// Serve is the whole life of a server process: it opens a server, runs it until
// ctx ends, and returns when everything is given back; see Run for force. The
// banner goes to out and the log to problems.
func Serve(ctx, force context.Context, cfg config.Config, out, problems io.Writer) error {
	gin.SetMode(gin.ReleaseMode) // else Gin prints every route; a setting of the process, so not for Open
	log := NewLogger(problems, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "warning", w)
	}
	s, err := Open(ctx, cfg, Options{Stdout: out, Log: log})
	if err != nil {
		return err
	}
	return s.Run(ctx, force)
}

// newHTTP bounds what a client can make the server wait for. WebSockets leave
// these bounds at the upgrade and have their own.
func newHTTP(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Run answers requests until ctx ends, then lets clients leave and gives
// everything back. It takes at most the configured time to end, and ends at
// once when force ends. It returns nil after an orderly end, and otherwise
// everything that went wrong.
func (s *Server) Run(ctx, force context.Context) error {
	served := make(chan error, 1)
	front := s.front(s.listener)
	go func() { served <- s.http.Serve(front) }()
	broken := make(chan error, len(s.ports))
	s.servePorts(broken)
	s.banner()
	s.log.Info("listening", "address", s.listener.Addr().String(), "node", s.cfg.Node)

	var background sync.WaitGroup
	defer background.Wait()
	keeping, stopKeeping := context.WithCancel(ctx)
	defer stopKeeping()
	background.Go(func() { s.trim(keeping) })

	var failed error
	running := true
	select {
	case <-ctx.Done():
		s.log.Info("shutting down", "at_most", s.cfg.Shutdown.Timeout.String())
	case err := <-served:
		running = false
		failed = fmt.Errorf("serve: %w", err)
	case err := <-broken:
		failed = fmt.Errorf("serve: %w", err)
	}
	s.health.draining.Store(true)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Shutdown.Timeout)
	defer cancel()
	stop := context.AfterFunc(force, cancel)
	defer stop()
	err := s.release(end)
	if running {
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve: %w", serveErr))
		}
	}
	if err = errors.Join(failed, err); err == nil {
		s.log.Info("ended")
	}
	return err
}

// release gives back what was opened. Nobody is let in any more; then sockets,
// because http.Server knows nothing of them and their clients need the time; then requests; then what the
// handlers of both needed; the folder last, so that the next process finds
// everything closed.
func (s *Server) release(ctx context.Context) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	note("ports", s.closePorts())
	if s.live != nil {
		note("connections", s.live.Shutdown(ctx)) // and the broker with them
	}
	if s.http != nil {
		err := s.http.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.http.Close())
		}
		note("requests", err)
	}
	if s.listener != nil {
		note("listener", s.listener.Close())
	}
	if s.app != nil {
		note("community", s.app.Close())
	}
	if s.engine.data != nil {
		note("store", s.engine.data.Close(ctx))
	}
	if s.lock != nil {
		note("data folder", s.lock.Release())
	}
	return errors.Join(errs...)
}
