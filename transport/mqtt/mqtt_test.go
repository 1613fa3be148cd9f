package mqtt_test

import (
	"testing"

	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// What one client publishes, another receives, at every pair of QoS.
func TestPublishAndReceive(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		for published := range byte(3) {
			for wanted := range byte(3) {
				bob, ann := s.open(v, "bob", "b", true), s.open(v, "ann", "a", true)
				if got := bob.subscribe(nil, sub("room/+", wanted)); got[0] != packet.Reason(wanted) {
					t.Fatalf("granted %v for %d", got, wanted)
				}
				ann.send(pub("room/1", "hello", published, 5))
				ann.finish(published, 5)
				m := expect[packet.Publish](bob)
				if string(m.Topic) != "room/1" || string(m.Payload) != "hello" || m.QoS != min(published, wanted) || m.Dup || m.Retain {
					t.Fatalf("%d to %d: %+v", published, wanted, m)
				}
				bob.answer(m)
				bob.quiet()
				ann.quiet()
				bob.send(&packet.Disconnect{})
				ann.send(&packet.Disconnect{})
			}
		}
	})
}

// finish is a publisher's part in the delivery of a message.
func (p *peer) finish(qos byte, id uint16) {
	p.t.Helper()
	check := func(kind packet.Kind) {
		p.t.Helper()
		if ack := expect[packet.Ack](p); ack.Kind != kind || ack.ID != id || ack.Reason.Failed() {
			p.t.Fatalf("%+v instead of %s", ack, kind)
		}
	}
	switch qos {
	case 1:
		check(packet.PUBACK)
	case 2:
		check(packet.PUBREC)
		p.send(&packet.Ack{Kind: packet.PUBREL, ID: id})
		check(packet.PUBCOMP)
	}
}

// answer is a receiver's part.
func (p *peer) answer(m *packet.Publish) {
	p.t.Helper()
	switch m.QoS {
	case 1:
		p.send(&packet.Ack{Kind: packet.PUBACK, ID: m.ID})
	case 2:
		p.send(&packet.Ack{Kind: packet.PUBREC, ID: m.ID})
		p.await(func(x any) bool {
			rel, ok := x.(*packet.Ack)
			return ok && rel.Kind == packet.PUBREL && rel.ID == m.ID
		})
		p.send(&packet.Ack{Kind: packet.PUBCOMP, ID: m.ID})
	}
}
