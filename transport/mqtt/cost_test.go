package mqtt

import (
	"testing"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// sink is a stream that takes everything, and counts.
type sink struct{ packets, bytes int }

func (s *sink) SendParts(p evloop.Parts, _ int) bool {
	s.packets++
	s.bytes += p.Size()
	return true
}

func (s *sink) Keeps(int, int) bool { return true }
func (s *sink) End([]byte)          {}
func (s *sink) Cut([]byte)          {}
func (s *sink) Abort()              {}

// receiver is a client with one subscription.
func receiver(v packet.Version, qos byte, to *sink) *client {
	s := &Server{frames: newFrames()}
	s.limits.QueueBytes = 1 << 20
	cl := &client{conn: &conn{s: s, stream: to}, version: v, maximum: 100}
	cl.conn.client.Store(cl)
	cl.subs.put(subscription{text: "room/#", filter: topic.Filter("room/#"), qos: qos})
	return cl
}

func delivery() *hub.Delivery {
	return &hub.Delivery{Message: &message.Message{
		Topic: "room/1", Epoch: "e", Type: "chat.message", Headers: map[string]string{"a": "b"}, Payload: make([]byte, 200),
	}}
}

// What one more receiver of a message costs: nothing is encoded for it, and at
// QoS 0 nothing allocated.
func TestAnotherReceiverCostsNothing(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		to := &sink{}
		cl := receiver(v, 0, to)
		d := delivery()
		cl.Deliver(d)
		if n := testing.AllocsPerRun(1000, func() { cl.Deliver(d) }); n != 0 {
			t.Errorf("version %d: %v allocations", v, n)
		}
		if to.packets < 1000 {
			t.Fatalf("%d packets", to.packets)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	for name, c := range map[string]struct {
		v   packet.Version
		qos byte
	}{"3.1.1 QoS 0": {packet.V311, 0}, "3.1.1 QoS 1": {packet.V311, 1}, "5 QoS 0": {packet.V5, 0}, "5 QoS 1": {packet.V5, 1}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			to := &sink{}
			cl := receiver(c.v, c.qos, to)
			d := delivery()
			for b.Loop() {
				cl.Deliver(d)
				if c.qos > 0 {
					cl.mu.Lock()
					cl.flow.state.Acknowledged(uint16((to.packets-1)%8192 + 1))
					cl.mu.Unlock()
				}
			}
		})
	}
}
