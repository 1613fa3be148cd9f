package packet

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Every packet of the standards in all its forms: what is read is what was
// meant, and written again it is the same bytes.
func TestPackets(t *testing.T) {
	for _, tc := range []struct {
		version Version
		packet  string // without the remaining length
		check   func(p packet) bool
	}{
		{V311, "10 0004'MQTT' 04 02 003c 0000", func(p packet) bool {
			c := as[*Connect](p)
			return c.Version == V311 && c.Clean && c.KeepAlive == 60 && len(c.ClientID) == 0 && !c.HasWill && !c.HasUserName && !c.HasPassword
		}},
		{V311, "10 0004'MQTT' 04 ee 0000 0001'c' 0001'w' 0002'hi' 0001'u' 0001'p'", func(p packet) bool {
			c := as[*Connect](p)
			return c.HasWill && c.Will.QoS == 1 && c.Will.Retain && string(c.Will.Topic) == "w" && string(c.Will.Payload) == "hi" &&
				string(c.UserName) == "u" && string(c.Password) == "p" && string(c.ClientID) == "c"
		}},
		{V5, mqtt5 + "46 0000 05 11 0000000a 0001'c' 0c 18 00000003 26 0001'k' 0001'v' 0001'w' 0000 0001'p'", func(p packet) bool {
			c := as[*Connect](p)
			return c.Properties.Number(SessionExpiryInterval, 0) == 10 && c.Will.Properties.Number(WillDelayInterval, 0) == 3 && c.HasPassword && !c.HasUserName
		}},
		{V311, "20 01 00", func(p packet) bool { return as[*Connack](p).SessionPresent && as[*Connack](p).Reason == Success }},
		{V311, "20 00 05", func(p packet) bool { return as[*Connack](p).Reason == NotAuthorized }},
		{V5, "20 00 00 0b 21 0014 12 0001'c' 24 01 2a 00", func(p packet) bool {
			c := as[*Connack](p).Properties
			id, ok := c.Text(AssignedClientIdentifier)
			return c.Number(ReceiveMaximum, 65535) == 20 && ok && string(id) == "c" && c.Number(MaximumQoS, 2) == 1 && c.Number(SharedAvailable, 1) == 0
		}},
		{V311, "30 0001'a' 'payload'", func(p packet) bool { return string(as[*Publish](p).Payload) == "payload" && as[*Publish](p).ID == 0 }},
		{V311, "3d 0003'a/b' 0007", func(p packet) bool {
			m := as[*Publish](p)
			return m.Dup && m.Retain && m.QoS == 2 && m.ID == 7 && string(m.Topic) == "a/b" && len(m.Payload) == 0
		}},
		{V5, "32 0000 0102 16 23 0003 0b 81 01 0b 05 26 0001'a' 0001'1' 26 0001'a' 0001'2' 'x'", func(p packet) bool {
			m := as[*Publish](p)
			var user []byte
			for name, value := range m.Properties.User() {
				user = append(append(user, name...), value...)
			}
			return m.Properties.Number(TopicAlias, 0) == 3 && string(user) == "a1a2" && string(m.Payload) == "x" &&
				slices.Equal(slices.Collect(m.Properties.Subscriptions()), []uint32{129, 5})
		}},
		{V311, "40 0001", func(p packet) bool { return as[*Ack](p).ID == 1 && as[*Ack](p).Kind == PUBACK }},
		{V5, "40 0001", func(p packet) bool { return as[*Ack](p).Reason == Success }},
		{V5, "50 0001 10", func(p packet) bool { return as[*Ack](p).Reason == NoMatchingSubscribers }},
		{V5, "62 0001 92", func(p packet) bool {
			return as[*Ack](p).Kind == PUBREL && as[*Ack](p).Reason == PacketIdentifierNotFound
		}},
		{V5, "70 0001 00 05 1f 0002'ok'", func(p packet) bool {
			text, _ := as[*Ack](p).Properties.Text(ReasonString)
			return string(text) == "ok"
		}},
		{V311, "82 0001 0001'a'01 0003'b/#'02", func(p packet) bool {
			s := as[*Subscribe](p).Subscriptions
			return len(s) == 2 && string(s[1].Filter) == "b/#" && s[1].QoS == 2
		}},
		{V5, "82 0001 02 0b 07 0001'a'2e 0010 '$share/group/a/b'01", func(p packet) bool {
			s := as[*Subscribe](p)
			return s.Properties.Number(SubscriptionIdentifier, 0) == 7 && s.Subscriptions[0].NoLocal && s.Subscriptions[0].RetainAsPublished &&
				s.Subscriptions[0].RetainHandling == 2 && !s.Subscriptions[0].Shared() && s.Subscriptions[1].Shared()
		}},
		{V311, "90 0001 00 01 02 80", func(p packet) bool { return len(as[*Granted](p).Reasons) == 4 && as[*Granted](p).Reasons[3].Failed() }},
		{V5, "90 0001 00 02 8f", func(p packet) bool { return as[*Granted](p).Reasons[1] == TopicFilterInvalid }},
		{V311, "a2 0001 0001'a'", func(p packet) bool { return string(as[*Unsubscribe](p).Filters[0]) == "a" }},
		{V5, "a2 0001 00 0001'a' 0001'b'", func(p packet) bool { return len(as[*Unsubscribe](p).Filters) == 2 }},
		{V311, "b0 0001", func(p packet) bool { return as[*Granted](p).Kind == UNSUBACK }},
		{V5, "b0 0001 00 11", func(p packet) bool { return as[*Granted](p).Reasons[0] == NoSubscriptionExisted }},
		{V311, "c0", func(p packet) bool { return as[*Signal](p).Kind == PINGREQ }},
		{V5, "d0", func(p packet) bool { return as[*Signal](p).Kind == PINGRESP }},
		{V311, "e0", func(p packet) bool { return as[*Disconnect](p).Reason == NormalDisconnection }},
		{V5, "e0 04", func(p packet) bool { return as[*Disconnect](p).Reason == DisconnectWithWill }},
		{V5, "e0 9c 06 1c 0003'two'", func(p packet) bool {
			to, _ := as[*Disconnect](p).Properties.Text(ServerReference)
			return as[*Disconnect](p).Reason == UseAnotherServer && string(to) == "two"
		}},
		{V5, "f0", func(p packet) bool { return as[*Auth](p).Reason == Success }},
		{V5, "f0 18 04 15 0001'x'", func(p packet) bool { return as[*Auth](p).Reason == ContinueAuthentication }},
	} {
		frame := framed(unhex(t, tc.packet))
		p, err := read(tc.version, 0, frame)
		if err != nil {
			t.Errorf("%s: %v", tc.packet, err)
			continue
		}
		if !tc.check(p) {
			t.Errorf("%s was read as %+v", tc.packet, p)
		}
		if again := p.Append(nil, tc.version); !bytes.Equal(again, frame) {
			t.Errorf("%s was written as % x", tc.packet, again)
		}
	}
}

