package server

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server/config"
)

// NewLogger makes the log: lines for people on a terminal, JSON for machines
// elsewhere, or what the configuration says.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == config.FormatText || c.Format == config.FormatAuto && terminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const requestIDHeader = "X-Request-ID"

// identifyRequest gives every request an id that logs and refusals name. One
// that came along is not believed here, at the edge: whoever reads the log must
// be able to rely on it being one request.
func identifyRequest(c *gin.Context) {
	id := newRequestID()
	c.Request.Header.Set(requestIDHeader, id)
	c.Header(requestIDHeader, id)
}

func newRequestID() string { return rand.Text()[:16] }

func tookMS(took time.Duration) slog.Attr {
	return slog.Float64("took_ms", float64(took.Microseconds())/1000)
}

// statusOf is how a request was answered. Gin does not see what is written once a
// connection is taken over, and says 200.
func statusOf(c *gin.Context) int {
	if status := c.Writer.Status(); status != http.StatusOK || c.FullPath() != pathLive && c.FullPath() != pathMQTT {
		return status
	}
	return http.StatusSwitchingProtocols
}

// logRequest writes one line for each request when it is answered. The query is
// left out: it may hold a ticket.
func logRequest(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		started := time.Now()
		c.Next()
		level := slog.LevelDebug
		switch status := statusOf(c); {
		case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
			level = slog.LevelError
		case status >= http.StatusBadRequest && status != http.StatusNotFound:
			level = slog.LevelInfo
		}
		if !log.Enabled(c.Request.Context(), level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("request", c.Request.Header.Get(requestIDHeader)),
			slog.String("method", c.Request.Method),
			slog.String("path", c.Request.URL.Path),
			slog.Int("status", statusOf(c)),
			tookMS(time.Since(started)),
			slog.String("address", c.ClientIP()),
		}
		if id, ok := parley.IdentityFrom(c); ok {
			attrs = append(attrs, slog.String("user", id.User))
		}
		log.LogAttrs(c.Request.Context(), level, "request", attrs...)
	}
}

// recoverPanic answers for a handler that panicked, and logs where.
func recoverPanic(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { //nolint:errorlint // the value itself is the sign
				panic(cause)
			}
			id := c.Request.Header.Get(requestIDHeader)
			log.Error("a request panicked", "request", id, "path", c.Request.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				c.String(http.StatusInternalServerError, "Something went wrong here. Quote this number when you ask about it: %s\n", id)
			}
			c.Abort()
		}()
		c.Next()
	}
}

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
