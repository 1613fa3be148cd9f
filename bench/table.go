package bench

import (
	"fmt"
	"strings"

	"github.com/parleyhq/parley/bench/record"
)

// Table is the report for people.
func (r *Report) Table() string {
	t := &table{}
	t.textf("\nparley bench %s on %s (%s), %s, %d CPUs, %s\n",
		r.Scenario, r.URL, r.Protocol, r.Machine.System, r.Machine.CPUs, r.Started.Format("2006-01-02 15:04 MST"))
	t.connections(r)
	t.messages(r.Messages)
	t.storm(r.Storm)
	t.soak(r.Soak)
	t.faults(r)
	return t.b.String()
}

type table struct{ b strings.Builder }

func (t *table) textf(format string, args ...any) { fmt.Fprintf(&t.b, format+"\n", args...) }

func (t *table) linef(name, format string, args ...any) {
	fmt.Fprintf(&t.b, "  %-26s %s\n", name, fmt.Sprintf(format, args...))
}

func (t *table) latency(name string, p record.Percentiles) {
	t.linef(name, "p50 %.2f ms   p90 %.2f   p99 %.2f   p99.9 %.2f   max %.2f", p.P50, p.P90, p.P99, p.P999, p.Max)
}

// known writes a line when the figure is.
func (t *table) known(name, format string, figure float64) {
	if figure > 0 {
		t.linef(name, format, figure)
	}
}

func (t *table) connections(r *Report) {
	if c := r.Connect; c != nil {
		t.linef("connections", "%d on %d topics, %d failed, %.0f a second", c.Connections, c.Topics, c.Failed, c.PerSecond)
		t.latency("dial to subscribed", c.Latency)
		t.known("server CPU per connect", "%.1f µs", c.CPU)
	}
	if s := r.Server; s != nil {
		t.linef("server memory", "%d KB before, %d KB connected, %d KB at the end", s.RSSStart, s.RSSIdle, s.RSSEnd)
		t.linef("memory per connection", "%.2f KB", s.RSSConn)
		if s.GoroutinesIdle > 0 {
			t.linef("server goroutines", "%d before, %d connected", s.GoroutinesStart, s.GoroutinesIdle)
		}
		t.linef("server descriptors", "%d connected, %d threads", s.Descriptors, s.Threads)
	}
	if i := r.Idle; i != nil && i.Cores >= 0 {
		t.linef("server CPU while idle", "%.1f %% of a core over %.1f s", i.Cores*100, i.Seconds)
	}
}

func (t *table) messages(m *Messages) {
	if m == nil {
		return
	}
	pace := fmt.Sprintf("%d in flight", m.InFlight)
	if m.Rate > 0 {
		pace = fmt.Sprintf("%.0f a second", m.Rate)
	}
	t.linef("messages", "%d published of %d bytes, %s", m.Published, m.Size, pace)
	due := ""
	if m.Expected > 0 {
		due = fmt.Sprintf(" of %d", m.Expected)
	}
	t.linef("deliveries", "%d%s in %.2f s, %.0f a second, %.0f bytes each", m.Deliveries, due, m.Seconds, m.PerSecond, m.Bytes)
	t.latency("publish to receive", m.Latency)
	t.known("server CPU per delivery", "%.2f µs", m.CPUDelivery)
	t.known("server CPU per message", "%.2f µs", m.CPUMessage)
	t.known("server cores busy", "%.2f", m.Cores)
	t.known("load cores busy", "%.2f", m.LoadCores)
}

func (t *table) storm(s *StormReport) {
	if s == nil {
		return
	}
	t.linef("storm", "%d dropped, %d came back, %.0f a second", s.Dropped, s.Returned, s.PerSecond)
	t.linef("all back after", "%.3f s", s.BackSeconds)
	t.linef("all caught up after", "%.3f s, with %d missed deliveries", s.CaughtUpSeconds, s.Missed)
	t.latency("dial to subscribed again", s.Latency)
	t.known("server CPU per return", "%.1f µs", s.CPU)
}

func (t *table) soak(s *SoakReport) {
	if s == nil {
		return
	}
	t.linef("connections replaced", "%d", s.Replaced)
	if n := len(s.Samples); n > 0 {
		first, last := s.Samples[0], s.Samples[n-1]
		t.linef("server at the start", "%d KB, %d descriptors, %d goroutines", first.RSS, first.Descriptors, first.Goroutines)
		t.linef("server at the end", "%d KB, %d descriptors, %d goroutines", last.RSS, last.Descriptors, last.Goroutines)
	}
	switch {
	case s.Flat == nil:
		t.linef("flat", "unknown: it takes the server's process and some seconds more")
	case *s.Flat:
		t.linef("flat", "yes")
	default:
		t.linef("flat", "no")
	}
}

func (t *table) faults(r *Report) {
	f := r.Faults
	if !f.Any() {
		t.linef("lost, doubled, disordered", "none")
	} else {
		t.linef("FAULTS", "%d lost, %d doubled, %d out of order, %d with a wrong prev, %d gaps, %d connections closed, %d refusals",
			f.Lost, f.Doubled, f.Disordered, f.Chain, f.Gaps, f.Closed, f.Refused)
	}
	for _, p := range r.Problems {
		t.linef("PROBLEM", "%s", p)
	}
	if r.Interrupted {
		t.linef("interrupted", "what stands here is what was measured until then")
	}
}
