package mqtt_test

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/mqtt"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// An idle connection weighs little more than one of the native protocol: both
// ends of each are here, with one subscription.
func TestIdleConnectionsAreSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 2,000 connections")
	}
	const n = 1000
	live := parley.New(everything(), tokens(), parley.WithAnonymous())
	var s *mqtt.Server
	live.Join(func(m *session.Manager) parley.Transport {
		s = mqtt.New(m, mqtt.Config{})
		return s
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	web := parleytest.Serve(t, live)

	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	measure := func(dial func(i int) net.Conn) float64 {
		for i := range 50 { // tables and pools that stay
			open = append(open, dial(-1-i))
		}
		before := heap()
		for i := range n {
			open = append(open, dial(i))
		}
		return float64(heap()-before) / n
	}
	buf := make([]byte, 4096)
	ours := measure(func(i int) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		connect := packet.Connect{Version: packet.V311, Clean: true, KeepAlive: 60, ClientID: fmt.Appendf(nil, "c%d", i)}
		subscribe := packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{sub("room/1", 0)}}
		_, _ = c.Write(subscribe.Append(connect.Append(nil, packet.V311), packet.V311))
		for got := 0; got < 4+5; { // CONNACK and SUBACK
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
		return c
	})
	native := measure(func(int) net.Conn {
		c, _, _, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(web.URL, "http")+"/ws")
		if err != nil {
			t.Fatal(err)
		}
		_ = wsutil.WriteClientText(c, []byte(`[{"id":1,"connect":{}},{"id":2,"subscribe":{"topic":"room/1"}}]`))
		for got := ""; !strings.Contains(got, `"subscribed"`); {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:k])
		}
		return c
	})
	t.Logf("MQTT %.0f bytes a connection, WebSocket %.0f", ours, native)
	if ours > 1.3*native { // about 1.1; the heap is not the same twice
		t.Errorf("MQTT %.0f bytes a connection, WebSocket %.0f", ours, native)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
