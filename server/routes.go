package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parleyhq/parley"
)

// Paths of the standalone server that tools rely on.
const (
	pathLive    = "/ws"
	pathSSE     = "/sse"
	pathPoll    = "/poll"
	pathMQTT    = "/mqtt"
	pathSDK     = "/sdk/parley.js"
	pathTicket  = "/ticket"
	pathREST    = "/api/v1"
	pathAlive   = "/healthz"
	pathReady   = "/readyz"
	pathMetrics = "/metrics"
)

func (s *Server) routes(registry *prometheus.Registry) (http.Handler, error) {
	r := gin.New()
	r.HandleMethodNotAllowed = true
	proxies := make([]string, len(s.cfg.TrustedProxies))
	for i, p := range s.cfg.TrustedProxies {
		proxies[i] = p.String()
	}
	// Gin trusts everybody unless told whom: with an empty list, nobody.
	if err := r.SetTrustedProxies(proxies); err != nil {
		return nil, fmt.Errorf("trusted_proxies: %w", err)
	}
	s.requests = newRequestSeconds(registry)
	r.Use(identifyRequest, logRequest(s.log), measure(s.requests), recoverPanic(s.log))
	r.Use(func(c *gin.Context) { c.Header("X-Content-Type-Options", "nosniff") })

	identify := func(*gin.Context) {}
	if s.app != nil {
		identify = s.app.Identify
		s.app.Mount(r)
		r.NoRoute(s.app.NotFound)
	} else {
		r.GET("/", s.welcome)
		r.NoRoute(s.nothing)
	}
	for _, d := range s.doors {
		if d.mount == nil {
			continue
		}
		if err := d.mount(r, identify); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	r.POST(pathTicket, identify, s.live.TicketHandler())
	sdk := gin.WrapH(parley.SDK())
	r.GET(pathSDK, sdk)
	r.HEAD(pathSDK, sdk)
	r.GET(pathAlive, s.health.alive)
	r.GET(pathReady, s.health.ready)
	r.GET(pathMetrics, gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry, MaxRequestsInFlight: 4})))
	return r, nil
}

// welcome stands at / when there is no community.
func (s *Server) welcome(c *gin.Context) {
	c.String(http.StatusOK, "Parley %s is running on %s.\n\nSocket   %s\nEvents   %s\nREST     %s/docs\nHealth   %s\n",
		parley.Version(), s.cfg.Node, pathLive, pathSSE, pathREST, pathReady)
}

func (s *Server) nothing(c *gin.Context) {
	c.String(http.StatusNotFound, "There is nothing at %s.\n", strings.ToValidUTF8(c.Request.URL.Path, "?"))
}
