package mqtt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// props makes a list of properties.
func props() packet.Properties { return nil }

// The properties of a message reach its receivers as they were sent, in their
// order, and nothing that belongs to the way here does.
func TestPropertiesAreForwarded(t *testing.T) {
	s := serve(t)
	bob, old := s.open(packet.V5, "bob", "b", true), s.open(packet.V311, "bob", "old", true)
	bob.subscribe(nil, sub("t", 1))
	old.subscribe(nil, sub("t", 1))
	ann := s.open(packet.V5, "ann", "a", true)
	sent := props().AppendUser("b", "2").AppendNumber(packet.PayloadFormatIndicator, 1).AppendUser("a", "1").AppendUser("b", "3").
		AppendText(packet.ContentType, "text/plain").AppendText(packet.ResponseTopic, "answers/ann").AppendText(packet.CorrelationData, "\x00\xff")
	ann.send(&packet.Publish{Topic: []byte("t"), QoS: 1, ID: 1, Payload: []byte("hello"), Properties: slices.Concat(sent, props().AppendNumber(packet.TopicAlias, 7))})
	ann.finish(1, 1)
	m := expect[packet.Publish](bob)
	if string(m.Properties) != string(sent) {
		t.Errorf("% x, want % x", m.Properties, sent)
	}
	if m := expect[packet.Publish](old); string(m.Payload) != "hello" {
		t.Errorf("%+v", m)
	}
}

// An alias stands for the topic it was last sent with.
func TestTopicAliasesOfAClient(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true)
	bob.subscribe(nil, sub("#", 0))
	ann := s.open(packet.V5, "ann", "a", true)
	alias := func(topic string, n uint32) *packet.Publish {
		return &packet.Publish{Topic: []byte(topic), Properties: props().AppendNumber(packet.TopicAlias, n)}
	}
	ann.send(alias("x", 1), alias("y", 64), alias("", 1), alias("z", 1), alias("", 1), alias("", 64))
	var got []string
	for range 6 {
		got = append(got, string(expect[packet.Publish](bob).Topic))
	}
	if !slices.Equal(got, []string{"x", "y", "x", "z", "z", "y"}) {
		t.Errorf("%v", got)
	}
	ann.send(alias("", 2))
	ann.closed(packet.ProtocolError)
	ann = s.open(packet.V5, "ann", "a", true) // aliases end with the connection
	ann.send(alias("", 1))
	ann.closed(packet.ProtocolError)
	ann = s.open(packet.V5, "ann", "a", true)
	ann.send(alias("x", 65))
	ann.closed(packet.TopicAliasInvalid)
}

// A client that allows aliases is sent them, as many as it allows.
func TestTopicAliasesOfTheServer(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true, props().AppendNumber(packet.TopicAliasMaximum, 1))
	bob.subscribe(nil, sub("#", 1))
	ann := s.open(packet.V5, "ann", "a", true)
	ann.send(pub("x", "1", 0, 0), pub("x", "2", 1, 1), pub("y", "3", 0, 0), pub("x", "4", 0, 0))
	for _, want := range []struct {
		topic string
		alias uint32
	}{{"x", 1}, {"", 1}, {"y", 0}, {"", 1}} {
		m := expect[packet.Publish](bob)
		if string(m.Topic) != want.topic || m.Properties.Number(packet.TopicAlias, 0) != want.alias {
			t.Errorf("%s: topic %q, alias %d", m.Payload, m.Topic, m.Properties.Number(packet.TopicAlias, 0))
		}
		bob.answer(m)
	}
}

// Of several subscriptions that match, the message comes once, with the
// highest QoS and the identifiers of all.
func TestOverlappingSubscriptions(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true)
	bob.subscribe(props().AppendNumber(packet.SubscriptionIdentifier, 5), sub("a/#", 2))
	bob.subscribe(props().AppendNumber(packet.SubscriptionIdentifier, 6), sub("a/b", 1))
	bob.subscribe(nil, sub("a/+", 0))
	ann := s.open(packet.V5, "ann", "a", true)
	ann.send(pub("a/b", "x", 2, 1))
	ann.finish(2, 1)
	m := expect[packet.Publish](bob)
	ids := slices.Sorted(m.Properties.Subscriptions())
	if m.QoS != 2 || !slices.Equal(ids, []uint32{5, 6}) {
		t.Errorf("QoS %d, identifiers %v", m.QoS, ids)
	}
	bob.answer(m)
	bob.quiet()
}

