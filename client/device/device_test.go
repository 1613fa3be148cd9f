package device_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/client/device"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// world is a server and a cable to it that can be cut.
type world struct {
	*parley.Live

	t    *testing.T
	addr string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWorld(t *testing.T, options ...parley.Option) *world {
	t.Helper()
	w := &world{t: t}
	w.Live = parley.New(append([]parley.Option{parley.WithVerifier(auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) {
		if token == "wrong" {
			return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "this token is not genuine"}
		}
		return auth.Identity{User: token}, nil
	}))}, options...)...)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	var door *frame.Server
	w.Join(func(m *session.Manager) parley.Transport {
		door = frame.New(m, nil)
		return door
	})
	served := make(chan error, 1)
	go func() { served <- door.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close() // it is closed once
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

// dial is how devices connect: not at all while the cable is cut.
func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errors.New("the cable is cut")
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, nc)
	}
	return nc, err
}

// sever cuts the cable, mend puts it together again.
func (w *world) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, nc := range w.conns {
		_ = nc.Close() // the client may have
	}
	w.conns = nil
}

func (w *world) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}

func (w *world) device(name string, options ...device.Option) *device.Client {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), patience)
	defer stop()
	c, err := device.Dial(ctx, w.addr, append([]device.Option{device.WithToken(name), device.WithDial(w.dial), device.FirstWait(5 * time.Millisecond)}, options...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) publish(topic string, payload any) {
	w.t.Helper()
	if _, err := w.Publish(context.Background(), topic, "t", payload); err != nil {
		w.t.Fatal(err)
	}
}

// inbox is a handler that hands messages to the test.
type inbox chan client.Message

func (i inbox) expect(t *testing.T, want any) client.Message {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case m := <-i:
		var got any
		if err := m.Decode(&got); err != nil || got != want {
			t.Fatalf("%v came, not %v (%v)", got, want, err)
		}
		return m
	case <-timer.C:
		t.Fatalf("%v did not come", want)
		return client.Message{}
	}
}

func (i inbox) put(m client.Message) { i <- m }

func TestDevice(t *testing.T) {
	for name, options := range map[string][]device.Option{"Protobuf": nil, "JSON": {device.WithJSON()}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			parley.On(w.Live, "double", func(_ *parley.Ctx, n int) (int, error) { return 2 * n, nil })
			ann := w.device("ann", options...)
			in := make(inbox, 100)
			if err := ann.Subscribe(t.Context(), "public/+", in.put); err != nil {
				t.Fatal(err)
			}
			p, err := ann.Publish(t.Context(), "public/a", "t", "mine")
			if err != nil || p.Seq != 1 || p.Epoch == "" {
				t.Fatal(p, err)
			}
			if m := in.expect(t, "mine"); m.From != "ann" || m.Topic != "public/a" || m.Position() != p {
				t.Errorf("%+v", m)
			}
			var twice int
			if err := ann.Call(t.Context(), "double", 21, &twice); err != nil || twice != 42 {
				t.Error(twice, err)
			}
			if _, err := ann.Publish(t.Context(), "user/bob/x", "t", 1); !errors.Is(err, &client.Error{Code: "forbidden"}) {
				t.Error(err)
			}
			if err := ann.Subscribe(t.Context(), "user/bob/x", in.put); !errors.Is(err, &client.Error{Code: "forbidden"}) {
				t.Error(err)
			}
			if err := ann.Unsubscribe(t.Context(), "public/+"); err != nil {
				t.Error(err)
			}
			w.publish("public/a", "not any more")
			if err := ann.Subscribe(t.Context(), "public/b", in.put); err != nil {
				t.Error(err)
			}
			w.publish("public/b", "this")
			in.expect(t, "this")
		})
	}
}

// What is published on both sides of a cut cable arrives, once and in order, on
// topics and on patterns.
func TestCutCable(t *testing.T) {
	w := newWorld(t)
	ann := w.device("ann")
	one, all := make(inbox, 1000), make(inbox, 1000)
	if err := errors.Join(ann.Subscribe(t.Context(), "public/a", one.put), ann.Subscribe(t.Context(), "public/room/+", all.put)); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		w.publish("public/a", fmt.Sprint("live", round))
		one.expect(t, fmt.Sprint("live", round))
		w.sever()
		w.publish("public/a", fmt.Sprint("missed", round))
		w.publish(fmt.Sprint("public/room/", round), fmt.Sprint("new room", round))
		sent := make(chan error, 1)
		go func() {
			_, err := ann.Publish(context.Background(), "public/a", "t", fmt.Sprint("mine", round))
			sent <- err
		}()
		w.mend()
		one.expect(t, fmt.Sprint("missed", round))
		one.expect(t, fmt.Sprint("mine", round))
		all.expect(t, fmt.Sprint("new room", round))
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	if len(one)+len(all) > 0 {
		t.Errorf("%d messages came twice", len(one)+len(all))
	}
}

