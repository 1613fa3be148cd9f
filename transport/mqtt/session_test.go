package mqtt_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// lasting is a session that outlives its connection.
func lasting(v packet.Version) packet.Properties {
	if v != packet.V5 {
		return nil
	}
	return props().AppendNumber(packet.SessionExpiryInterval, 1000)
}

// again connects a client that has been here before.
func (s *server) again(v packet.Version, user, id string) *peer {
	s.t.Helper()
	p := s.dial(v)
	if ack := p.connack(as(user, id, false, lasting(v))); ack.Reason != packet.Success || !ack.SessionPresent {
		s.t.Fatalf("CONNACK %+v", ack)
	}
	return p
}

// What is published while a client is away waits for it, in order.
func TestOffline(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		bob := s.open(v, "bob", "b", false, lasting(v))
		bob.subscribe(nil, sub("a", 1), sub("b/+", 2))
		bob.send(&packet.Disconnect{})
		s.gone(0)
		ann := s.open(v, "ann", "a", true)
		for i, topic := range []string{"a", "b/1", "a", "b/2"} {
			qos := byte(1 + i%2)
			ann.send(pub(topic, string(rune('0'+i)), qos, 1))
			ann.finish(qos, 1)
		}
		bob = s.again(v, "bob", "b")
		last := map[string]string{}
		for range 4 {
			m := expect[packet.Publish](bob)
			if string(m.Payload) < last[string(m.Topic)] || m.Dup {
				t.Errorf("%s %s after %s, dup %v", m.Topic, m.Payload, last[string(m.Topic)], m.Dup)
			}
			last[string(m.Topic)] = string(m.Payload)
			bob.answer(m)
		}
		bob.quiet()
		bob.send(&packet.Disconnect{})
		s.gone(1)
		s.again(v, "bob", "b").quiet() // nothing comes twice
	})
}

// Clean start forgets what was; so does the end of a session that does not
// last.
func TestCleanStart(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		bob := s.open(v, "bob", "b", false, lasting(v))
		bob.subscribe(nil, sub("a", 1))
		bob.send(&packet.Disconnect{})
		anew := s.dial(v)
		if ack := anew.connack(as("bob", "b", true)); ack.SessionPresent {
			t.Error("a session that begins anew is present")
		}
		ann := s.open(v, "ann", "a", true)
		ann.send(pub("a", "x", 1, 1))
		ann.finish(1, 1)
		anew.quiet()
		anew.subscribe(nil, sub("a", 1))
		anew.send(&packet.Disconnect{})
		if x := anew.next(); asError(x) == nil {
			t.Fatalf("%+v", x)
		}
		back := s.dial(v)
		if ack := back.connack(as("bob", "b", false, lasting(v))); ack.SessionPresent {
			t.Error("a session that was to end with its connection is present")
		}
	})
}

// What was under way when the connection broke is sent again under the same
// identifier.
func TestSentAgain(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		bob := s.open(v, "bob", "b", false, lasting(v))
		bob.subscribe(nil, sub("a", 2))
		ann := s.open(v, "ann", "a", true)
		for i := range byte(3) {
			ann.send(pub("a", string(rune('0'+i)), min(i+1, 2), 1))
			ann.finish(min(i+1, 2), 1)
		}
		one, two, three := *expect[packet.Publish](bob), *expect[packet.Publish](bob), *expect[packet.Publish](bob)
		bob.send(&packet.Ack{Kind: packet.PUBREC, ID: two.ID}) // and no more
		expect[packet.Ack](bob)
		_ = bob.conn.Close()
		s.gone(1)
		bob = s.again(v, "bob", "b")
		if rel := expect[packet.Ack](bob); rel.Kind != packet.PUBREL || rel.ID != two.ID {
			t.Fatalf("%+v", rel)
		}
		for _, before := range []packet.Publish{one, three} {
			m := expect[packet.Publish](bob)
			if m.ID != before.ID || !m.Dup || !bytes.Equal(m.Payload, before.Payload) {
				t.Errorf("%s with %d, dup %v; before it was %s with %d", m.Payload, m.ID, m.Dup, before.Payload, before.ID)
			}
			bob.answer(m)
		}
		bob.send(&packet.Ack{Kind: packet.PUBCOMP, ID: two.ID})
		bob.quiet()
		bob.send(&packet.Disconnect{})
		s.gone(1)
		s.again(v, "bob", "b").quiet()
	})
}

// gone waits until no more than n connections are open.
func (s *server) gone(n int) {
	s.t.Helper()
	until := time.NewTimer(patience)
	defer until.Stop()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for s.mqtt.Stats().Open > n {
		select {
		case <-ticks.C:
		case <-until.C:
			s.t.Fatalf("%d connections are open", s.mqtt.Stats().Open)
		}
	}
}

