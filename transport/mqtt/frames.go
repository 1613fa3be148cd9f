package mqtt

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// Headers of a message that MQTT has properties of its own for.
const (
	headerContentType = "content-type"
	headerResponse    = "response-topic"
	headerCorrelation = "correlation-data" // base64
	// headerOrigin marks what an MQTT client has published: the QoS it chose and,
	// in base64, the properties exactly as it sent them. Nobody but MQTT clients
	// needs it.
	headerOrigin = "mqtt"
)

// propertyType is the user property that is the type of a message.
const propertyType = "type"

// What is shared by all receivers of a message: what they do not share are the
// first byte and the packet identifier.
type (
	// whole is a packet of QoS 0 as it is.
	whole packet.Version
	// head is what stands between the first byte of a packet of QoS 1 or 2 and
	// its identifier.
	head packet.Version
	// tail is what stands behind it in MQTT 5. In 3.1.1 it is the payload.
	tail struct{}
)

func later(v packet.Version) int {
	if v == packet.V5 {
		return 1
	}
	return 0
}

// Slot is described at hub.Encoder.
func (w whole) Slot() int { return transport.SlotMQTT + later(packet.Version(w)) }

// Encode is described at hub.Encoder.
func (w whole) Encode(d *hub.Delivery) []byte {
	p := publication(d.Message, packet.Version(w), 0)
	return p.Append(make([]byte, 0, p.Size(packet.Version(w))), packet.Version(w))
}

// Slot is described at hub.Encoder.
func (h head) Slot() int { return transport.SlotMQTT + 2 + later(packet.Version(h)) }

// Encode is described at hub.Encoder.
func (h head) Encode(d *hub.Delivery) []byte {
	p := publication(d.Message, packet.Version(h), 1)
	return p.AppendHead(nil, packet.Version(h))[1:]
}

// Slot is described at hub.Encoder.
func (tail) Slot() int { return transport.SlotMQTT + 4 }

// Encode is described at hub.Encoder.
func (tail) Encode(d *hub.Delivery) []byte {
	p := publication(d.Message, packet.V5, 1)
	return p.AppendTail(make([]byte, 0, p.Size(packet.V5)), packet.V5)
}

// publication is a message as a packet, without what belongs to one receiver.
func publication(m *message.Message, v packet.Version, qos byte) packet.Publish {
	p := packet.Publish{QoS: qos, Topic: []byte(m.Topic), Payload: m.Payload}
	if v == packet.V5 {
		p.Properties = properties(m)
	}
	return p
}

// properties are those of a message that has no expiry.
func properties(m *message.Message) packet.Properties {
	if _, raw, ok := origin(m); ok {
		return raw
	}
	var p packet.Properties
	if !m.Binary && len(m.Payload) > 0 {
		p = p.AppendNumber(packet.PayloadFormatIndicator, 1)
		p = p.AppendText(packet.ContentType, cmp.Or(m.Headers[headerContentType], "application/json"))
	} else if kind := m.Headers[headerContentType]; kind != "" {
		p = p.AppendText(packet.ContentType, kind)
	}
	if to := m.Headers[headerResponse]; to != "" && !strings.ContainsAny(to, "+#") {
		p = p.AppendText(packet.ResponseTopic, to)
	}
	if text := m.Headers[headerCorrelation]; text != "" {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			data = []byte(text) // whoever wrote it did not know better
		}
		p = p.AppendText(packet.CorrelationData, string(data))
	}
	if m.Type != "" {
		p = p.AppendUser(propertyType, m.Type)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		switch name {
		case headerContentType, headerResponse, headerCorrelation, propertyType:
		default:
			p = p.AppendUser(name, m.Headers[name])
		}
	}
	return p
}

// origin returns the QoS and the properties of what an MQTT client has
// published.
func origin(m *message.Message) (qos byte, raw packet.Properties, ok bool) {
	text, ok := m.Headers[headerOrigin]
	if !ok || text == "" || text[0] < '0' || text[0] > '2' {
		return 2, nil, false
	}
	bytes, err := base64.RawStdEncoding.DecodeString(text[1:])
	if err != nil {
		return 2, nil, false
	}
	if raw, ok = packet.ParseProperties(bytes); !ok { // somebody else has set the header
		return 2, nil, false
	}
	return text[0] - '0', raw, true
}

