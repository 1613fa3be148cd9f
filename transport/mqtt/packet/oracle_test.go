package packet

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	paho "github.com/eclipse/paho.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"
)

// Two other implementations read what the fuzzer finds. Each of the three
// results is shown in the same words, so that they can be compared. A property
// that is 0 or empty is shown as if it were absent, for the others do not
// always know the difference.

// facts are what a packet says, in an order that all agree on.
type facts []string

func (f *facts) addf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func lines(f facts) string { return strings.Join(f, "\n") }

func (f *facts) number(what string, id Number, v uint32) {
	if v != 0 {
		f.addf("%s%#02x = %d", what, byte(id), v)
	}
}

func (f *facts) text(what string, id Text, v string) {
	if v != "" {
		f.addf("%s%#02x = %q", what, byte(id), v)
	}
}

func (f *facts) ours(what string, p Properties) {
	for id := range byte(len(known)) {
		switch known[id].form {
		case none:
		case text, data:
			v, _ := p.Text(Text(id))
			f.text(what, Text(id), string(v))
		case pair:
			for name, value := range p.User() {
				f.addf("%s%q = %q", what, name, value)
			}
		case variable:
			for v := range p.Subscriptions() {
				f.number(what, SubscriptionIdentifier, v)
			}
		default:
			f.number(what, Number(id), p.Number(Number(id), 0))
		}
	}
}

func (f *facts) mochis(what string, p *mochi.Properties) {
	f.number(what, PayloadFormatIndicator, uint32(p.PayloadFormat))
	f.number(what, MessageExpiryInterval, p.MessageExpiryInterval)
	f.text(what, ContentType, p.ContentType)
	f.text(what, ResponseTopic, p.ResponseTopic)
	f.text(what, CorrelationData, string(p.CorrelationData))
	for _, v := range p.SubscriptionIdentifier {
		f.number(what, SubscriptionIdentifier, uint32(v))
	}
	f.number(what, SessionExpiryInterval, p.SessionExpiryInterval)
	f.text(what, AssignedClientIdentifier, p.AssignedClientID)
	f.number(what, ServerKeepAlive, uint32(p.ServerKeepAlive))
	f.text(what, AuthenticationMethod, p.AuthenticationMethod)
	f.text(what, AuthenticationData, string(p.AuthenticationData))
	f.number(what, RequestProblemInfo, uint32(p.RequestProblemInfo))
	f.number(what, WillDelayInterval, p.WillDelayInterval)
	f.number(what, RequestResponseInfo, uint32(p.RequestResponseInfo))
	f.text(what, ResponseInformation, p.ResponseInfo)
	f.text(what, ServerReference, p.ServerReference)
	f.text(what, ReasonString, p.ReasonString)
	f.number(what, ReceiveMaximum, uint32(p.ReceiveMaximum))
	f.number(what, TopicAliasMaximum, uint32(p.TopicAliasMaximum))
	f.number(what, TopicAlias, uint32(p.TopicAlias))
	f.number(what, MaximumQoS, uint32(p.MaximumQos))
	f.number(what, RetainAvailable, uint32(p.RetainAvailable))
	for _, u := range p.User {
		f.addf("%s%q = %q", what, u.Key, u.Val)
	}
	f.number(what, MaximumPacketSize, p.MaximumPacketSize)
	f.number(what, WildcardAvailable, uint32(p.WildcardSubAvailable))
	f.number(what, SubscriptionIDs, uint32(p.SubIDAvailable))
	f.number(what, SharedAvailable, uint32(p.SharedSubAvailable))
}

func value[T byte | uint16 | uint32 | int](p *T) uint32 {
	if p == nil {
		return 0
	}
	return uint32(*p)
}