// What has a longer form than it needs is read like the shortest.
func TestLongForms(t *testing.T) {
	for long, short := range map[string]string{
		"40 0001 00":    "40 0001",
		"40 0001 00 00": "40 0001",
		"40 0001 10 00": "40 0001 10",
		"e0 00":         "e0",
		"e0 00 00":      "e0",
		"f0 00 00":      "f0",
	} {
		p, err := read(V5, 0, framed(unhex(t, long)))
		if err != nil {
			t.Errorf("%s: %v", long, err)
		} else if got := p.Append(nil, V5); !bytes.Equal(got, framed(unhex(t, short))) {
			t.Errorf("%s was written as % x, want %s", long, got, short)
		}
	}
}

// MQTT 3.1.1 has fewer codes than there are reasons.
func TestOldReturnCodes(t *testing.T) {
	for reason, code := range map[Reason]byte{
		Success: 0, UnsupportedProtocolVersion: 1, ClientIdentifierNotValid: 2, ServerUnavailable: 3, BadUserNameOrPassword: 4, NotAuthorized: 5,
		Banned: 5, BadAuthenticationMethod: 5, ServerBusy: 3, QuotaExceeded: 3, ConnectionRateExceeded: 3,
	} {
		if got := (&Connack{Reason: reason}).Append(nil, V311); !bytes.Equal(got, []byte{0x20, 2, 0, code}) {
			t.Errorf("reason %#02x: % x, want return code %d", byte(reason), got, code)
		}
	}
	granted := Granted{Kind: SUBACK, ID: 1, Reasons: []Reason{GrantedQoS1, NotAuthorized}}
	if got := granted.Append(nil, V311); !bytes.Equal(got, []byte{0x90, 4, 0, 1, 1, 0x80}) {
		t.Errorf("SUBACK: % x", got)
	}
}

