package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// device is a client of MQTT 5 that keeps what it has under way while the
// server comes and goes, as the standard has it.
type device struct {
	t     *testing.T
	addr  string
	id    string
	token string

	// begin is called with each new connection, take with every packet.
	begin func(send func(appender))
	take  func(h packet.Header, body []byte, send func(appender)) error
}

type appender interface {
	Append(dst []byte, v packet.Version) []byte
}

// run connects again and again until ctx ends.
func (d *device) run(ctx context.Context) {
	for ctx.Err() == nil {
		d.connection(ctx)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (d *device) connection(ctx context.Context) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	send := func(p appender) { _, _ = conn.Write(p.Append(nil, packet.V5)) } // what is lost is sent again
	send(&packet.Connect{
		Version: packet.V5, ClientID: []byte(d.id), HasPassword: true, Password: []byte(d.token),
		Properties: packet.Properties(nil).AppendNumber(packet.SessionExpiryInterval, 3600),
	})
	var r packet.Reader
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		err = r.Feed(slices.Clone(buf[:n]), func(h packet.Header, body []byte) error {
			if h.Kind() != packet.CONNACK {
				return d.take(h, body, send)
			}
			var ack packet.Connack
			if err := ack.Decode(packet.V5, h, body); err != nil || ack.Reason != packet.Success {
				return fmt.Errorf("CONNACK %+v, %w", ack, err)
			}
			d.begin(send)
			return nil
		})
		if err != nil {
			return
		}
	}
}

const mqttTopic = "public/durable/mqtt"

// subscriber notes what it gets at QoS 2.
type subscriber struct {
	mu    sync.Mutex
	got   []string
	holds map[uint16]bool
	ready chan struct{}
	once  sync.Once
}

func (s *subscriber) begin(send func(appender)) {
	send(&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte(mqttTopic), QoS: 2}}})
}

func (s *subscriber) take(h packet.Header, body []byte, send func(appender)) error {
	switch h.Kind() {
	case packet.SUBACK:
		s.once.Do(func() { close(s.ready) })
	case packet.PUBLISH:
		var m packet.Publish
		if err := m.Decode(packet.V5, h, body); err != nil {
			return err
		}
		s.mu.Lock()
		if !s.holds[m.ID] {
			s.holds[m.ID] = true
			s.got = append(s.got, string(m.Payload))
		}
		s.mu.Unlock()
		send(&packet.Ack{Kind: packet.PUBREC, ID: m.ID})
	case packet.PUBREL:
		var a packet.Ack
		if err := a.Decode(packet.V5, h, body); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.holds, a.ID)
		s.mu.Unlock()
		send(&packet.Ack{Kind: packet.PUBCOMP, ID: a.ID})
	default:
	}
	return nil
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// publisher has a few messages under way at a time, and identifiers that come
// round soon.
type publisher struct {
	total, next int
	order       []uint16
	text        map[uint16]string
	released    map[uint16]bool
}

func (p *publisher) begin(send func(appender)) {
	for _, id := range p.order {
		if p.released[id] {
			send(&packet.Ack{Kind: packet.PUBREL, ID: id})
		} else {
			p.publish(id, true, send)
		}
	}
	p.more(send)
}

func (p *publisher) publish(id uint16, dup bool, send func(appender)) {
	send(&packet.Publish{Dup: dup, QoS: 2, ID: id, Topic: []byte(mqttTopic), Payload: []byte(p.text[id])})
}

func (p *publisher) more(send func(appender)) {
	for id := uint16(1); id <= 7 && p.next < p.total; id++ {
		if p.text[id] == "" {
			p.text[id] = fmt.Sprint("m", p.next)
			p.next++
			p.order = append(p.order, id)
			p.publish(id, false, send)
		}
	}
}

func (p *publisher) take(h packet.Header, body []byte, send func(appender)) error {
	var a packet.Ack
	if err := a.Decode(packet.V5, h, body); err != nil || a.Reason >= 0x80 && a.Kind == packet.PUBREC {
		return fmt.Errorf("%+v: %w", a, err)
	}
	switch a.Kind {
	case packet.PUBREC:
		p.released[a.ID] = true
		send(&packet.Ack{Kind: packet.PUBREL, ID: a.ID})
	case packet.PUBCOMP:
		delete(p.text, a.ID)
		delete(p.released, a.ID)
		p.order = slices.DeleteFunc(p.order, func(id uint16) bool { return id == a.ID })
		p.more(send)
	default:
	}
	return nil
}

// Messages of QoS 2 from device to device, through a server that is killed
// again and again while they are on their way: each comes once.
func TestMQTTThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes, killed")
	}
	t.Parallel()
	data := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	begin := func() *process {
		p := launch(t, []string{"PARLEY_COMMUNITY=false"}, "serve", "--addr", "127.0.0.1:0", "--mqtt-addr", addr, "--data", data)
		p.out.await(t, `Open +(\S+)`)
		return p
	}
	server := begin()
	token := output(t, nil, "token", "--data", data, "--user", "ann")
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()

	const total, kills = 400, 5
	sub := &subscriber{holds: map[uint16]bool{}, ready: make(chan struct{})}
	running.Go(func() { (&device{t, addr, "sub", token, sub.begin, sub.take}).run(ctx) })
	<-sub.ready
	pub := &publisher{total: total, text: map[uint16]string{}, released: map[uint16]bool{}}
	running.Go(func() { (&device{t, addr, "pub", token, pub.begin, pub.take}).run(ctx) })

	deadline, ticks := time.NewTimer(90*time.Second), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer ticks.Stop()
	for killed := 0; sub.count() < total; {
		if killed < kills && sub.count() > (killed+1)*total/(kills+1) {
			_ = server.cmd.Process.Kill()
			_ = server.cmd.Wait() // it was killed
			server = begin()
			killed++
		}
		select {
		case <-ticks.C:
		case <-deadline.C:
			t.Fatalf("%d of %d came, after %d kills", sub.count(), total, killed)
		}
	}
	stop()
	running.Wait()
	if len(sub.got) != total {
		t.Errorf("%d came", len(sub.got))
	}
	seen := map[string]int{}
	for _, text := range sub.got {
		if seen[text]++; seen[text] == 2 {
			t.Errorf("%s came twice", text)
		}
	}
}