// What a client publishes does not come back where it does not want it.
func TestNoLocal(t *testing.T) {
	s := serve(t)
	ann, bob := s.open(packet.V5, "ann", "a", true), s.open(packet.V5, "bob", "b", true)
	ann.subscribe(nil, packet.Subscription{Filter: []byte("t"), NoLocal: true})
	ann.subscribe(nil, sub("other", 0))
	bob.subscribe(nil, sub("t", 0))
	ann.send(pub("t", "mine", 0, 0), pub("other", "too", 0, 0))
	if m := expect[packet.Publish](ann); string(m.Topic) != "other" {
		t.Errorf("%s", m.Topic)
	}
	if m := expect[packet.Publish](bob); string(m.Payload) != "mine" {
		t.Errorf("%s", m.Payload)
	}
	bob.send(pub("t", "bob's", 0, 0))
	if m := expect[packet.Publish](ann); string(m.Payload) != "bob's" {
		t.Errorf("%s", m.Payload)
	}
}

// The last value of a topic comes with a subscription, as that wants it.
func TestRetained(t *testing.T) {
	s := serve(t)
	ann := s.open(packet.V5, "ann", "a", true)
	retain := func(topic, payload string) {
		t.Helper()
		p := pub(topic, payload, 1, 1)
		p.Retain = true
		ann.send(p)
		ann.finish(1, 1)
	}
	retain("r/1", "one")
	retain("r/2", "two")
	retain("r/2", "") // forgotten
	bob := s.open(packet.V5, "bob", "b", true)
	subscribe := func(handling byte, asIs bool) {
		bob.send(&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{
			{Filter: []byte("r/+"), QoS: 1, RetainHandling: handling, RetainAsPublished: asIs},
		}})
	}
	last := func() {
		t.Helper()
		m := expect[packet.Publish](bob)
		if string(m.Payload) != "one" || !m.Retain || m.QoS != 1 {
			t.Errorf("%+v", m)
		}
		bob.answer(m)
	}
	subscribe(1, false) // new
	expect[packet.Granted](bob)
	last()
	bob.quiet()
	subscribe(1, false) // not new any more
	expect[packet.Granted](bob)
	bob.quiet()
	subscribe(0, false)
	bob.await(func(x any) bool { _, ok := x.(*packet.Granted); return ok })
	last()
	subscribe(2, true)
	expect[packet.Granted](bob)
	bob.quiet()
	retain("r/1", "three") // now as it is published
	m := expect[packet.Publish](bob)
	if !m.Retain {
		t.Error("retain is not as published")
	}
	bob.answer(m)
	old := s.open(packet.V311, "old", "o", true)
	old.subscribe(nil, sub("r/1", 0))
	if m := expect[packet.Publish](old); !m.Retain || string(m.Payload) != "three" || m.QoS != 0 {
		t.Errorf("%+v", m)
	}
	retain("r/1", "four")
	if m := expect[packet.Publish](old); m.Retain {
		t.Error("an established subscription is sent it as a last value")
	}
}

// A message that expires says how long it has left, and is not sent when that
// is over.
func TestMessageExpiry(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", false, props().AppendNumber(packet.SessionExpiryInterval, 100))
	bob.subscribe(nil, sub("t", 1))
	bob.send(&packet.Disconnect{})
	ann := s.open(packet.V5, "ann", "a", true)
	for i, expiry := range []uint32{1, 60} {
		ann.send(&packet.Publish{Topic: []byte("t"), QoS: 1, ID: uint16(i + 1), Properties: props().AppendNumber(packet.MessageExpiryInterval, expiry)})
		ann.finish(1, uint16(i+1))
	}
	<-time.NewTimer(1200 * time.Millisecond).C
	bob = s.open(packet.V5, "bob", "b", false)
	m := expect[packet.Publish](bob)
	if left := m.Properties.Number(packet.MessageExpiryInterval, 0); left < 50 || left > 59 {
		t.Errorf("%d seconds are left", left)
	}
	bob.answer(m)
	bob.quiet()
}

