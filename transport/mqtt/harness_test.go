package mqtt_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/mqtt"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// server is a Live with MQTT on a port of its own.
type server struct {
	t    testing.TB
	live *parley.Live
	mqtt *mqtt.Server

	sessions *session.Manager
	addr     string
	end      func()
}

// everything lets everybody do everything.
func everything() parley.Option {
	return parley.WithRules(auth.Rule{Roles: []string{"*"}, Actions: auth.Actions(), Pattern: "#"})
}

// tokens are "token of ada".
func tokens() parley.Option {
	return parley.WithVerifier(auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) {
		user, ok := strings.CutPrefix(token, "token of ")
		if !ok {
			return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "this is no token"}
		}
		return auth.Identity{User: user}, nil
	}))
}

func serve(t testing.TB, opts ...parley.Option) *server {
	t.Helper()
	return serveOn(t, mqtt.Config{}, plain, append([]parley.Option{parley.WithAnonymous()}, opts...)...)
}

// serveStrict lets nobody in who does not say who they are.
func serveStrict(t *testing.T) *server {
	t.Helper()
	return serveOn(t, mqtt.Config{}, plain)
}

func plain(l net.Listener) net.Listener { return l }

func serveOn(t testing.TB, c mqtt.Config, wrap func(net.Listener) net.Listener, opts ...parley.Option) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Log = slog.New(slog.DiscardHandler)
	s := &server{t: t, addr: l.Addr().String()}
	s.live = parley.New(append([]parley.Option{everything(), tokens()}, opts...)...)
	s.live.Join(func(m *session.Manager) parley.Transport {
		s.mqtt, s.sessions = mqtt.New(m, c), m
		return s.mqtt
	})
	served := make(chan error, 1)
	go func() { served <- s.mqtt.Serve(wrap(l)) }()
	var once sync.Once
	s.end = func() { once.Do(func() { s.stop(l, served) }) }
	t.Cleanup(s.end)
	return s
}

func (s *server) stop(l net.Listener, served <-chan error) {
	t := s.t
	_ = l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v", err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if err := s.live.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// peer is a client that speaks packets.
type peer struct {
	t    testing.TB
	v    packet.Version
	conn net.Conn
	r    packet.Reader
	got  []any // packets not yet looked at
	buf  []byte
}

func (s *server) dial(v packet.Version) *peer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &peer{t: s.t, v: v, conn: conn, buf: make([]byte, 64<<10)}
}

// appender is any packet.
type appender interface {
	Append(dst []byte, v packet.Version) []byte
}

