package bench

import (
	"fmt"
	"maps"
	"slices"
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
	t.slow(r.Slow)
	t.storm(r.Storm)
	t.resume(r.Resume)
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

func (t *table) resume(s *ResumeReport) {
	if s == nil {
		return
	}
	t.linef("delivered live", "%d in %.2f s", s.Delivered, s.LiveSeconds)
	t.linef("resumed", "%d of %d sessions, at %.0f a second", s.Returned, s.Sessions, s.PerSecond)
	t.linef("all caught up after", "%.3f s, with %d missed deliveries", s.CaughtUpSeconds, s.Missed)
	t.latency("dial to connected again", s.Latency)
	t.latency("dial to last one missed", s.CaughtUp)
	t.known("server CPU live", "%.2f µs a delivery", s.CPULive)
	t.known("server CPU catching up", "%.2f µs a delivery, coming back included", s.CPUCatchUp)
	t.known("server CPU per return", "%.1f µs, with nothing missed", s.CPUReturn)
	t.known("  catching up : live", "× %.2f", s.Ratio)
	t.known("  the messages alone", "× %.2f", s.RatioMessages)
}

func (t *table) slow(s *SlowReport) {
	if s == nil {
		return
	}
	t.linef("receivers", "%d that keep up, %d that take %d bytes a second; %d rounds without them, %d with",
		s.Receivers, s.Slow, s.SlowRate, s.Rounds, s.Rounds)
	t.latency("  healthy, without", s.Without)
	t.latency("  healthy, with", s.With)
	t.linef("  with : without", "p50 × %.3f   p99 × %.3f", s.RatioP50, s.RatioP99)
	if s.RSSWithout > 0 {
		t.linef("server memory, at most", "%d KB without, %d KB with: %+d KB; queues of the slow may hold %d KB",
			s.RSSWithout, s.RSSWith, s.RSSWith-s.RSSWithout, s.Configured)
	}
	if s.SocketsWithout > 0 {
		t.linef("system's socket memory", "%d KB without, %d KB with: %+d KB", s.SocketsWithout, s.SocketsWith, s.SocketsWith-s.SocketsWithout)
	}
	t.linef("a slow one took", "%.0f bytes a second", s.SlowGot)
	t.linef("the slow were cut", "%s; the server says: %s", counts(s.Closed), counts(s.ServerEnded))
	t.linef("messages left out for them", "%d, of which they know %d", s.Skipped, s.SkippedTold)
}

// counts lists how often what happened.
func counts(all map[string]int64) string {
	if len(all) == 0 {
		return "never"
	}
	var list []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		list = append(list, fmt.Sprintf("%d × %s", all[what], what))
	}
	return strings.Join(list, ", ")
}

func (t *table) soak(s *SoakReport) {
	if s == nil {
		return
	}
	t.linef("connections replaced", "%d", s.Replaced)
	if n := len(s.Samples); n > 0 {
		first, last := s.Samples[0], s.Samples[n-1]
		t.linef("server at the start", "%d KB, %d descriptors, %d goroutines, %d sessions", first.RSS, first.Descriptors, first.Goroutines, first.Sessions)
		t.linef("server at the end", "%d KB, %d descriptors, %d goroutines, %d sessions", last.RSS, last.Descriptors, last.Goroutines, last.Sessions)
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