// No more messages are under way to a client than it allows.
func TestReceiveMaximumOfTheClient(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true, props().AppendNumber(packet.ReceiveMaximum, 2))
	bob.subscribe(nil, sub("t", 2))
	ann := s.open(packet.V5, "ann", "a", true)
	for i := range uint16(6) {
		ann.send(pub("t", string(rune('a'+i)), byte(1+i%2), i+1))
		ann.finish(byte(1+i%2), i+1)
	}
	var under []*packet.Publish
	var got strings.Builder
	for got.Len() < 6 {
		m := expect[packet.Publish](bob)
		got.Write(m.Payload)
		if under = append(under, m); len(under) < 2 {
			continue
		}
		bob.quiet()
		bob.answer(under[0])
		under = under[1:]
	}
	if got.String() != "abcdef" {
		t.Errorf("%s", got.String())
	}
}

// Nor to the server.
func TestReceiveMaximumOfTheServer(t *testing.T) {
	s := serve(t)
	ann := s.open(packet.V5, "ann", "a", true)
	for i := range uint16(128) {
		ann.send(pub("t", "x", 2, i+1))
		if ack := expect[packet.Ack](ann); ack.Kind != packet.PUBREC || ack.Reason.Failed() {
			t.Fatalf("%d: %+v", i, ack)
		}
	}
	ann.send(pub("t", "x", 2, 5)) // again: it is no new one
	expect[packet.Ack](ann)
	ann.send(pub("t", "x", 2, 129))
	ann.closed(packet.ReceiveMaximumExceeded)
}

// A packet that is larger than a client takes is not sent, and what comes
// behind it is.
func TestMaximumPacketSize(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true, props().AppendNumber(packet.MaximumPacketSize, 100))
	bob.subscribe(nil, sub("t", 2))
	ann := s.open(packet.V5, "ann", "a", true)
	for qos := range byte(3) {
		ann.send(pub("t", strings.Repeat("x", 200), qos, 1))
		ann.finish(qos, 1)
		ann.send(pub("t", "small", qos, 1))
		ann.finish(qos, 1)
		m := expect[packet.Publish](bob)
		if string(m.Payload) != "small" {
			t.Errorf("QoS %d: %d bytes", qos, len(m.Payload))
		}
		bob.answer(m)
	}
	bob.quiet()
}

// A payload that is said to be text has to be.
func TestPayloadFormat(t *testing.T) {
	s := serve(t)
	ann := s.open(packet.V5, "ann", "a", true)
	ann.send(&packet.Publish{Topic: []byte("t"), QoS: 1, ID: 1, Payload: []byte{0xff}, Properties: props().AppendNumber(packet.PayloadFormatIndicator, 1)})
	if ack := expect[packet.Ack](ann); ack.Reason != packet.PayloadFormatInvalid {
		t.Errorf("%+v", ack)
	}
	ann.quiet()
}

// What need not arrive is sent at QoS 0, whatever the subscription has.
func TestEphemeral(t *testing.T) {
	s := serve(t)
	bob := s.open(packet.V5, "bob", "b", true)
	bob.subscribe(nil, sub("t", 2))
	if _, err := s.live.Publish(t.Context(), "t", "typing", 1, parley.Ephemeral()); err != nil {
		t.Fatal(err)
	}
	if m := expect[packet.Publish](bob); m.QoS != 0 || string(m.Payload) != "1" {
		t.Errorf("%+v", m)
	}
}

// Of those who share a subscription one gets each message, and when one leaves,
// another gets what that had not acknowledged.
func TestSharedSubscription(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		one, two, ann := s.open(v, "w", "1", true), s.open(v, "w", "2", true), s.open(v, "ann", "a", true)
		for _, p := range []*peer{one, two} {
			if got := p.subscribe(nil, sub("$share/workers/jobs/+", 1)); got[0] != packet.GrantedQoS1 {
				t.Fatalf("%v", got)
			}
		}
		const jobs = 10
		for i := range uint16(jobs) {
			ann.send(pub("jobs/a", string(rune('a'+i)), 1, i+1))
			ann.finish(1, i+1)
		}
		took := *expect[packet.Publish](one) // and no more is answered
		_ = one.conn.Close()
		got := map[string]int{}
		for len(got) < jobs {
			m := expect[packet.Publish](two)
			got[string(m.Payload)]++
			two.answer(m)
		}
		if got[string(took.Payload)] != 1 || string(took.Topic) != "jobs/a" {
			t.Errorf("%v; the first took %s", got, took.Payload)
		}
	})
}
