package bench

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/swarm"
)

// watcher looks at the server from outside.
type watcher struct {
	pid     int
	metrics string // address; "" when it has none
	client  *http.Client
}

func newWatcher(u *url.URL, o Options) *watcher {
	w := &watcher{pid: o.PID, client: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	if o.Protocol == swarm.Parley {
		m := url.URL{Scheme: "http" + strings.TrimPrefix(u.Scheme, "ws"), Host: u.Host, Path: "/metrics"}
		w.metrics = m.String()
	}
	return w
}

// look reads what the server's process spends. It is zero when the process is
// not known, or this system cannot tell.
func (w *watcher) look() (proc.Sample, error) {
	if w.pid == 0 {
		return proc.Sample{}, nil
	}
	seen, err := proc.Read(w.pid)
	if errors.Is(err, proc.ErrUnknown) {
		return proc.Sample{}, nil
	}
	return seen, err
}

// goroutines asks a Parley how many it has; 0 when it does not say.
func (w *watcher) goroutines(ctx context.Context) int {
	if w.metrics == "" {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.metrics, http.NoBody)
	if err != nil {
		return 0
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			f, _ := strconv.ParseFloat(n, 64) // 0 is the answer for what cannot be read
			return int(f)
		}
	}
	return 0
}

func (w *watcher) close() { w.client.CloseIdleConnections() }
