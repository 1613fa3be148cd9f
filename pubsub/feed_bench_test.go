package pubsub_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

// plain is an encoder as a transport has one.
type plain struct{}

func (plain) Slot() int { return 0 }

func (plain) Encode(d *hub.Delivery) []byte {
	return protocol.JSON{}.AppendMessage(make([]byte, 0, d.Message.Size()), d.Message)
}

// sink is a receiver that does what a connection does: find the shared frame
// and queue it, under its own lock.
type sink struct {
	mu     sync.Mutex
	frames [16]*[]byte
	n      int
}

func (s *sink) Deliver(d *hub.Delivery) bool {
	frame := d.Frame(plain{})
	s.mu.Lock()
	s.frames[s.n%len(s.frames)] = frame
	s.n++
	s.mu.Unlock()
	return true
}

func (s *sink) Ready(func()) bool         { return true }
func (s *sink) Ended(*pubsub.Feed, error) {}

func benchService(b *testing.B, set pubsub.Settings) *pubsub.Service {
	b.Helper()
	engine := localbroker.New(localbroker.Limits{})
	s, err := pubsub.New(pubsub.Config{
		Broker: engine, Authorizer: auth.AuthorizerFunc(allowAll), Default: &set, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := s.Start(ctx, nobody{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stop()
		s.Wait()
		_ = engine.Close(context.Background())
	})
	return s
}

func benchPublish(b *testing.B, s *pubsub.Service, name string, payload []byte) (at message.Position) {
	b.Helper()
	s.Publish(pubsub.Publication{Message: &message.Message{Topic: name, Type: "t", From: "ann", Payload: payload}}, func(r broker.Result, err error) {
		if err != nil {
			b.Error(err)
		}
		at = r.Position
	})
	return at
}

func benchOpen(b *testing.B, s *pubsub.Service, r pubsub.Request) *pubsub.Feed {
	b.Helper()
	f, _, err := s.Open(context.Background(), r)
	if err != nil {
		b.Fatal(err)
	}
	f.Start()
	return f
}

// BenchmarkCatchUp compares what it costs to hand 100 messages to 10,000
// receivers while they are published, and when they come back having missed
// them. Wanted: missed at most twice live.
func BenchmarkCatchUp(b *testing.B) {
	const sessions, missed = 10_000, 100
	payload := fmt.Appendf(nil, `{"text":%q}`, make([]byte, 60))
	keep := pubsub.Settings{History: 1000, HistoryAge: time.Hour, Pressure: hub.PressureSpill}
	perMessage := func(b *testing.B) {
		b.Helper()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions/missed, "ns/message/receiver")
	}
	for _, qos := range []uint32{0, 1} {
		b.Run(fmt.Sprintf("live/qos=%d", qos), func(b *testing.B) {
			s := benchService(b, keep)
			feeds := make([]*pubsub.Feed, sessions)
			for i := range feeds {
				feeds[i] = benchOpen(b, s, pubsub.Request{Filter: "room", QoS: qos, Receiver: &sink{}})
			}
			b.ReportAllocs()
			for b.Loop() {
				var at message.Position
				for range missed {
					at = benchPublish(b, s, "room", payload)
				}
				for _, f := range feeds {
					f.Ack("room", at.Seq)
				}
			}
			perMessage(b)
		})
		b.Run(fmt.Sprintf("missed/qos=%d", qos), func(b *testing.B) {
			s := benchService(b, keep)
			receivers := make([]*sink, sessions)
			for i := range receivers {
				receivers[i] = &sink{}
			}
			since := benchPublish(b, s, "room", payload)
			feeds := make([]*pubsub.Feed, sessions)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for _, f := range feeds {
					if f != nil {
						f.Close()
					}
				}
				var at message.Position
				for range missed {
					at = benchPublish(b, s, "room", payload)
				}
				b.StartTimer()
				for i, r := range receivers {
					feeds[i] = benchOpen(b, s, pubsub.Request{Filter: "room", QoS: qos, Since: &since, Receiver: r})
					feeds[i].Ack("room", at.Seq)
				}
				since = at
			}
			b.StopTimer()
			for i, r := range receivers {
				if r.n < missed || r.n%missed != 0 || feeds[i].Sent() != since.Seq {
					b.Fatalf("%d messages came, up to %d of %d", r.n, feeds[i].Sent(), since.Seq)
				}
			}
			perMessage(b)
		})
	}
}

// BenchmarkFanOut is one message to many receivers: as it was from the start,
// and as durable topics do it.
func BenchmarkFanOut(b *testing.B) {
	const receivers = 10_000
	for _, tc := range []struct {
		name string
		set  pubsub.Settings
		qos  uint32
	}{
		{"ephemeral", pubsub.Settings{History: 100, HistoryAge: time.Hour}, 0},
		{"spill", pubsub.Settings{History: 100, HistoryAge: time.Hour, Pressure: hub.PressureSpill}, 0},
		{"acknowledged", pubsub.Settings{History: 100, HistoryAge: time.Hour, Pressure: hub.PressureSpill}, 1},
	} {
		b.Run(tc.name, func(b *testing.B) {
			s := benchService(b, tc.set)
			feeds := make([]*pubsub.Feed, receivers)
			for i := range feeds {
				feeds[i] = benchOpen(b, s, pubsub.Request{Filter: topic.Filter("room"), QoS: tc.qos, Receiver: &sink{}})
			}
			payload := []byte(`{"text":"hello"}`)
			b.ReportAllocs()
			for b.Loop() {
				at := benchPublish(b, s, "room", payload)
				b.StopTimer()
				if tc.qos > 0 {
					for _, f := range feeds {
						f.Ack("room", at.Seq)
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/receivers, "ns/receiver")
		})
	}
}
