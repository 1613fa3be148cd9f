package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/client"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// watch collects states.
type watch struct {
	mu   sync.Mutex
	seen []client.State
}

func (w *watch) add(s client.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, s)
}

func (w *watch) last() client.State {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return client.State{}
	}
	return w.seen[len(w.seen)-1]
}

func TestSaysWhoItIsFirst(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var w watch
		n.open(client.WithToken("secret"), client.WithDevice("phone-1"), client.OnState(w.add))
		hello := n.peer().welcome()
		if hello.GetToken() != "secret" || hello.GetDevice() != "phone-1" {
			t.Errorf("connect says %v", hello)
		}
		if got := w.last(); got != (client.State{Status: client.Connected, User: "ann"}) {
			t.Errorf("the state is %+v", got)
		}
	})
}

func TestBackoffDoublesWithinBounds(t *testing.T) {
	for i, seconds := range []float64{0.5, 1, 2, 4, 8, 16, 30, 30} {
		attempt, bound := i+1, time.Duration(seconds*float64(time.Second))
		if got := client.Backoff(attempt, 0); got != 0 {
			t.Errorf("attempt %d waits at least %v, want 0: the jitter is full", attempt, got)
		}
		if got := client.Backoff(attempt, 0.5); got != bound/2 {
			t.Errorf("attempt %d waits %v in the middle, want %v", attempt, got, bound/2)
		}
		if got := client.Backoff(attempt, 0.9999999); got != bound {
			t.Errorf("attempt %d waits %v at most, want %v", attempt, got, bound)
		}
	}
	if got := client.Backoff(1_000_000, 1); got != 30*time.Second {
		t.Errorf("a late attempt waits %v", got)
	}
}

func TestComesBackAfterTheWait(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var w watch
		n.open(client.OnState(w.add))
		for _, want := range []struct {
			lasting time.Duration
			attempt int
		}{{time.Second, 1}, {time.Second, 2}, {11 * time.Second, 1}} {
			p := n.peer()
			p.welcome()
			pass(want.lasting)
			p.end(0, "")
			s := w.last()
			if s.Status != client.Reconnecting || s.Attempt != want.attempt || s.RetryIn != client.Backoff(want.attempt, 0.5) {
				t.Errorf("after %v: %+v, want attempt %d", want.lasting, s, want.attempt)
			}
			pass(s.RetryIn - time.Millisecond)
			if n.waiting() != 0 {
				t.Error("it came back early")
			}
		}
	})
}

func TestWaitsAsLongAsTheServerAsks(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var w watch
		n.open(client.OnState(w.add))
		p := n.peer()
		p.welcome()
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Leaving{Leaving: &parleyv1.Leaving{Reason: "draining", RetryAfterMs: 1730}}})
		p.end(4000, "")
		if s := w.last(); s.RetryIn != 1980*time.Millisecond || s.Reason != "draining" {
			t.Errorf("the state is %+v", s)
		}
	})
}

func TestCloseCodes(t *testing.T) {
	for _, c := range []struct {
		code ws.StatusCode
		want client.Status
	}{
		{1001, client.Reconnecting},
		{1009, client.Reconnecting},
		{4000, client.Reconnecting},
		{4001, client.Reconnecting},
		{4499, client.Reconnecting},
		{4500, client.Closed},
		{4501, client.Closed},
		{4999, client.Closed},
	} {
		inBubble(t, func(n *network) {
			t := n.t
			live := n.open()
			p := n.peer()
			p.welcome()
			p.end(c.code, "said so")
			s := live.State()
			if s.Status != c.want || s.Reason != "said so" {
				t.Errorf("%d makes %+v, want %s", c.code, s, c.want)
			}
			if s.Status != client.Closed {
				return
			}
			if _, err := live.Publish(t.Context(), "a", "t", 1); !errors.Is(err, client.ErrClosed) {
				t.Errorf("publishing afterwards: %v", err)
			}
			pass(time.Hour)
			if n.waiting() != 0 {
				t.Error("it came back")
			}
		})
	}
}

func TestARefusalForGoodEndsIt(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		result := make(chan error, 1)
		live := n.open(client.WithToken("forged"))
		go func() { result <- live.Connected(t.Context()) }()
		p := n.peer()
		p.refuse(p.next().GetId(), &parleyv1.Error{Code: "unauthorized", Number: 401, Message: "sign in first", Retry: "never"})
		err := <-result
		var refused *client.Error
		if !errors.Is(err, client.ErrClosed) || !errors.As(err, &refused) || live.State().Status != client.Closed {
			t.Errorf("got %v in state %+v", err, live.State())
		}
		if !errors.Is(err, &client.Error{Code: "unauthorized"}) {
			t.Errorf("%v does not say unauthorized", err)
		}
	})
}

func TestDialTellsWhyItCouldNot(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		n.down = true
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.Dial(ctx, "ws://fake/ws", client.WithNetDial(n.dial))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the cable is out") {
			t.Errorf("got %v", err)
		}
	})
	if _, err := client.Dial(t.Context(), "ftp://x"); err == nil || !strings.Contains(err.Error(), "ws://") {
		t.Errorf("a foreign address: %v", err)
	}
}

func TestSilenceIsTheEnd(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		live := n.open()
		p := n.peer()
		p.welcome()
		pass(30 * time.Second)
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Ping{Ping: &parleyv1.Ping{}}})
		if p.next().GetPong() == nil {
			t.Error("a ping was not answered")
		}
		pass(35*time.Second - time.Millisecond)
		if s := live.State(); s.Status != client.Connected {
			t.Errorf("early: %+v", s)
		}
		pass(time.Millisecond)
		<-p.gone
		synctest.Wait()
		if s := live.State(); s.Status != client.Reconnecting || !strings.Contains(s.Reason, "silent") {
			t.Errorf("late: %+v", s)
		}
	})
}

