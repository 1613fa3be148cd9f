package mqtt_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/transport/mqtt"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// A client that may not connect is told why, in the words of its version.
func TestConnectRefused(t *testing.T) {
	s := serve(t)
	for name, tc := range map[string]struct {
		connect packet.Connect
		want    packet.Reason
	}{
		"a token that is none": {
			packet.Connect{Clean: true, HasUserName: true, HasPassword: true, Password: []byte("nonsense")},
			packet.BadUserNameOrPassword,
		},
		"a client identifier without end": {
			packet.Connect{Clean: true, ClientID: bytes.Repeat([]byte{'x'}, 300)}, packet.ClientIdentifierNotValid,
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, v packet.Version) {
				p := s.dial(v)
				p.t = t
				ack := p.connack(tc.connect)
				if ack.Reason != tc.want || ack.SessionPresent {
					t.Errorf("%+v, want %#02x", ack, byte(tc.want))
				}
				if v == packet.V5 {
					if why, _ := ack.Properties.Text(packet.ReasonString); len(why) == 0 {
						t.Error("no reason is told")
					}
				}
				if x := p.next(); !errors.Is(asError(x), io.EOF) {
					t.Errorf("%+v instead of the end", x)
				}
			})
		})
	}
}

// Where everybody has to say who they are, nobody is anonymous.
func TestConnectWithoutAToken(t *testing.T) {
	p := serve(t).dial(packet.V5)
	if ack := p.connack(packet.Connect{Clean: true}); ack.Reason != packet.Success {
		t.Errorf("anonymous is allowed: %+v", ack)
	}
	strict := serveStrict(t)
	for v, want := range map[packet.Version]packet.Reason{packet.V5: packet.NotAuthorized, packet.V311: packet.NotAuthorized} {
		if ack := strict.dial(v).connack(packet.Connect{Clean: true}); ack.Reason != want {
			t.Errorf("version %d: %+v", v, ack)
		}
	}
}

// A version that is not spoken here gets an answer that its client may
// understand.
func TestConnectWithAnotherVersion(t *testing.T) {
	s := serve(t)
	p := s.dial(packet.V311)
	if _, err := p.conn.Write([]byte("\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	if ack := expect[packet.Connack](p); ack.Reason != packet.UnsupportedProtocolVersion {
		t.Errorf("%+v", ack)
	}
}

// Extended authentication is not offered: a client that asks for it is told.
func TestConnectWithExtendedAuthentication(t *testing.T) {
	s := serve(t)
	p := s.dial(packet.V5)
	ack := p.connack(packet.Connect{Clean: true, Properties: packet.Properties(nil).AppendText(packet.AuthenticationMethod, "SCRAM-SHA-1")})
	if ack.Reason != packet.BadAuthenticationMethod {
		t.Errorf("%+v", ack)
	}
	q := s.open(packet.V5, "ann", "a", true)
	q.send(&packet.Auth{Reason: packet.ReAuthenticate, Properties: packet.Properties(nil).AppendText(packet.AuthenticationMethod, "x")})
	q.closed(packet.ProtocolError)
}

// A client without an identifier is given one, and told about the server.
func TestConnackSaysWhatThereIs(t *testing.T) {
	s := serve(t)
	first := s.dial(packet.V5).connack(packet.Connect{Clean: true})
	second := s.dial(packet.V5).connack(packet.Connect{Clean: true})
	a, _ := first.Properties.Text(packet.AssignedClientIdentifier)
	b, _ := second.Properties.Text(packet.AssignedClientIdentifier)
	if len(a) == 0 || bytes.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
	if first.Properties.Number(packet.ReceiveMaximum, 0) != 128 || first.Properties.Number(packet.TopicAliasMaximum, 0) != 64 ||
		first.Properties.Number(packet.MaximumPacketSize, 0) < 64<<10 || first.SessionPresent {
		t.Errorf("%+v", first)
	}
}

// What a client must not send ends its connection, with the reason.
func TestProtocolErrors(t *testing.T) {
	raw := func(b ...byte) func(p *peer) {
		return func(p *peer) { _, _ = p.conn.Write(b) }
	}
	for name, tc := range map[string]struct {
		send func(p *peer)
		want packet.Reason
	}{
		"a second CONNECT":            {func(p *peer) { p.send(&packet.Connect{Version: p.v, Clean: true, ClientID: []byte("x")}) }, packet.ProtocolError},
		"a packet of a server":        {func(p *peer) { p.send(&packet.Granted{Kind: packet.SUBACK, ID: 1, Reasons: []packet.Reason{0}}) }, packet.ProtocolError},
		"a packet of no kind":         {raw(0x00, 0x00), packet.MalformedPacket},
		"a PUBLISH with QoS 3":        {raw(0x36, 0x03, 0, 1, 'a'), packet.MalformedPacket},
		"a packet that is too large":  {raw(0x30, 0xff, 0xff, 0xff, 0x7f), packet.PacketTooLarge},
		"a subscription to nothing":   {func(p *peer) { p.send(&packet.Subscribe{ID: 1}) }, packet.ProtocolError},
		"a topic with wildcards":      {func(p *peer) { p.send(pub("a/#", "x", 0, 0)) }, packet.TopicNameInvalid},
		"bytes behind a PINGREQ":      {raw(0xc0, 0x01, 0), packet.MalformedPacket},
		"an UNSUBSCRIBE from nothing": {func(p *peer) { p.send(&packet.Unsubscribe{ID: 1}) }, packet.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, v packet.Version) {
				s := serve(t)
				p := s.open(v, "ann", "a", true)
				tc.send(p)
				p.closed(tc.want)
			})
		})
	}
	t.Run("anything before CONNECT", func(t *testing.T) {
		p := serve(t).dial(packet.V5)
		p.send(&packet.Signal{Kind: packet.PINGREQ})
		if x := p.next(); !errors.Is(asError(x), io.EOF) {
			t.Errorf("%+v instead of the end", x)
		}
	})
}

