package server

import (
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/parleyhq/parley"
)

// newRegistry returns a registry of this server's own, so that two servers in
// one process do not count each other's requests.
func newRegistry(node string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_build_info", Help: "Always 1; the labels say what runs here.",
		ConstLabels: prometheus.Labels{"version": parley.Version(), "node": node},
	}, func() float64 { return 1 })
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func newRequestSeconds(r prometheus.Registerer) *prometheus.HistogramVec {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "parley_http_request_duration_seconds", Help: "Time to answer HTTP requests; for WebSockets, the handshake.",
		Buckets: []float64{.001, .005, .02, .1, .5, 2, 10},
	}, []string{"route", "code"})
	r.MustRegister(seconds)
	return seconds
}

// measure times every request by its route. Routes are few and known, so what a
// stranger asks for cannot grow the metric.
func measure(seconds *prometheus.HistogramVec) gin.HandlerFunc {
	return func(c *gin.Context) {
		started := time.Now()
		c.Next()
		route := c.FullPath()
		switch route {
		case pathSSE, pathPoll:
			return // how long those take says how long nothing happened
		case "":
			route = "none"
		}
		seconds.WithLabelValues(route, strconv.Itoa(statusOf(c))).Observe(time.Since(started).Seconds())
	}
}