func TestAServerThatNeverAnswersIsLeft(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		live := n.open()
		p := n.peer()
		p.next()
		<-p.gone
		synctest.Wait()
		if s := live.State(); s.Status != client.Reconnecting {
			t.Errorf("the state is %+v", s)
		}
	})
}

func TestBadFramesAreAnsweredWithTheirCode(t *testing.T) {
	reserved := ws.NewTextFrame([]byte("{}"))
	reserved.Header.Rsv = 4
	for name, c := range map[string]struct {
		frame ws.Frame
		code  ws.StatusCode
	}{
		"reserved bits":      {reserved, ws.StatusProtocolError},
		"masked":             {ws.MaskFrame(ws.NewTextFrame([]byte("{}"))), ws.StatusProtocolError},
		"binary":             {ws.NewBinaryFrame([]byte("{}")), ws.StatusProtocolError},
		"unknown opcode":     {ws.NewFrame(0xb, true, nil), ws.StatusProtocolError},
		"lonely tail":        {ws.NewFrame(ws.OpContinuation, true, nil), ws.StatusProtocolError},
		"no UTF-8":           {ws.NewTextFrame([]byte{0xff}), ws.StatusInvalidFramePayloadData},
		"long ping in parts": {ws.NewFrame(ws.OpPing, false, nil), ws.StatusProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(n *network) {
				t := n.t
				live := n.open()
				p := n.peer()
				p.welcome()
				p.raw(c.frame)
				<-p.gone
				if p.code != c.code {
					t.Errorf("answered with %d, want %d", p.code, c.code)
				}
				synctest.Wait()
				if s := live.State(); s.Status != client.Reconnecting {
					t.Errorf("the state is %+v", s)
				}
			})
		})
	}
}

func TestFragmentsAndPingsBetweenThem(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		live := n.open()
		p := n.peer()
		got := make(chan client.Message, 1)
		if _, err := live.Direct(func(m client.Message) { got <- m }); err != nil {
			t.Fatal(err)
		}
		p.welcome()
		p.raw(ws.NewFrame(ws.OpText, false, []byte(`{"message":{"topic":"$user/ann",`)))
		p.raw(ws.NewFrame(ws.OpPing, true, []byte("x")))
		p.raw(ws.NewFrame(ws.OpContinuation, true, []byte(`"payload":"hällo"}}`)))
		if m := <-got; string(m.Payload) != `"hällo"` {
			t.Errorf("got %s", m.Payload)
		}
	})
}

func TestTokens(t *testing.T) {
	tokens := func() client.Option {
		n := 0
		return client.WithTokenFunc(func(context.Context) (string, error) {
			n++
			return "token-" + string(rune('0'+n)), nil
		})
	}
	t.Run("an expired one is fetched anew, a good one kept", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			n.open(tokens())
			p := n.peer()
			if got := p.welcome().GetToken(); got != "token-1" {
				t.Errorf("first %s", got)
			}
			p.end(0, "")
			p = n.peer()
			if c := p.welcome(); c.GetToken() != "token-1" || c.GetSession() != "ticket-1" {
				t.Errorf("after a break %v", c)
			}
			p.end(4100, "token_expired")
			p = n.peer()
			c := p.next()
			if got := c.GetConnect().GetToken(); got != "token-2" {
				t.Errorf("after it expired %s", got)
			}
			p.refuse(c.GetId(), &parleyv1.Error{Code: "token_expired", Retry: "later"})
			if got := n.peer().welcome().GetToken(); got != "token-3" {
				t.Errorf("after it was refused %s", got)
			}
		})
	})
	t.Run("refreshed in time", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			n.open(tokens())
			p := n.peer()
			p.welcome(func(c *parleyv1.Connected) { c.ExpiresInMs, c.PingSeconds = 600_000, 0 })
			begun := time.Now()
			c := p.next()
			if c.GetRefresh().GetToken() != "token-2" || time.Since(begun) != 8*time.Minute {
				t.Errorf("after %v: %v", time.Since(begun), c)
			}
			p.say(&parleyv1.Reply{Id: c.GetId(), Reply: &parleyv1.Reply_Refreshed{Refreshed: &parleyv1.Refreshed{ExpiresInMs: 60_000}}})
			begun = time.Now()
			if c := p.next(); c.GetRefresh().GetToken() != "token-3" || time.Since(begun) != 30*time.Second {
				t.Errorf("then after %v: %v", time.Since(begun), c)
			}
		})
	})
	t.Run("a fixed one that expired ends it", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			live := n.open(client.WithToken("fixed"))
			p := n.peer()
			p.welcome()
			p.end(4100, "token_expired")
			if s := live.State(); s.Status != client.Closed || s.Code != 4100 {
				t.Errorf("the state is %+v", s)
			}
		})
	})
}

func TestCloseSaysGoodbyeAndWaitsForHandlers(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		live := n.open()
		p := n.peer()
		begun, finish, finished := make(chan bool), make(chan bool), false
		if _, err := live.Direct(func(client.Message) {
			close(begun)
			<-finish
			finished = true
		}); err != nil {
			t.Fatal(err)
		}
		p.welcome()
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: &parleyv1.Message{Topic: "$user/ann"}}})
		<-begun
		go func() {
			<-p.gone
			pass(time.Second)
			close(finish)
		}()
		if err := live.Close(); err != nil {
			t.Fatal(err)
		}
		if !finished {
			t.Error("Close did not wait for the handler")
		}
		if p.code != ws.StatusNormalClosure {
			t.Errorf("goodbye with %d", p.code)
		}
		if s := live.State(); s.Status != client.Closed {
			t.Errorf("the state is %+v", s)
		}
		_ = live.Close()
	})
}
