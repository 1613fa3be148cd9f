package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// mqttClient is a client of MQTT 5 on any stream of bytes.
type mqttClient struct {
	net.Conn

	t  *testing.T
	in io.Reader
}

func (c *mqttClient) send(p interface {
	Append(dst []byte, v packet.Version) []byte
},
) {
	c.t.Helper()
	if _, err := c.Write(p.Append(nil, packet.V5)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads a packet, whose kind is known, into p.
func (c *mqttClient) next(p interface {
	Decode(v packet.Version, h packet.Header, body []byte) error
},
) {
	c.t.Helper()
	head := make([]byte, 2) // packets here have fewer than 128 bytes
	if _, err := io.ReadFull(c.in, head); err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c.in, body); err != nil {
		c.t.Fatal(err)
	}
	if err := p.Decode(packet.V5, packet.Header(head[0]), body); err != nil {
		c.t.Fatalf("% x % x: %v", head, body, err)
	}
}

func (c *mqttClient) connect(id, token string) {
	c.t.Helper()
	c.send(&packet.Connect{Version: packet.V5, Clean: true, ClientID: []byte(id), HasPassword: true, Password: []byte(token)})
	var ack packet.Connack
	if c.next(&ack); ack.Reason != packet.Success {
		c.t.Fatalf("%+v", ack)
	}
}

func (c *mqttClient) subscribe(filter string, qos byte) {
	c.t.Helper()
	c.send(&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}})
	var ack packet.Granted
	if c.next(&ack); ack.Reasons[0] != packet.Reason(qos) {
		c.t.Fatalf("%+v", ack)
	}
}

// webSocket is the stream in the binary messages of a WebSocket, which the
// client cuts where it likes.
type webSocket struct{ net.Conn }

func (s webSocket) Write(b []byte) (int, error) {
	for i := range b { // a byte a message
		if err := wsutil.WriteClientBinary(s.Conn, b[i:i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// MQTT over TCP, MQTT over WebSocket and the native protocol share the topics:
// what one publishes, the others receive, JSON as JSON.
func TestMQTT(t *testing.T) {
	cfg := settings(t)
	cfg.MQTTAddr = "127.0.0.1:0"
	s := start(t, cfg)
	token := annsToken(t, cfg.Data, time.Hour)

	conn, err := net.Dial("tcp", s.ports("MQTT").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	plain := &mqttClient{conn, t, conn}
	plain.connect("tcp", token)
	plain.subscribe("public/#", 1)

	d := ws.Dialer{Protocols: []string{"mqtt"}}
	socket, early, shake, err := d.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if shake.Protocol != "mqtt" {
		t.Errorf("subprotocol %q", shake.Protocol)
	}
	if early == nil {
		early = bufio.NewReader(socket)
	}
	messages, frames := io.Pipe()
	go func() {
		for {
			b, err := wsutil.ReadServerBinary(struct {
				io.Reader
				io.Writer
			}{early, socket})
			if err != nil {
				_ = frames.CloseWithError(err)
				return
			}
			_, _ = frames.Write(b)
		}
	}()
	tunnel := &mqttClient{webSocket{socket}, t, messages}
	tunnel.connect("websocket", token)
	tunnel.subscribe("public/a", 0)

	native := s.open()
	connect(native, token)
	native.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "public/a"}}})

	tunnel.send(&packet.Publish{Topic: []byte("public/a"), Payload: []byte(`{"celsius":21}`)})
	for _, c := range []*mqttClient{plain, tunnel} {
		var m packet.Publish
		if c.next(&m); string(m.Payload) != `{"celsius":21}` || m.QoS != 0 {
			t.Errorf("%+v", m)
		}
	}
	said := native.Until("the message", func(r *parleyv1.Reply) bool { return r.GetMessage() != nil }).GetMessage()
	if string(said.GetPayload()) != `{"celsius":21}` || said.GetFrom() != "ann" {
		t.Errorf("%v", said)
	}

	native.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{
		Topic: "public/a", Type: "order", Payload: json.RawMessage(`{"n":1}`), Headers: map[string]string{"shop": "7"},
	}}})
	for qos, c := range []*mqttClient{tunnel, plain} {
		var m packet.Publish
		c.next(&m)
		user := map[string]string{}
		for name, value := range m.Properties.User() {
			user[string(name)] = string(value)
		}
		kind, _ := m.Properties.Text(packet.ContentType)
		if string(m.Payload) != `{"n":1}` || string(kind) != "application/json" || user["type"] != "order" || user["shop"] != "7" || int(m.QoS) != qos {
			t.Errorf("QoS %d: %+v, %v", qos, m, user)
		}
	}
}

// A client that does not ask for MQTT is told what this address speaks.
func TestMQTTNeedsItsSubprotocol(t *testing.T) {
	s := start(t, settings(t))
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	status := 0
	d := ws.Dialer{Protocols: []string{"parley.v1.json"}, OnStatusError: func(code int, _ []byte, _ io.Reader) { status = code }}
	conn, _, _, err := d.Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http")+"/mqtt")
	if err == nil || status != http.StatusBadRequest {
		t.Errorf("%v: %d, %v", conn, status, err)
	}
}