// command is what a client publishes as a command of its session. The payload
// is JSON to everybody else where it is JSON.
func command(p *packet.Publish, topic string, limit int) *parleyv1.Publish {
	out := &parleyv1.Publish{
		Topic: topic, Qos: uint32(p.QoS), Retain: p.Retain, Headers: map[string]string{},
		ExpiresInMs: 1000 * uint64(p.Properties.Number(packet.MessageExpiryInterval, 0)),
	}
	if len(p.Payload) > 0 {
		payload := append([]byte(nil), p.Payload...)
		if utf8.Valid(payload) && json.Valid(payload) {
			out.Payload = payload
		} else {
			out.Data = payload
		}
	}
	if kind, ok := p.Properties.Text(packet.ContentType); ok {
		out.Headers[headerContentType] = string(kind)
	}
	if to, ok := p.Properties.Text(packet.ResponseTopic); ok {
		out.Headers[headerResponse] = string(to)
	}
	if data, ok := p.Properties.Text(packet.CorrelationData); ok {
		out.Headers[headerCorrelation] = base64.StdEncoding.EncodeToString(data)
	}
	for name, value := range p.Properties.User() {
		switch {
		case string(name) == propertyType:
			out.Type = string(value)
		case len(out.GetHeaders()) < limit-1: // all of them are in the origin
			out.Headers[string(name)] = string(value)
		}
	}
	kept := p.Properties.Without(packet.MessageExpiryInterval, packet.TopicAlias)
	out.Headers[headerOrigin] = string(rune('0'+p.QoS)) + base64.RawStdEncoding.EncodeToString(kept)
	return out
}

// expiry is how many seconds a message has left, at least 1; ok is false when
// it does not expire.
func expiry(m *message.Message, now time.Time) (seconds uint32, ok bool) {
	if m.ExpiresAt == 0 {
		return 0, false
	}
	left := (m.ExpiresAt - now.UnixMilli() + 999) / 1000
	return uint32(min(max(left, 1), 1<<32-1)), true
}

// maxFlight is how many messages of QoS 1 and 2 a client may be sent at once,
// whatever it allows; identifiers come round after as many again.
const maxFlight = 4096

// frames are what no message has to be encoded for.
type frames struct {
	first [16][]byte // of a PUBLISH with these flags
	ids   [][]byte   // packet identifiers
}

func newFrames() frames {
	f := frames{ids: make([][]byte, 2*maxFlight+1)}
	for flags := range f.first {
		f.first[flags] = []byte{byte(packet.PUBLISH)<<4 | byte(flags)}
	}
	bytes := make([]byte, 2*len(f.ids))
	for id := range f.ids {
		bytes[2*id], bytes[2*id+1] = byte(id>>8), byte(id)
		f.ids[id] = bytes[2*id : 2*id+2]
	}
	return f
}

// id is the frame of a packet identifier.
func (f *frames) id(id uint16) *[]byte {
	if int(id) < len(f.ids) {
		return &f.ids[id]
	}
	return &[]byte{byte(id >> 8), byte(id)} // it is from another time
}

// flags are the lower half of the first byte.
type flags struct {
	dup, retain bool
	qos         byte
}

func (f flags) byte() byte {
	b := f.qos << 1
	if f.dup {
		b |= 8
	}
	if f.retain {
		b |= 1
	}
	return b
}

// shared returns the parts of a packet that has nothing of one receiver but
// its flags and its identifier.
func (f *frames) shared(d *hub.Delivery, v packet.Version, fl flags, id uint16) evloop.Parts {
	switch {
	case fl == flags{}:
		return evloop.Parts{d.Frame(whole(v))}
	case fl.qos == 0:
		p := publication(d.Message, v, 0) // retained: once for each subscription
		p.Retain = fl.retain
		frame := p.Append(make([]byte, 0, p.Size(v)), v)
		return evloop.Parts{&frame}
	case v == packet.V5:
		return evloop.Parts{&f.first[fl.byte()], d.Frame(head(v)), f.id(id), d.Frame(tail{})}
	case len(d.Message.Payload) == 0:
		return evloop.Parts{&f.first[fl.byte()], d.Frame(head(v)), f.id(id)}
	}
	return evloop.Parts{&f.first[fl.byte()], d.Frame(head(v)), f.id(id), &d.Message.Payload}
}