// A client that is not heard for one and a half times its keep alive is gone;
// one that is, stays.
func TestKeepAlive(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		c := as("ann", "a", true)
		c.KeepAlive = 1
		p, talker := s.dial(v), s.dial(v)
		p.connack(c)
		c.ClientID = []byte("b")
		talker.connack(c)
		began := time.Now()
		ticks := time.NewTicker(500 * time.Millisecond)
		defer ticks.Stop()
		for range 5 {
			<-ticks.C
			talker.quiet()
		}
		p.closed(packet.KeepAliveTimeout)
		if took := time.Since(began); took < 1400*time.Millisecond {
			t.Errorf("after %v already", took)
		}
		talker.quiet()
	})
}

// A server may want to hear its clients more often than they mean to be.
func TestKeepAliveOfTheServer(t *testing.T) {
	s := serveOn(t, mqtt.Config{KeepAlive: time.Minute}, plain)
	for asked, want := range map[uint16]uint32{0: 60, 120: 60, 60: 0, 30: 0} {
		c := as("ann", "a", true)
		c.KeepAlive = asked
		if ack := s.dial(packet.V5).connack(c); ack.Properties.Number(packet.ServerKeepAlive, 0) != want {
			t.Errorf("asked for %d: %+v", asked, ack)
		}
	}
}

// The same client identifier of the same user is the same client; of another
// user it is another.
func TestTakeOver(t *testing.T) {
	both(t, func(t *testing.T, v packet.Version) {
		s := serve(t)
		older := s.open(v, "ann", "a", true)
		other := s.open(v, "bob", "a", true)
		s.open(v, "ann", "a", true).quiet()
		older.closed(packet.SessionTakenOver)
		other.quiet()
	})
}

// A server that is going away says so, and where to go instead if it knows.
func TestDrain(t *testing.T) {
	for redirect, want := range map[string]packet.Reason{"": packet.ServerShuttingDown, "two.example.com:1883": packet.UseAnotherServer} {
		s := serveOn(t, mqtt.Config{Redirect: redirect}, plain)
		p := s.open(packet.V5, "ann", "a", true)
		ended := make(chan struct{})
		go func() { defer close(ended); s.end() }()
		d := expect[packet.Disconnect](p)
		to, _ := d.Properties.Text(packet.ServerReference)
		if d.Reason != want || string(to) != redirect {
			t.Errorf("%+v, want %#02x and %q", d, byte(want), redirect)
		}
		_ = p.conn.Close()
		<-ended
	}
}

// Connections that the loops cannot carry, such as TLS, behave the same.
func TestOtherConnections(t *testing.T) {
	s := serveOn(t, mqtt.Config{}, func(l net.Listener) net.Listener { return opaque{l} })
	bob := s.open(packet.V5, "bob", "b", true)
	bob.subscribe(nil, sub("t", 2))
	ann := s.open(packet.V5, "ann", "a", true)
	ann.send(pub("t", "hello", 2, 1))
	ann.finish(2, 1)
	bob.answer(expect[packet.Publish](bob))
	bob.quiet()
}

type opaque struct{ net.Listener }

func (o opaque) Accept() (net.Conn, error) {
	c, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

// A client is held to what it may do.
func TestRights(t *testing.T) {
	s := serveOn(t, mqtt.Config{}, plain, parley.WithRules(auth.DefaultRules()...))
	p := s.open(packet.V5, "ann", "a", true)
	got := p.subscribe(nil, sub("public/a", 1), sub("secret/a", 1), sub("public/#/b", 0), sub("user/ann/x", 0))
	want := []packet.Reason{packet.GrantedQoS1, packet.NotAuthorized, packet.TopicFilterInvalid, packet.GrantedQoS0}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("filter %d: %#02x, want %#02x", i, byte(got[i]), byte(want[i]))
		}
	}
	p.send(pub("secret/a", "x", 1, 1), pub("secret/a", "x", 2, 2), pub("$SYS/a", "x", 1, 3))
	for _, kind := range []packet.Kind{packet.PUBACK, packet.PUBREC, packet.PUBACK} {
		ack := expect[packet.Ack](p)
		if ack.Kind != kind || ack.Reason != packet.NotAuthorized {
			t.Errorf("%+v", ack)
		}
	}
	p.quiet()
	p.send(&packet.Unsubscribe{ID: 9, Filters: [][]byte{[]byte("public/a"), []byte("never")}})
	if ack := expect[packet.Granted](p); ack.Reasons[0] != packet.Success || ack.Reasons[1] != packet.NoSubscriptionExisted {
		t.Errorf("%+v", ack)
	}
	old := s.open(packet.V311, "ann", "b", true)
	if got := old.subscribe(nil, sub("secret/a", 1)); got[0] != packet.UnspecifiedError {
		t.Errorf("%v", got)
	}
	old.send(pub("secret/a", "x", 1, 1)) // 3.1.1 has no way to say no [MQTT-3.3.5-2]
	old.finish(1, 1)
}