// The bytes of a message are the same whether it is written in one piece or
// in the three that receivers share and do not share.
func TestPublishInPieces(t *testing.T) {
	p := Publish{QoS: 1, ID: 0x1234, Topic: []byte("room/1"), Properties: Properties(nil).AppendUser("k", "v"), Payload: []byte("hello")}
	for _, v := range []Version{V311, V5} {
		whole := p.Append(nil, v)
		other := Publish{QoS: 1, ID: 99, Topic: p.Topic, Properties: p.Properties, Payload: p.Payload}
		pieces := slices.Concat(other.AppendHead(nil, v), []byte{0x12, 0x34}, other.AppendTail(nil, v))
		if !bytes.Equal(whole, pieces) {
			t.Errorf("version %d: % x in pieces, % x whole", v, pieces, whole)
		}
		if p.Size(v) != len(whole) {
			t.Errorf("version %d: Size is %d, it has %d bytes", v, p.Size(v), len(whole))
		}
	}
}

// A stream is read alike however it is cut.
func TestReaderHoweverCut(t *testing.T) {
	frame := rapid.Custom(func(t *rapid.T) []byte {
		p := Publish{Topic: []byte("t"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")}
		return p.Append(nil, V311)
	})
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOfN(frame, 1, 8).Draw(t, "frames")
		stream := slices.Concat(frames...)
		var got [][]byte
		r := Reader{Limit: 400}
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(t, "cut")
			err := r.Feed(slices.Clone(stream[:n]), func(h Header, body []byte) error {
				got = append(got, framed(append([]byte{byte(h)}, body...)))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
			if r.Incomplete() != (len(stream) > 0 && len(slices.Concat(got...))+len(stream) < len(slices.Concat(frames...))) {
				t.Fatalf("incomplete: %v with %d bytes to come", r.Incomplete(), len(stream))
			}
		}
		if !slices.EqualFunc(got, frames, bytes.Equal) {
			t.Fatalf("got % x, want % x", got, frames)
		}
	})
}

// What is read refers to the bytes it was read from.
func TestPublishIsNotCopied(t *testing.T) {
	frame := framed(unhex(t, "30 0001'a' 00 'payload'"))
	var p Publish
	if err := p.Decode(V5, Header(frame[0]), frame[2:]); err != nil {
		t.Fatal(err)
	}
	frame[len(frame)-1] = '!'
	if string(p.Payload) != "payloa!" {
		t.Errorf("the payload is %q", p.Payload)
	}
}

// Texts that are too long to be said are cut, and what follows stays right.
func TestTextsHaveABound(t *testing.T) {
	long := string(bytes.Repeat([]byte{'x'}, 70_000))
	p := Publish{Topic: []byte("t"), Properties: Properties(nil).AppendText(ContentType, long).AppendUser("k", "v"), Payload: []byte("end")}
	got, err := read(V5, 0, p.Append(nil, V5))
	if err != nil {
		t.Fatal(err)
	}
	m := as[*Publish](got)
	if text, _ := m.Properties.Text(ContentType); len(text) != 65_535 || string(m.Payload) != "end" {
		t.Errorf("content type of %d bytes, payload %q", len(text), m.Payload)
	}
}

// What is left out leaves the rest as it was, in its order.
func TestPropertiesWithout(t *testing.T) {
	p := Properties(nil).AppendUser("b", "1").AppendNumber(TopicAlias, 7).AppendUser("a", "2").AppendNumber(MessageExpiryInterval, 9)
	want := Properties(nil).AppendUser("b", "1").AppendUser("a", "2")
	if got := p.Without(TopicAlias, MessageExpiryInterval); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	if list, ok := ParseProperties(p); !ok || !bytes.Equal(list, p) {
		t.Error("a list that was made here is refused")
	}
	if _, ok := ParseProperties([]byte{byte(ReceiveMaximum), 0, 1}); ok {
		t.Error("a PUBLISH has no receive maximum")
	}
}

// Properties that nobody has checked must not make the accessors panic.
func TestPropertiesOfAnybody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Properties(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		p.Number(TopicAlias, 0)
		p.Text(ReasonString)
		for name := range p.User() {
			_ = name
		}
	})
}

// as is p, which must be a T.
func as[T packet](p packet) T {
	v, ok := p.(T)
	if !ok {
		panic(fmt.Sprintf("read as %T", p))
	}
	return v
}