// A message whose acknowledgement was lost comes again, and is handled once.
func TestLostAcknowledgement(t *testing.T) {
	w := newWorld(t)
	ann := w.device("ann")
	in := make(inbox, 100)
	if err := ann.Subscribe(t.Context(), "public/a", func(m client.Message) {
		if string(m.Payload) == `"first"` {
			w.sever()
			w.mend()
		}
		in.put(m)
	}); err != nil {
		t.Fatal(err)
	}
	w.publish("public/a", "first")
	in.expect(t, "first")
	w.publish("public/a", "second")
	in.expect(t, "second")
}

// A device with a name goes on where it was when it is switched on again.
func TestSwitchedOff(t *testing.T) {
	w := newWorld(t)
	in := make(inbox, 100)
	first := w.device("ann", device.WithName("meter-4"))
	if err := first.Subscribe(t.Context(), "public/a", in.put); err != nil {
		t.Fatal(err)
	}
	w.publish("public/a", "one")
	in.expect(t, "one")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	w.publish("public/a", "two")
	second := w.device("ann", device.WithName("meter-4"))
	if err := second.Subscribe(t.Context(), "public/a", in.put); err != nil {
		t.Fatal(err)
	}
	in.expect(t, "two")
}

// What is lost for good is told.
func TestGap(t *testing.T) {
	w := newWorld(t, parley.WithTopic("public/#", parley.TopicSettings{History: 1, HistoryAge: time.Hour}))
	gaps := make(chan string, 10)
	ann := w.device("ann", device.OnGap(func(filter string) { gaps <- filter }))
	in := make(inbox, 100)
	if err := ann.Subscribe(t.Context(), "public/a", in.put); err != nil {
		t.Fatal(err)
	}
	w.sever()
	for i := range 5 {
		w.publish("public/a", i)
	}
	w.mend()
	if got := <-gaps; got != "public/a" {
		t.Error(got)
	}
}

// A handler that does not keep up gets everything all the same.
func TestSlowHandler(t *testing.T) {
	const messages = 3000
	w := newWorld(t, parley.WithTopic("public/#", parley.TopicSettings{History: messages, HistoryAge: time.Hour}))
	ann := w.device("ann")
	gate, got, done := make(chan struct{}), uint64(0), make(chan struct{})
	if err := ann.Subscribe(t.Context(), "public/a", func(m client.Message) {
		<-gate
		if got++; m.Seq != got {
			t.Errorf("%d follows %d", m.Seq, got-1)
		}
		if got == messages {
			close(done)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		w.publish("public/a", i)
	}
	close(gate)
	timer := time.NewTimer(3 * patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatalf("%d of %d came", got, messages)
	}
}

// A handler may ask the server something.
func TestHandlersMayAsk(t *testing.T) {
	w := newWorld(t)
	ann := w.device("ann")
	in := make(inbox, 10)
	if err := ann.Subscribe(t.Context(), "public/q", func(client.Message) {
		if _, err := ann.Publish(context.Background(), "public/answer", "t", "yes"); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := ann.Subscribe(t.Context(), "public/answer", in.put); err != nil {
		t.Fatal(err)
	}
	w.publish("public/q", "?")
	in.expect(t, "yes")
}

func TestRefusedForGood(t *testing.T) {
	w := newWorld(t)
	if _, err := device.Dial(t.Context(), w.addr, device.WithToken("wrong")); !errors.Is(err, &client.Error{Code: "unauthorized"}) {
		t.Error(err)
	}
	ann := w.device("ann")
	if n, err := w.Disconnect(t.Context(), "ann", "not you"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	until, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var err error
	for err == nil && until.Err() == nil {
		_, err = ann.Publish(until, "public/a", "t", 1)
	}
	if !errors.Is(err, client.ErrClosed) || !errors.Is(err, &client.Error{Code: protocol.Disconnected.Code}) {
		t.Error(err)
	}
	ctx, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil || closed.Close() != nil {
		t.Fatal(err)
	}
	if _, err := device.Dial(ctx, closed.Addr().String()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "last attempt") {
		t.Error(err)
	}
}

// What a server sends that is no frame ends the connection, not the device.
func TestNonsense(t *testing.T) {
	w := newWorld(t)
	tries := 0
	c, err := device.Dial(t.Context(), w.addr, device.WithToken("ann"), device.FirstWait(time.Millisecond),
		device.WithDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if tries++; tries < 3 {
				here, there := net.Pipe()
				go func() {
					_, _ = io.ReadAtLeast(there, make([]byte, 100), 1)
					_, _ = io.WriteString(there, "HTTP/1.1 400 Bad Request\r\n\r\n")
					_ = there.Close()
				}()
				return here, nil
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Publish(t.Context(), "public/a", "t", 1); err != nil || tries != 3 {
		t.Error(tries, err)
	}
}
