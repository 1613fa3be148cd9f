package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/parleytest"
)

type note struct {
	Text string `json:"text" validate:"required"`
}

// serve starts a real server whose topics keep enough for any test but one.
func serve(t *testing.T) *parleytest.Server {
	t.Helper()
	live := parley.New(
		parley.WithTopic("public/#", parley.TopicSettings{History: 5000, HistoryAge: time.Minute}),
		parley.WithTopic("public/short", parley.TopicSettings{History: 2, HistoryAge: time.Minute}),
	)
	parley.On(live, "shout", func(_ *parley.Ctx, n note) (note, error) { return note{strings.ToUpper(n.Text)}, nil })
	parley.On(live, "hint", func(c *parley.Ctx, n note) (note, error) { return n, live.SendUser(c, c.User(), "hint", n) })
	return parleytest.Serve(t, live)
}

// cable is a network whose connections can be torn.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return conn, nil
}

// cut resets every connection, without a close frame.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	c.conns = nil
}

// join connects as a user.
func join(t *testing.T, s *parleytest.Server, user string, o ...client.Option) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o = append([]client.Option{client.WithHeader(http.Header{"Parley-Test-User": {user}})}, o...)
	c, err := client.Dial(ctx, s.WebSocketURL("/ws"), o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inbox collects payloads and tells when there are enough.
type inbox struct {
	mu   sync.Mutex
	got  []string
	want int
	full chan struct{}
}

func newInbox(want int) *inbox { return &inbox{want: want, full: make(chan struct{})} }

func (b *inbox) add(m client.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, string(m.Payload))
	if len(b.got) == b.want {
		close(b.full)
	}
}

func (b *inbox) wait(t *testing.T) []string {
	t.Helper()
	select {
	case <-b.full:
	case <-time.After(30 * time.Second):
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.got) != b.want {
		t.Fatalf("got %d messages, want %d: %.500v", len(b.got), b.want, b.got)
	}
	return slices.Clone(b.got)
}

func TestARealServer(t *testing.T) {
	for name, options := range map[string][]client.Option{"protobuf": nil, "json": {client.WithJSON()}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			ctx := t.Context()
			ada, bob := join(t, s, "ada", options...), join(t, s, "bob", options...)
			lines := newInbox(3)
			if _, err := bob.Subscribe(ctx, "public/lobby", lines.add, client.QoS(1)); err != nil {
				t.Fatal(err)
			}
			first, err := ada.Publish(ctx, "public/lobby", "line", note{"häppy 🎉"}, client.Key("k1"), client.Header("x", "y"))
			if err != nil || first.Seq != 1 || first.Duplicate {
				t.Fatalf("published %+v, %v", first, err)
			}
			if again, err := ada.Publish(ctx, "public/lobby", "line", note{"häppy 🎉"}, client.Key("k1")); err != nil || again.Seq != 1 || !again.Duplicate {
				t.Errorf("published again %+v, %v", again, err)
			}
			if _, err := ada.Publish(ctx, "public/lobby", "bytes", []byte{1, 0, 255}); err != nil {
				t.Error(err)
			}
			if _, err := ada.Publish(ctx, "public/lobby", "line", 3); err != nil {
				t.Error(err)
			}
			if got := lines.wait(t); !slices.Equal(got, []string{`{"text":"häppy 🎉"}`, "", "3"}) {
				t.Errorf("got %q", got)
			}
			page, err := bob.History(ctx, "public/lobby", client.Query{Limit: 2})
			if err != nil || len(page.Messages) != 2 || !page.More || !slices.Equal(page.Messages[0].Data, []byte{1, 0, 255}) || page.Messages[0].From != "ada" {
				t.Errorf("history %+v, %v", page, err)
			}
			if who, err := ada.Presence(ctx, "public/lobby"); err != nil || len(who) != 1 || who[0].User != "bob" {
				t.Errorf("presence %+v, %v", who, err)
			}
			callsAndRefusals(t, ada)
		})
	}
}

func callsAndRefusals(t *testing.T, ada *client.Client) {
	t.Helper()
	ctx := t.Context()
	if got, err := client.Call[note](ctx, ada, "shout", note{"hi"}); err != nil || got.Text != "HI" {
		t.Errorf("call %+v, %v", got, err)
	}
	if _, err := client.Call[note](ctx, ada, "shout", note{}); !errors.Is(err, &client.Error{Code: "bad_request"}) {
		t.Errorf("an empty note: %v", err)
	}
	if _, err := ada.Publish(ctx, "admin/x", "t", 1); !errors.Is(err, &client.Error{Code: "forbidden"}) {
		t.Errorf("publishing without permission: %v", err)
	}
	if _, err := ada.Subscribe(ctx, "user/bob/#", nil); !errors.Is(err, &client.Error{Code: "forbidden"}) {
		t.Errorf("subscribing without permission: %v", err)
	}
	direct := make(chan client.Message, 1)
	if _, err := ada.Direct(func(m client.Message) { direct <- m }); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call[note](ctx, ada, "hint", note{"psst"}); err != nil {
		t.Error(err)
	}
	select {
	case m := <-direct:
		if string(m.Payload) != `{"text":"psst"}` || m.Topic != "$user/ada" {
			t.Errorf("direct message %+v", m)
		}
	case <-time.After(10 * time.Second):
		t.Error("no direct message")
	}
}

