package parley

import (
	"context"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/session"
)

// collector reads the counts of a Live when they are asked for, so that
// nothing is counted twice and nothing is paid between two readings.
type collector struct {
	l *Live

	connections, users, detached, topics, busy *prometheus.Desc
	accepted, ended, refused, errors, calls    *prometheus.Desc
	published, delivered, dropped, events      *prometheus.Desc
	skipped, compressed                        *prometheus.Desc
	bytes, frames                              *prometheus.Desc
	streams, streamed, carried, arrived        *prometheus.Desc
}

func newCollector(l *Live) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("parley_"+name, help, labels, nil)
	}
	return &collector{
		l:           l,
		connections: desc("connections", "Open connections."),
		users:       desc("users", "Users with at least one connection."),
		detached:    desc("sessions_detached", "Sessions without a connection that can still be resumed."),
		topics:      desc("topics_wanted", "Topics and filters that somebody on this node is subscribed to."),
		busy:        desc("requests_running", "Requests that handlers are working on."),
		accepted:    desc("connections_accepted_total", "Connections accepted."),
		ended:       desc("connections_ended_total", "Connections ended, by reason.", "reason"),
		refused:     desc("connections_refused_total", "Handshakes turned away before anything was looked at, by reason.", "reason"),
		errors:      desc("errors_total", "Errors told to clients."),
		calls:       desc("calls_total", "Calls of clients."),
		published:   desc("messages_published_total", "Messages published on this node."),
		delivered:   desc("messages_delivered_total", "Messages queued for receivers on this node."),
		dropped:     desc("messages_dropped_total", "Droppable events left out for receivers that were behind."),
		skipped:     desc("messages_skipped_total", "Messages not sent to receivers that were behind, by the policy of their topic.", "policy"),
		compressed:  desc("messages_compressed_total", "Messages and replies compressed, each once for all its receivers."),
		events:      desc("hook_events_dropped_total", "Connect and disconnect events dropped because hooks were too slow."),
		bytes:       desc("socket_bytes_total", "Bytes over sockets.", "direction"),
		frames:      desc("socket_frames_received_total", "Frames received."),
		streams:     desc("event_streams", "Event streams and polls being answered."),
		carried:     desc("transport_bytes_total", "Bytes over transports besides WebSockets and event streams.", "transport", "direction"),
		arrived:     desc("transport_frames_received_total", "Frames or packets received over them.", "transport"),
		streamed:    desc("event_stream_bytes_total", "Bytes of event streams and polls."),
	}
}

// Describe sends the descriptions of all metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.connections, c.users, c.detached, c.topics, c.busy, c.accepted, c.ended, c.refused, c.errors, c.calls,
		c.published, c.delivered, c.dropped, c.skipped, c.compressed, c.events, c.bytes, c.frames, c.streams, c.streamed, c.carried, c.arrived,
	} {
		ch <- d
	}
}

// Collect sends the counts of the moment.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s, p, w, e := c.l.sessions.Stats(), c.l.pubsub.Stats(), c.l.sockets.Stats(), c.l.streams.Stats()
	gauge(c.connections, s.Open)
	gauge(c.users, s.Users)
	gauge(c.detached, s.Detached)
	gauge(c.topics, p.Topics)
	gauge(c.busy, c.l.router.Busy())
	count(c.accepted, s.Accepted)
	count(c.errors, s.Errors)
	count(c.calls, s.Calls)
	count(c.published, p.Published)
	count(c.delivered, p.Delivered)
	dropped, skipped := w.Dropped+e.Dropped, maps.Clone(w.Skipped)
	for policy, n := range e.Skipped {
		skipped[policy] += n
	}
	for _, t := range c.l.traffic() {
		count(c.carried, t.BytesIn, t.Transport, "in")
		count(c.carried, t.BytesOut, t.Transport, "out")
		count(c.arrived, t.FramesIn, t.Transport)
		dropped += t.Dropped
		for policy, n := range t.Skipped {
			skipped[policy] += n
		}
	}
	count(c.dropped, dropped)
	count(c.compressed, w.Compressed)
	count(c.events, s.DroppedEvents)
	count(c.bytes, w.BytesIn, "in")
	count(c.bytes, w.BytesOut, "out")
	count(c.frames, w.FramesIn)
	count(c.streamed, e.BytesOut)
	gauge(c.streams, e.Open)
	for policy, n := range skipped {
		count(c.skipped, n, policy)
	}
	for reason, n := range s.Ended {
		count(c.ended, n, reason)
	}
	for reason, n := range s.Refused {
		count(c.refused, n, reason)
	}
}

// Stats are the counts of the node's sessions.
type Stats = session.Stats

// Stats returns the counts of the node's sessions.
func (l *Live) Stats() Stats { return l.sessions.Stats() }

// Health is the state of one part of a Live.
type Health struct {
	Component string
	OK        bool
	Detail    string
}

// Health returns the state of every part. A node that is draining is not
// ready, though alive.
func (l *Live) Health(ctx context.Context) []Health {
	connections := Health{Component: "connections", OK: true, Detail: "accepting"}
	if l.sessions.Stats().Draining {
		connections = Health{Component: "connections", Detail: "draining: new connections are refused"}
	}
	engine := Health{Component: "broker", OK: true, Detail: "working"}
	if c, ok := l.broker.(broker.Checker); ok {
		if err := c.Check(ctx); err != nil {
			engine = Health{Component: "broker", Detail: err.Error()}
		}
	}
	return []Health{connections, engine}
}