func (p *peer) send(packets ...appender) {
	p.t.Helper()
	var out []byte
	for _, x := range packets {
		out = x.Append(out, p.v)
	}
	if _, err := p.conn.Write(out); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// await takes the first packet that ok accepts. Others are kept for later.
func (p *peer) await(ok func(any) bool) {
	p.t.Helper()
	for i := 0; ; i++ {
		if i == len(p.got) {
			x := p.read(i + 1)
			if x != nil {
				p.t.Fatalf("%v; what came: %+v", x, p.got)
			}
		}
		if ok(p.got[i]) {
			p.got = slices.Delete(p.got, i, i+1)
			return
		}
	}
}

// next returns the next packet, or the error that ended the connection.
func (p *peer) next() any {
	if err := p.read(1); err != nil {
		return err
	}
	x := p.got[0]
	p.got = p.got[1:]
	return x
}

// read waits until there are n packets.
func (p *peer) read(n int) error {
	for len(p.got) < n {
		n, err := p.conn.Read(p.buf)
		if err != nil {
			return err
		}
		data := append([]byte(nil), p.buf[:n]...)
		err = p.r.Feed(data, func(h packet.Header, body []byte) error {
			x, err := p.decode(h, append([]byte(nil), body...))
			p.got = append(p.got, x)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) decode(h packet.Header, body []byte) (any, error) {
	type decoder interface {
		Decode(v packet.Version, h packet.Header, body []byte) error
	}
	var d decoder
	switch h.Kind() {
	case packet.CONNACK:
		d = &packet.Connack{}
	case packet.PUBLISH:
		d = &packet.Publish{}
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		d = &packet.Ack{}
	case packet.SUBACK, packet.UNSUBACK:
		d = &packet.Granted{}
	case packet.PINGRESP:
		d = &packet.Signal{}
	case packet.DISCONNECT:
		d = &packet.Disconnect{}
	default:
		return nil, errors.New("a server does not send " + h.Kind().String())
	}
	return d, d.Decode(p.v, h, body)
}

// expect returns the next packet, which must be a T.
func expect[T any](p *peer) *T {
	p.t.Helper()
	x := p.next()
	got, ok := x.(*T)
	if !ok {
		var want T
		p.t.Fatalf("%T %+v instead of %T", x, x, want)
	}
	return got
}

// connack connects and returns the answer.
func (p *peer) connack(c packet.Connect) *packet.Connack {
	p.t.Helper()
	c.Version = p.v
	p.send(&c)
	return expect[packet.Connack](p)
}

// as is a CONNECT of a user.
func as(user, id string, clean bool, properties ...packet.Properties) packet.Connect {
	c := packet.Connect{
		Clean: clean, ClientID: []byte(id), HasUserName: true, UserName: []byte("whatever"),
		HasPassword: true, Password: []byte("token of " + user),
	}
	for _, p := range properties {
		c.Properties = append(c.Properties, p...)
	}
	return c
}

// open connects as a user.
func (s *server) open(v packet.Version, user, id string, clean bool, properties ...packet.Properties) *peer {
	s.t.Helper()
	p := s.dial(v)
	if ack := p.connack(as(user, id, clean, properties...)); ack.Reason != packet.Success {
		s.t.Fatalf("CONNACK %+v", ack)
	}
	return p
}

// subscribe subscribes, and returns what was granted.
func (p *peer) subscribe(properties packet.Properties, subs ...packet.Subscription) []packet.Reason {
	p.t.Helper()
	p.send(&packet.Subscribe{ID: 77, Properties: properties, Subscriptions: subs})
	ack := expect[packet.Granted](p)
	if ack.Kind != packet.SUBACK || ack.ID != 77 || len(ack.Reasons) != len(subs) {
		p.t.Fatalf("%+v", ack)
	}
	if why, ok := ack.Properties.Text(packet.ReasonString); ok {
		p.t.Logf("SUBACK: %s", why)
	}
	return ack.Reasons
}

func sub(filter string, qos byte) packet.Subscription {
	return packet.Subscription{Filter: []byte(filter), QoS: qos}
}

func pub(topic, payload string, qos byte, id uint16) *packet.Publish {
	return &packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, ID: id}
}

// closed expects the end of the connection, after a DISCONNECT with a reason in
// MQTT 5.
func (p *peer) closed(reason packet.Reason) {
	p.t.Helper()
	if p.v == packet.V5 {
		if d := expect[packet.Disconnect](p); d.Reason != reason {
			p.t.Fatalf("DISCONNECT %#02x instead of %#02x", byte(d.Reason), byte(reason))
		}
	}
	if x := p.next(); !errors.Is(asError(x), io.EOF) {
		p.t.Fatalf("%T %+v instead of the end", x, x)
	}
}

func asError(x any) error {
	err, _ := x.(error)
	return err
}

// quiet expects that nothing is on the way: what is asked now is answered next.
func (p *peer) quiet() {
	p.t.Helper()
	p.send(&packet.Signal{Kind: packet.PINGREQ})
	expect[packet.Signal](p)
}

// both runs a test in both versions.
func both(t *testing.T, test func(t *testing.T, v packet.Version)) {
	t.Helper()
	t.Run("3.1.1", func(t *testing.T) { test(t, packet.V311) })
	t.Run("5", func(t *testing.T) { test(t, packet.V5) })
}
