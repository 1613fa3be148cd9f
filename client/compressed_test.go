package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/parleytest"
)

// meter counts what goes over its connections, and can spoil what comes next.
type meter struct {
	in, out atomic.Int64
	spoil   atomic.Bool
}

func (m *meter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &metered{Conn: conn, meter: m}, nil
}

type metered struct {
	net.Conn

	meter *meter
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.in.Add(int64(n))
	const first, packed, header, kind = 0xc2, 100, 4, 0x06 // a block of the kind that there is not
	if n > packed && p[0] == first && c.meter.spoil.CompareAndSwap(true, false) {
		p[header] |= kind
	}
	return n, err
}

func (c *metered) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.out.Add(int64(n))
	return n, err
}

func TestCompression(t *testing.T) {
	const size = 20_000
	long := note{strings.Repeat("what was said before, ", size/22)}
	for name, c := range map[string]struct {
		server []parley.Option
		client []client.Option
		packed bool
	}{
		"agreed on":          {[]parley.Option{parley.WithCompression(0)}, []client.Option{client.WithCompression()}, true},
		"agreed on, in JSON": {[]parley.Option{parley.WithCompression(0)}, []client.Option{client.WithCompression(), client.WithJSON()}, true},
		"declined":           {nil, []client.Option{client.WithCompression()}, false},
		"not offered":        {[]parley.Option{parley.WithCompression(0)}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := parleytest.Serve(t, parley.New(c.server...))
			var m meter
			ada := join(t, s, "ada", append(c.client, client.WithNetDial(m.dial))...)
			lines := newInbox(2)
			if _, err := ada.Subscribe(t.Context(), "public/1", lines.add); err != nil {
				t.Fatal(err)
			}
			in, out := m.in.Load(), m.out.Load()
			for _, n := range []note{long, {"short"}} {
				if _, err := ada.Publish(t.Context(), "public/1", "line", n); err != nil {
					t.Fatal(err)
				}
			}
			if got := lines.wait(t); got[0] != `{"text":"`+long.Text+`"}` || got[1] != `{"text":"short"}` {
				t.Errorf("got %.60q", got)
			}
			in, out = m.in.Load()-in, m.out.Load()-out
			if c.packed != (out < size/10) || c.packed != (in < size/10) {
				t.Errorf("%d bytes out and %d in for %d", out, in, size)
			}
		})
	}
}

// What is small on the wire and too large behind it is refused like any message
// that is too large; the client goes on.
func TestCompressedAndTooLarge(t *testing.T) {
	s := parleytest.Serve(t, parley.New(parley.WithCompression(0)))
	ada := join(t, s, "ada", client.WithCompression())
	if _, err := ada.Publish(t.Context(), "public/1", "line", note{strings.Repeat("x", 1<<20)}); !errors.Is(err, &client.Error{Code: "too_large"}) {
		t.Errorf("a megabyte: %v", err)
	}
	if _, err := ada.Publish(t.Context(), "public/1", "line", note{"short"}); err != nil {
		t.Error(err)
	}
}

// A connection on which a compressed message cannot be read is left, and the
// message comes over the next.
func TestCorruptedOnTheWay(t *testing.T) {
	s := parleytest.Serve(t, parley.New(
		parley.WithCompression(0), parley.WithTopic("public/#", parley.TopicSettings{History: 10, HistoryAge: time.Minute})))
	states := make(chan client.State, 100)
	var m meter
	ada := join(t, s, "ada", client.WithCompression(), client.WithNetDial(m.dial),
		client.WithRandom(func() float64 { return 0 }), client.OnState(func(s client.State) { states <- s }))
	lines := newInbox(2)
	if _, err := ada.Subscribe(t.Context(), "public/1", lines.add); err != nil {
		t.Fatal(err)
	}
	m.spoil.Store(true)
	var said []string
	for range 2 {
		words := make([]string, 500)
		for i := range words {
			words[i] = []string{"what", "was", "said", "before"}[rand.IntN(4)]
		}
		text := strings.Join(words, " ")
		said = append(said, `{"text":"`+text+`"}`)
		if _, err := s.Live.Publish(t.Context(), "public/1", "line", note{text}); err != nil {
			t.Fatal(err)
		}
	}
	if got := lines.wait(t); !slices.Equal(got, said) {
		t.Errorf("got %.80q", got)
	}
	for {
		select {
		case st := <-states:
			if st.Status != client.Reconnecting {
				continue
			}
			if !strings.Contains(st.Reason, "cannot be read") {
				t.Errorf("the reason is %q", st.Reason)
			}
			return
		case <-time.After(10 * time.Second):
			t.Fatal("nobody noticed")
		}
	}
}
