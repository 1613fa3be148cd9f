package parley_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/store/pebblestore"
)

// BenchmarkDurablePublishOverWebSockets is one accepted message: 64 connections,
// each with 16 of 256 bytes under way on a topic of its own, synced before they
// are acknowledged. The clients run on the same cores.
func BenchmarkDurablePublishOverWebSockets(b *testing.B) {
	data, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	live := parley.New(parley.WithData(data),
		parley.WithTopic("public/d/#", parley.TopicSettings{Durable: true, History: 1_000_000, HistoryAge: time.Hour}))
	s := parleytest.Serve(b, live)
	const connections, underWay = 64, 16
	payload := `"` + strings.Repeat("x", 254) + `"`
	conns := make([]net.Conn, connections)
	for i := range conns {
		conns[i] = benchConn(b, s, fmt.Sprintf("u%d", i))
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			defer conn.Close()
			if err := publishMany(conn, i, b.N/connections+1, underWay, payload); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
}

func benchConn(b *testing.B, s *parleytest.Server, user string) net.Conn {
	b.Helper()
	d := ws.Dialer{Header: ws.HandshakeHeaderHTTP(http.Header{"Parley-Test-User": {user}})}
	conn, _, _, err := d.Dial(context.Background(), s.WebSocketURL("/ws"))
	if err != nil {
		b.Fatal(err)
	}
	if err := wsutil.WriteClientText(conn, []byte(`{"id":1,"connect":{}}`)); err != nil {
		b.Fatal(err)
	}
	if _, err := wsutil.ReadServerText(conn); err != nil {
		b.Fatal(err)
	}
	return conn
}

// publishMany has n messages accepted, with so many under way.
func publishMany(conn net.Conn, topic, n, underWay int, payload string) error {
	send := func(k int) error {
		return wsutil.WriteClientText(conn, fmt.Appendf(nil, `{"id":%d,"publish":{"topic":"public/d/%d","payload":%s}}`, k+2, topic, payload))
	}
	for k := range min(underWay, n) {
		if err := send(k); err != nil {
			return err
		}
	}
	for sent, accepted := min(underWay, n), 0; accepted < n; {
		text, err := wsutil.ReadServerText(conn)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(`"error"`)) {
			return fmt.Errorf("refused: %s", text)
		}
		for range bytes.Count(text, []byte(`"published"`)) {
			accepted++
			if sent < n {
				if err := send(sent); err != nil {
					return err
				}
				sent++
			}
		}
	}
	return nil
}
