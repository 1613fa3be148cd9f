package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley"
)

// front has the sockets' handshakes answered without net/http where they need
// nothing of it; they are logged and timed as if they did.
func (s *Server) front(l net.Listener) net.Listener {
	const status = http.StatusSwitchingProtocols
	seconds := s.requests.With(prometheus.Labels{"route": pathLive, "code": strconv.Itoa(status)})
	return s.live.Front(l, parley.FrontConfig{
		Path: pathLive, Wait: s.http.ReadHeaderTimeout,
		Taken: func(address string, took time.Duration) {
			seconds.Observe(took.Seconds())
			ctx := context.Background()
			if !s.log.Enabled(ctx, slog.LevelDebug) {
				return
			}
			s.log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("request", newRequestID()),
				slog.String("method", http.MethodGet), slog.String("path", pathLive), slog.Int("status", status), tookMS(took),
				slog.String("address", address))
		},
	})
}