func (f *facts) pahos(what string, p *paho.Properties) {
	f.number(what, PayloadFormatIndicator, value(p.PayloadFormat))
	f.number(what, MessageExpiryInterval, value(p.MessageExpiry))
	f.text(what, ContentType, p.ContentType)
	f.text(what, ResponseTopic, p.ResponseTopic)
	f.text(what, CorrelationData, string(p.CorrelationData))
	f.number(what, SubscriptionIdentifier, value(p.SubscriptionIdentifier))
	f.number(what, SessionExpiryInterval, value(p.SessionExpiryInterval))
	f.text(what, AssignedClientIdentifier, p.AssignedClientID)
	f.number(what, ServerKeepAlive, value(p.ServerKeepAlive))
	f.text(what, AuthenticationMethod, p.AuthMethod)
	f.text(what, AuthenticationData, string(p.AuthData))
	f.number(what, RequestProblemInfo, value(p.RequestProblemInfo))
	f.number(what, WillDelayInterval, value(p.WillDelayInterval))
	f.number(what, RequestResponseInfo, value(p.RequestResponseInfo))
	f.text(what, ResponseInformation, p.ResponseInfo)
	f.text(what, ServerReference, p.ServerReference)
	f.text(what, ReasonString, p.ReasonString)
	f.number(what, ReceiveMaximum, value(p.ReceiveMaximum))
	f.number(what, TopicAliasMaximum, value(p.TopicAliasMaximum))
	f.number(what, TopicAlias, value(p.TopicAlias))
	f.number(what, MaximumQoS, value(p.MaximumQOS))
	f.number(what, RetainAvailable, value(p.RetainAvailable))
	for _, u := range p.User {
		f.addf("%s%q = %q", what, u.Key, u.Value)
	}
	f.number(what, MaximumPacketSize, value(p.MaximumPacketSize))
	f.number(what, WildcardAvailable, value(p.WildcardSubAvailable))
	f.number(what, SubscriptionIDs, value(p.SubIDAvailable))
	f.number(what, SharedAvailable, value(p.SharedSubAvailable))
}

// show tells what we have read.
func show(p packet) facts {
	var f facts
	switch p := p.(type) {
	case *Connect:
		f.addf("level %d clean %v keep alive %d id %q", p.Version, p.Clean, p.KeepAlive, p.ClientID)
		f.addf("user %v %q password %v %q", p.HasUserName, p.UserName, p.HasPassword, p.Password)
		f.ours("", p.Properties)
		if p.HasWill {
			f.addf("will %q %d %v %q", p.Will.Topic, p.Will.QoS, p.Will.Retain, p.Will.Payload)
			f.ours("will ", p.Will.Properties)
		}
	case *Connack:
		f.addf("present %v reason %d", p.SessionPresent, p.Reason)
		f.ours("", p.Properties)
	case *Publish:
		f.addf("dup %v qos %d retain %v topic %q id %d payload %q", p.Dup, p.QoS, p.Retain, p.Topic, p.ID, p.Payload)
		f.ours("", p.Properties)
	case *Ack:
		f.addf("%d id %d reason %d", p.Kind, p.ID, p.Reason)
		f.ours("", p.Properties)
	case *Subscribe:
		f.addf("id %d", p.ID)
		for _, s := range p.Subscriptions {
			f.addf("%q %d %v %v %d", s.Filter, s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling)
		}
		f.ours("", p.Properties)
	case *Granted:
		f.addf("%d id %d reasons %d", p.Kind, p.ID, p.Reasons)
		f.ours("", p.Properties)
	case *Unsubscribe:
		f.addf("id %d filters %q", p.ID, p.Filters)
		f.ours("", p.Properties)
	case *Disconnect:
		f.addf("reason %d", p.Reason)
		f.ours("", p.Properties)
	case *Auth:
		f.addf("reason %d", p.Reason)
		f.ours("", p.Properties)
	}
	return f
}

// askMochi has mochi read a packet.
func askMochi(v Version, h Header, body []byte) (facts, error) {
	pk := mochi.Packet{ProtocolVersion: byte(v)}
	if err := pk.FixedHeader.Decode(byte(h)); err != nil {
		return nil, err
	}
	pk.FixedHeader.Remaining = len(body)
	err := map[Kind]func([]byte) error{
		CONNECT: pk.ConnectDecode, CONNACK: pk.ConnackDecode, PUBLISH: pk.PublishDecode, PUBACK: pk.PubackDecode, PUBREC: pk.PubrecDecode,
		PUBREL: pk.PubrelDecode, PUBCOMP: pk.PubcompDecode, SUBSCRIBE: pk.SubscribeDecode, SUBACK: pk.SubackDecode,
		UNSUBSCRIBE: pk.UnsubscribeDecode, UNSUBACK: pk.UnsubackDecode, DISCONNECT: pk.DisconnectDecode, AUTH: pk.AuthDecode,
	}[h.Kind()](body)
	if err != nil {
		return nil, err
	}
	return showMochi(h.Kind(), &pk), nil
}

