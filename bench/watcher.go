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

// figures is what a Parley says of itself.
type figures struct {
	goroutines int
	sessions   int              // with a connection or without
	ended      map[string]int64 // connections, by reason
	skipped    int64            // messages left out for receivers that were behind
}

// figures asks the server; all is zero when it does not say.
func (w *watcher) figures(ctx context.Context) figures {
	f := figures{ended: map[string]int64{}}
	if w.metrics == "" {
		return f
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.metrics, http.NoBody)
	if err != nil {
		return f
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return f
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			n, _ := strconv.ParseFloat(value, 64) // 0 is the answer for what cannot be read
			f.take(name, n)
		}
	}
	return f
}

// take adds one line of the Prometheus text format.
func (f *figures) take(name string, n float64) {
	name, labels, _ := strings.Cut(name, "{")
	switch name {
	case "go_goroutines":
		f.goroutines = int(n)
	case "parley_connections", "parley_sessions_detached":
		f.sessions += int(n)
	case "parley_messages_skipped_total":
		f.skipped += int64(n)
	case "parley_connections_ended_total":
		f.ended[strings.TrimSuffix(strings.TrimPrefix(labels, `reason="`), `"}`)] += int64(n)
	}
}

func (w *watcher) close() { w.client.CloseIdleConnections() }