// A client that publishes at QoS 2 and loses its connection anywhere on the
// way has published once.
func TestPublishedAgain(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		bob := s.open(v, "bob", "b", true)
		bob.subscribe(nil, sub("a", 0))
		dup := pub("a", "once", 2, 9)
		ann := s.open(v, "ann", "a", false, lasting(v))
		ann.send(dup)
		expect[packet.Publish](bob)
		_ = ann.conn.Close() // before PUBREC was read
		s.gone(1)
		dup.Dup = true
		ann = s.again(v, "ann", "a")
		ann.send(dup)
		if rec := expect[packet.Ack](ann); rec.Kind != packet.PUBREC || rec.Reason.Failed() {
			t.Fatalf("%+v", rec)
		}
		ann.send(&packet.Ack{Kind: packet.PUBREL, ID: 9})
		_ = ann.conn.Close() // before PUBCOMP was read
		s.gone(1)
		ann = s.again(v, "ann", "a")
		ann.send(&packet.Ack{Kind: packet.PUBREL, ID: 9})
		if comp := expect[packet.Ack](ann); comp.Kind != packet.PUBCOMP {
			t.Fatalf("%+v", comp)
		}
		bob.quiet()
		ann.send(pub("a", "once", 2, 9)) // the same words again are another message
		ann.finish(2, 9)
		if m := expect[packet.Publish](bob); string(m.Payload) != "once" {
			t.Errorf("%+v", m)
		}
		bob.quiet()
	})
}

// The options of subscriptions are part of the session.
func TestOptionsAreKept(t *testing.T) {
	s := serve(t)
	ann := s.open(packet.V5, "ann", "a", false, lasting(packet.V5))
	ann.subscribe(props().AppendNumber(packet.SubscriptionIdentifier, 300), packet.Subscription{Filter: []byte("t"), QoS: 1, NoLocal: true, RetainAsPublished: true})
	_ = ann.conn.Close()
	s.gone(0)
	ann = s.again(packet.V5, "ann", "a")
	ann.send(pub("t", "mine", 0, 0))
	ann.quiet()
	bob := s.open(packet.V5, "bob", "b", true)
	p := pub("t", "bob's", 0, 0)
	p.Retain = true
	bob.send(p)
	m := expect[packet.Publish](ann)
	if !m.Retain || m.Properties.Number(packet.SubscriptionIdentifier, 0) != 300 {
		t.Errorf("%+v", m)
	}
}

// A client may say at the end for how long its session is to be kept, unless it
// was to end with the connection.
func TestExpiryAtTheEnd(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", false, lasting(packet.V5))
	bob.subscribe(nil, sub("a", 1))
	bob.send(&packet.Disconnect{Properties: props().AppendNumber(packet.SessionExpiryInterval, 0)})
	if x := bob.next(); asError(x) == nil {
		t.Fatalf("%+v", x)
	}
	s.gone(0)
	bob = s.dial(packet.V5)
	if ack := bob.connack(as("bob", "b", false)); ack.SessionPresent {
		t.Error("the session is kept")
	}
	bob.send(&packet.Disconnect{Properties: props().AppendNumber(packet.SessionExpiryInterval, 10)})
	bob.closed(packet.ProtocolError)
}

// A will is published when its client is gone without a farewell.
func TestWill(t *testing.T) {
	for name, tc := range map[string]struct {
		leave func(p *peer)
		want  bool
	}{
		"the cable is cut":           {func(p *peer) { _ = p.conn.Close() }, true},
		"a farewell":                 {func(p *peer) { p.send(&packet.Disconnect{}) }, false},
		"a protocol error":           {func(p *peer) { _, _ = p.conn.Write([]byte{0, 0}) }, true},
		"a farewell with the will":   {func(p *peer) { p.send(&packet.Disconnect{Reason: packet.DisconnectWithWill}) }, true},
		"a newer connection":         {nil, true},
		"a newer one within a delay": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			bob := s.open(packet.V5, "bob", "b", true)
			bob.subscribe(nil, sub("wills/+", 2))
			c := as("ann", "a", false, lasting(packet.V5))
			c.HasWill, c.Will = true, packet.Will{Topic: []byte("wills/ann"), Payload: []byte("gone"), QoS: 1, Properties: props().AppendUser("k", "v")}
			if !tc.want && tc.leave == nil {
				c.Will.Properties = c.Will.Properties.AppendNumber(packet.WillDelayInterval, 60)
			}
			ann := s.dial(packet.V5)
			ann.connack(c)
			if tc.leave == nil {
				s.dial(packet.V5).connack(as("ann", "a", false, lasting(packet.V5)))
				s.gone(2)
			} else {
				tc.leave(ann)
				s.gone(1)
			}
			if !tc.want {
				bob.quiet()
				return
			}
			m := expect[packet.Publish](bob)
			if string(m.Payload) != "gone" || m.QoS != 1 || string(m.Properties) != string(props().AppendUser("k", "v")) {
				t.Errorf("%+v", m)
			}
		})
	}
}

// A will that waits is published when its time has come, or when its session
// ends before.
func TestDelayedWill(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true)
	bob.subscribe(nil, sub("wills/+", 0))
	c := as("ann", "a", false, lasting(packet.V5))
	c.HasWill, c.Will = true, packet.Will{Topic: []byte("wills/ann"), Payload: []byte("gone"), Properties: props().AppendNumber(packet.WillDelayInterval, 1)}
	ann := s.dial(packet.V5)
	ann.connack(c)
	began := time.Now()
	_ = ann.conn.Close()
	expect[packet.Publish](bob)
	if took := time.Since(began); took < time.Second {
		t.Errorf("after %v already", took)
	}
	c.Will.Properties = props().AppendNumber(packet.WillDelayInterval, 60)
	ann = s.dial(packet.V5)
	ann.connack(c)
	_ = ann.conn.Close()
	s.gone(1)
	bob.quiet()
	s.open(packet.V5, "ann", "a", true) // anew: the old session is over
	expect[packet.Publish](bob)
}
