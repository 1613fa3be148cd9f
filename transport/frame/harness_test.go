package frame_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
	transport "github.com/parleyhq/parley/transport/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// server is a Live with a port for devices.
type server struct {
	*parley.Live

	t    *testing.T
	addr string
	door *transport.Server
	stop func() // lets nobody in any more
}

// opaque hides what kind of connection it accepts, as TLS does.
type opaque struct{ net.Listener }

func (o opaque) Accept() (net.Conn, error) {
	nc, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	return struct{ *net.TCPConn }{tcp}, nil
}

// onEach runs a test with connections on loops, and with those that cannot be.
func onEach(t *testing.T, test func(t *testing.T, start func(...parley.Option) *server)) {
	t.Helper()
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"on a loop": func(l net.Listener) net.Listener { return l }, "no TCPConn": func(l net.Listener) net.Listener { return opaque{l} },
	} {
		t.Run(name, func(t *testing.T) {
			test(t, func(o ...parley.Option) *server { return start(t, wrap, o...) })
		})
	}
}

func start(t *testing.T, wrap func(net.Listener) net.Listener, options ...parley.Option) *server {
	t.Helper()
	live := parley.New(append([]parley.Option{parley.WithVerifier(auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) {
		if token == "wrong" {
			return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "this token is not genuine"}
		}
		return auth.Identity{User: token}, nil
	}))}, options...)...)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Live: live, t: t, addr: l.Addr().String()}
	live.Join(func(m *session.Manager) parley.Transport {
		s.door = transport.New(m, nil)
		return s.door
	})
	served := make(chan error, 1)
	go func() { served <- s.door.Serve(wrap(l)) }()
	s.stop = func() {
		if l.Close() == nil {
			if err := <-served; !errors.Is(err, net.ErrClosed) {
				t.Errorf("serving ended with %v", err)
			}
		}
	}
	t.Cleanup(func() {
		s.stop()
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := live.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) eventually(what string, ok func(parley.Stats) bool) {
	s.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for until := time.Now().Add(patience); !ok(s.Stats()); <-ticker.C {
		if time.Now().After(until) {
			s.t.Fatalf("%s: %+v", what, s.Stats())
		}
	}
}

func (s *server) publish(topic string, payload any) {
	s.t.Helper()
	if _, err := s.Publish(context.Background(), topic, "t", payload); err != nil {
		s.t.Fatal(err)
	}
}

// peer is the device's end.
type peer struct {
	net.Conn

	t      *testing.T
	form   frame.Form
	reader frame.Reader
	got    []*parleyv1.Reply
}

func (s *server) dial(f frame.Form) *peer {
	s.t.Helper()
	nc, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	return &peer{Conn: nc, t: s.t, form: f, reader: frame.Reader{Limit: 1 << 20}}
}

// connect is dial and the first command.
func (s *server) connect(f frame.Form, c *parleyv1.Connect) *peer {
	s.t.Helper()
	p := s.dial(f)
	p.send(&parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: c}})
	if r := p.reply(); r.GetConnected() == nil || r.GetId() != 1 {
		s.t.Fatalf("%v", r)
	}
	return p
}

func (p *peer) write(data []byte) {
	p.t.Helper()
	if _, err := p.Write(data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) send(c *parleyv1.Command) {
	p.t.Helper()
	p.write(frame.AppendCommand(nil, p.form, c))
}

// next returns the next reply, or how the connection ended.
func (p *peer) next() (*parleyv1.Reply, error) {
	buf := make([]byte, 4096)
	for len(p.got) == 0 {
		_ = p.SetReadDeadline(time.Now().Add(patience)) // a closed connection says so when it is read
		n, err := p.Read(buf)
		if err != nil {
			return nil, err
		}
		if err := p.reader.Feed(buf[:n], func(f frame.Frame) error {
			if f.Form != p.form {
				p.t.Errorf("a frame of version %02x", byte(f.Form))
			}
			r, err := f.Reply()
			p.got = append(p.got, r)
			return err
		}); err != nil {
			p.t.Fatal(err)
		}
	}
	r := p.got[0]
	p.got = p.got[1:]
	return r, nil
}

func (p *peer) reply() *parleyv1.Reply {
	p.t.Helper()
	r, err := p.next()
	if err != nil {
		p.t.Fatalf("instead of a reply: %v", err)
	}
	return r
}

// rest returns what comes until the server has finished.
func (p *peer) rest() (all []*parleyv1.Reply) {
	p.t.Helper()
	for {
		r, err := p.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.t.Errorf("the connection ended with %v", err)
			}
			_ = p.Close() // or the server waits a moment for that
			return all
		}
		all = append(all, r)
	}
}

func subscribe(id uint64, topic string) *parleyv1.Command {
	return &parleyv1.Command{Id: id, Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic}}}
}

func publication(id uint64, topic, payload string) *parleyv1.Command {
	return &parleyv1.Command{Id: id, Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: topic, Type: "t", Payload: []byte(payload)}}}
}