func TestACableCutAgainAndAgainLosesNothing(t *testing.T) {
	s := serve(t)
	const each = 300
	var net cable
	people := make([]*client.Client, 2)
	seen := make([]*inbox, 2)
	for i, user := range []string{"ada", "bob"} {
		people[i] = join(t, s, user, client.WithNetDial(net.dial), client.WithRandom(func() float64 { return 0.02 }))
		seen[i] = newInbox(2 * each)
		if _, err := people[i].Subscribe(t.Context(), "public/cut", seen[i].add, client.QoS(uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	var writing sync.WaitGroup
	for i, c := range people {
		writing.Go(func() {
			for n := range each {
				if n%60 == 30 {
					net.cut()
				}
				p, err := c.PublishAsync("public/cut", "line", fmt.Sprintf("%d:%d", i, n))
				if err == nil && n%10 == 0 {
					_, err = p.Wait(t.Context())
				}
				if err != nil {
					t.Errorf("line %d of %d: %v", n, i, err)
				}
			}
		})
	}
	writing.Wait()
	a, b := seen[0].wait(t), seen[1].wait(t)
	if !slices.Equal(a, b) {
		t.Error("they saw different orders")
	}
	for i := range people {
		next := 0
		for _, line := range a {
			if strings.HasPrefix(line, fmt.Sprintf("%q", fmt.Sprintf("%d:", i))[:3]) {
				if want := fmt.Sprintf("%q", fmt.Sprintf("%d:%d", i, next)); line != want {
					t.Fatalf("%s where %s was due", line, want)
				}
				next++
			}
		}
		if next != each {
			t.Errorf("%d of %d lines of %d", next, each, i)
		}
	}
}

func TestAwayAndBack(t *testing.T) {
	s := serve(t)
	var net cable
	var w watch
	gaps := make(chan client.Gap, 10)
	ada := join(t, s, "ada", client.WithNetDial(net.dial), client.OnState(w.add), client.OnGap(func(g client.Gap) { gaps <- g }))
	bob := join(t, s, "bob")
	wild, short := newInbox(4), newInbox(2)
	if _, err := ada.Subscribe(t.Context(), "public/w/+", wild.add); err != nil {
		t.Fatal(err)
	}
	if _, err := ada.Subscribe(t.Context(), "public/short", short.add); err != nil {
		t.Fatal(err)
	}
	publish := func(topic string, v int) {
		t.Helper()
		if _, err := bob.Publish(t.Context(), topic, "n", v); err != nil {
			t.Fatal(err)
		}
	}
	publish("public/w/1", 1)
	publish("public/w/2", 2)
	publish("public/short", 1)
	for len(seenSoFar(wild)) < 2 || len(seenSoFar(short)) < 1 {
		if _, err := bob.History(t.Context(), "public/w/1", client.Query{}); err != nil { // a round trip
			t.Fatal(err)
		}
	}
	net.cut()
	publish("public/w/1", 3)
	publish("public/w/2", 4)
	for n := 2; n <= 6; n++ {
		publish("public/short", n)
	}
	got := wild.wait(t)
	slices.Sort(got)
	if !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("through the wildcard %v", got)
	}
	select {
	case g := <-gaps:
		if g.Topic != "public/short" || g.Position.Seq == 0 {
			t.Errorf("gap %+v", g)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no gap was told")
	}
	publish("public/short", 7)
	if got := short.wait(t); got[1] != "7" {
		t.Errorf("after the gap %v", got)
	}
}

func seenSoFar(b *inbox) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got
}

func TestARefusedHandshakeSaysWhy(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Dial(ctx, s.WebSocketURL("/ws"), client.WithHeader(http.Header{"Authorization": {"Bearer forged"}}))
	if !errors.Is(err, &client.Error{Code: "unauthorized"}) || !errors.Is(err, client.ErrClosed) {
		t.Errorf("a forged token: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(short, s.WebSocketURL("/nowhere")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a wrong path: %v", err)
	}
}

func TestADrainingServer(t *testing.T) {
	s := serve(t)
	states := make(chan client.State, 100)
	join(t, s, "ada", client.OnState(func(s client.State) { states <- s }))
	if err := s.Live.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case st := <-states:
			if st.Status == client.Reconnecting {
				if st.Reason != "draining" {
					t.Errorf("the reason is %q", st.Reason)
				}
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it did not notice")
		}
	}
}
