package mqtt_test

import (
	"testing"

	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// nowhere is a stream that takes everything.
type nowhere struct{}

func (nowhere) SendParts(evloop.Parts, int) bool { return true }
func (nowhere) Keeps(int, int) bool              { return true }
func (nowhere) End([]byte)                       {}
func (nowhere) Cut([]byte)                       {}
func (nowhere) Abort()                           {}

// Whatever a client sends once it has connected, in whatever pieces, its
// connection ends in order and takes nothing else along.
func FuzzConnection(f *testing.F) {
	var two []byte
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		var b []byte
		for _, p := range []appender{
			&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{sub("a/#", 2), sub("$share/g/b", 1)}},
			pub("a/b", "1", 0, 0), pub("a/b", "2", 1, 1), pub("b", "3", 2, 2),
			&packet.Ack{Kind: packet.PUBREL, ID: 2}, &packet.Ack{Kind: packet.PUBACK, ID: 1}, &packet.Ack{Kind: packet.PUBREC, ID: 2},
			&packet.Ack{Kind: packet.PUBCOMP, ID: 2}, &packet.Unsubscribe{ID: 2, Filters: [][]byte{[]byte("a/#")}},
			&packet.Signal{Kind: packet.PINGREQ}, &packet.Disconnect{},
		} {
			b = p.Append(b, v)
		}
		f.Add(v == packet.V5, byte(200), b)
		two = append(two, b...)
	}
	f.Add(true, byte(3), two)
	s := serve(f)
	f.Fuzz(func(t *testing.T, five bool, step byte, stream []byte) {
		if err := s.sessions.Admit("192.0.2.1"); err != nil {
			t.Skip(err) // more a second than anybody opens
		}
		v := packet.V311
		if five {
			v = packet.V5
		}
		h := s.mqtt.Open(nowhere{}, session.Info{Address: "192.0.2.1"})
		connect := packet.Connect{Version: v, Clean: true, ClientID: []byte("f"), Properties: packet.Properties(nil).AppendNumber(packet.TopicAliasMaximum, 2)}
		err := h.Data(connect.Append(nil, v))
		for len(stream) > 0 && err == nil {
			n := min(max(int(step), 1), len(stream))
			err = h.Data(append([]byte(nil), stream[:n]...))
			stream = stream[n:]
		}
		h.Closed(err)
	})
}
