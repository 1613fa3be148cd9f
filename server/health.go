package server

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
)

// checkTimeout bounds one look at everything: probes come often.
const checkTimeout = 2 * time.Second

// health knows how the parts do.
type health struct {
	live     *parley.Live
	database func(context.Context) error // nil without a community
	node     string
	started  time.Time
	draining atomic.Bool
}

// component is one part, as the answers show it.
type component struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

type healthBody struct {
	Status     string      `json:"status"`
	Node       string      `json:"node"`
	Version    string      `json:"version"`
	UptimeMS   int64       `json:"uptime_ms"`
	Components []component `json:"components"`
}

func (h *health) components(ctx context.Context) (list []component, ok bool) {
	ok = true
	for _, part := range h.live.Health(ctx) {
		list = append(list, component{part.Component, part.OK, part.Detail})
	}
	if h.database != nil {
		part := component{"database", true, "answering"}
		if err := h.database(ctx); err != nil {
			part = component{"database", false, err.Error()}
		}
		list = append(list, part)
	}
	if h.draining.Load() {
		list = append(list, component{"process", false, "shutting down"})
	}
	for _, part := range list {
		ok = ok && part.OK
	}
	return list, ok
}

// alive answers /healthz: while the process can answer at all, it is alive, and
// restarting it would repair none of its parts.
func (h *health) alive(c *gin.Context) { h.answer(c, false) }

// ready answers /readyz: 503 tells whoever sends traffic to send it elsewhere.
func (h *health) ready(c *gin.Context) { h.answer(c, true) }

func (h *health) answer(c *gin.Context, strict bool) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), checkTimeout)
	defer cancel()
	list, ok := h.components(ctx)
	body := healthBody{"ok", h.node, parley.Version(), time.Since(h.started).Milliseconds(), list}
	status := http.StatusOK
	if !ok {
		body.Status = "failing"
		if strict {
			status = http.StatusServiceUnavailable
		}
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(status, body)
}