func showMochi(k Kind, pk *mochi.Packet) facts {
	var f facts
	switch k {
	case CONNECT:
		c := &pk.Connect
		f.addf("level %d clean %v keep alive %d id %q", pk.ProtocolVersion, c.Clean, c.Keepalive, c.ClientIdentifier)
		f.addf("user %v %q password %v %q", c.UsernameFlag, c.Username, c.PasswordFlag, c.Password)
		f.mochis("", &pk.Properties)
		if c.WillFlag {
			f.addf("will %q %d %v %q", c.WillTopic, c.WillQos, c.WillRetain, c.WillPayload)
			f.mochis("will ", &c.WillProperties)
		}
		return f
	case CONNACK:
		reason := Reason(pk.ReasonCode)
		if pk.ProtocolVersion != byte(V5) {
			reason = connackCodes[pk.ReasonCode]
		}
		f.addf("present %v reason %d", pk.SessionPresent, reason)
	case PUBLISH:
		h := pk.FixedHeader
		f.addf("dup %v qos %d retain %v topic %q id %d payload %q", h.Dup, h.Qos, h.Retain, pk.TopicName, pk.PacketID, pk.Payload)
	case SUBSCRIBE:
		f.addf("id %d", pk.PacketID)
		for _, s := range pk.Filters {
			f.addf("%q %d %v %v %d", s.Filter, s.Qos, s.NoLocal, s.RetainAsPublished, s.RetainHandling)
		}
	case SUBACK, UNSUBACK:
		f.addf("%d id %d reasons %d", k, pk.PacketID, pk.ReasonCodes)
	case UNSUBSCRIBE:
		filters := [][]byte{}
		for _, s := range pk.Filters {
			filters = append(filters, []byte(s.Filter))
		}
		f.addf("id %d filters %q", pk.PacketID, filters)
	case DISCONNECT, AUTH:
		f.addf("reason %d", pk.ReasonCode)
	default:
		f.addf("%d id %d reason %d", k, pk.PacketID, pk.ReasonCode)
	}
	f.mochis("", &pk.Properties)
	return f
}

// askPaho has paho.golang, which knows MQTT 5 alone, read a packet.
func askPaho(h Header, body []byte) (facts, error) {
	cp, err := paho.ReadPacket(bytes.NewReader(append(appendVarint([]byte{byte(h)}, uint32(len(body))), body...)))
	if err != nil {
		return nil, err
	}
	var f facts
	switch p := cp.Content.(type) {
	case *paho.Connect:
		f.addf("level %d clean %v keep alive %d id %q", p.ProtocolVersion, p.CleanStart, p.KeepAlive, p.ClientID)
		f.addf("user %v %q password %v %q", p.UsernameFlag, p.Username, p.PasswordFlag, p.Password)
		f.pahos("", p.Properties)
		if p.WillFlag {
			f.addf("will %q %d %v %q", p.WillTopic, p.WillQOS, p.WillRetain, p.WillMessage)
			f.pahos("will ", p.WillProperties)
		}
		return f, nil
	case *paho.Connack:
		f.addf("present %v reason %d", p.SessionPresent, p.ReasonCode)
	case *paho.Publish:
		f.addf("dup %v qos %d retain %v topic %q id %d payload %q", p.Duplicate, p.QoS, p.Retain, p.Topic, p.PacketID, p.Payload)
	case *paho.Subscribe:
		f.addf("id %d", p.PacketID)
		for _, s := range p.Subscriptions {
			f.addf("%q %d %v %v %d", s.Topic, s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling)
		}
	case *paho.Suback:
		f.addf("%d id %d reasons %d", SUBACK, p.PacketID, p.Reasons)
	case *paho.Unsuback:
		f.addf("%d id %d reasons %d", UNSUBACK, p.PacketID, p.Reasons)
	case *paho.Unsubscribe:
		f.addf("id %d filters %q", p.PacketID, p.Topics)
	case *paho.Disconnect:
		f.addf("reason %d", p.ReasonCode)
	case *paho.Auth:
		f.addf("reason %d", p.ReasonCode)
	default: // the four acknowledgements have the same fields
		v := reflect.ValueOf(p).Elem()
		f.addf("%d id %d reason %d", h.Kind(), v.FieldByName("PacketID").Uint(), v.FieldByName("ReasonCode").Uint())
	}
	properties, ok := reflect.TypeAssert[*paho.Properties](reflect.ValueOf(cp.Content).Elem().FieldByName("Properties"))
	if ok && properties != nil {
		f.pahos("", properties)
	}
	return f, nil
}

// lastSubscription leaves of several subscription identifiers the last, the
// only one that paho keeps.
func lastSubscription(f facts) facts {
	prefix := fmt.Sprintf("%#02x = ", byte(SubscriptionIdentifier))
	var out facts
	for i, line := range f {
		last := i+1 == len(f) || !strings.HasPrefix(f[i+1], prefix)
		if !strings.HasPrefix(line, prefix) || last {
			out = append(out, line)
		}
	}
	return slices.Clip(out)
}
