package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/client"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func (p *peer) published(id, seq uint64) {
	p.t.Helper()
	p.say(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Published{Published: &parleyv1.Published{Position: position(seq)}}})
}

// queue publishes without waiting.
func queue(t *testing.T, c *client.Client, v any, o ...client.PublishOption) *client.Pending {
	t.Helper()
	p, err := c.PublishAsync("a", "t", v, o...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOutboxKeepsOrderAndKeysOverABreak(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c := n.open()
		first, second := queue(t, c, 1), queue(t, c, 2, client.Key("mine"))
		p := n.peer()
		p.welcome()
		one, two := p.next(), p.next()
		if string(one.GetPublish().GetPayload()) != "1" || one.GetPublish().GetKey() == "" {
			t.Errorf("first %v", one)
		}
		p.published(one.GetId(), 41)
		if got, err := first.Wait(t.Context()); err != nil || got.Seq != 41 {
			t.Errorf("got %v, %v", got, err)
		}
		p.end(0, "")
		third := queue(t, c, 3)
		p = n.peer()
		p.welcome()
		again, last := p.next(), p.next()
		if again.GetPublish().GetKey() != "mine" || two.GetPublish().GetKey() != "mine" || string(last.GetPublish().GetPayload()) != "3" {
			t.Errorf("sent again %v, then %v", again, last)
		}
		p.published(again.GetId(), 42)
		p.published(last.GetId(), 43)
		for _, w := range []*client.Pending{second, third} {
			if _, err := w.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestOutboxIsBounded(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		n.down = true
		few, small := n.open(client.WithOutbox(2, 1<<20)), n.open(client.WithOutbox(100, 1500))
		queue(t, few, 1)
		waiting := queue(t, few, 2)
		if _, err := few.PublishAsync("a", "t", 3); !errors.Is(err, client.ErrOutboxFull) {
			t.Errorf("one too many: %v", err)
		}
		queue(t, small, strings.Repeat("x", 1000))
		if _, err := small.PublishAsync("a", "t", strings.Repeat("x", 1000)); !errors.Is(err, client.ErrOutboxFull) {
			t.Errorf("too large: %v", err)
		}
		_ = few.Close()
		if _, err := waiting.Wait(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestOnlySoManyAreUnderWay(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		for i := range 300 {
			queue(t, c, i)
		}
		var first *parleyv1.Command
		for i := range 256 {
			if cmd := p.next(); i == 0 {
				first = cmd
			}
		}
		p.quiet()
		p.published(first.GetId(), 1)
		if got := string(p.next().GetPublish().GetPayload()); got != "256" {
			t.Errorf("next is %s", got)
		}
		p.quiet()
	})
}

func TestAnImpatientPublisherWithdraws(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		n.down = true
		c := n.open()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Publish(ctx, "a", "t", 1); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "publish on a") {
			t.Errorf("got %v", err)
		}
		n.down = false
		c.Reconnect()
		p := n.peer()
		p.welcome()
		p.quiet()
	})
}

func TestAMessageTooBigDoesNotEndEveryConnection(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		small, big := queue(t, c, 1), queue(t, c, strings.Repeat("x", 100_000))
		synctest.Wait()
		p.end(1009, "too big")
		if _, err := big.Wait(t.Context()); !errors.Is(err, &client.Error{Code: "too_large"}) {
			t.Errorf("the big one: %v", err)
		}
		p = n.peer()
		p.welcome()
		p.published(p.next().GetId(), 1)
		if _, err := small.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestTheServersRefusalIsTheAnswer(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		w := queue(t, c, 1)
		p.refuse(p.next().GetId(), &parleyv1.Error{Code: "rate_limited", Number: 429, Message: "slowly", Retry: "later", RetryAfterMs: 1500})
		_, err := w.Wait(t.Context())
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != 429 || refused.RetryAfter != 1500*time.Millisecond || refused.Retry != "later" {
			t.Errorf("got %v", err)
		}
	})
}

type memo struct{ Text string }

type memoResult struct {
	memo memo
	err  error
}

// call asks without waiting.
func call(t *testing.T, c *client.Client, o ...client.CallOption) chan memoResult {
	t.Helper()
	ch := make(chan memoResult, 1)
	go func() {
		m, err := client.Call[memo](t.Context(), c, "memo.make", memo{"in"}, o...)
		ch <- memoResult{m, err}
	}()
	return ch
}

func (p *peer) result(id uint64, text string) {
	p.t.Helper()
	p.say(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Result{Result: &parleyv1.Result{Payload: []byte(text)}}})
}

func TestCalls(t *testing.T) {
	t.Run("typed in and out", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			c, p := connected(n)
			ch := call(t, c)
			cmd := p.next()
			if got := cmd.GetCall(); got.GetType() != "memo.make" || string(got.GetPayload()) != `{"Text":"in"}` || got.GetTimeoutMs() != 10_000 {
				t.Errorf("asked %v", got)
			}
			p.result(cmd.GetId(), `{"Text":"out"}`)
			if r := <-ch; r.err != nil || r.memo.Text != "out" {
				t.Errorf("got %+v", r)
			}
		})
	})
	t.Run("sixteen at a time, beside what is published", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			c, p := connected(n)
			for range 20 {
				call(t, c)
			}
			synctest.Wait()
			queue(t, c, 1)
			first := p.next()
			for range 15 {
				p.next()
			}
			if p.next().GetPublish() == nil {
				t.Error("the calls hold up a publish")
			}
			p.quiet()
			p.result(first.GetId(), `{}`)
			if p.next().GetCall() == nil {
				t.Error("the seventeenth does not follow")
			}
			p.quiet()
		})
	})
	t.Run("not repeated when the connection broke", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			c, p := connected(n)
			ch := call(t, c)
			p.next()
			p.end(0, "")
			if r := <-ch; !errors.Is(r.err, client.ErrDisconnected) {
				t.Errorf("got %+v", r)
			}
			p = n.peer()
			p.welcome()
			p.quiet()
		})
	})
	t.Run("repeated when that is harmless", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			c, p := connected(n)
			ch := call(t, c, client.Idempotent())
			p.next()
			p.end(0, "")
			p = n.peer()
			p.welcome()
			p.result(p.next().GetId(), `{"Text":"late"}`)
			if r := <-ch; r.err != nil || r.memo.Text != "late" {
				t.Errorf("got %+v", r)
			}
		})
	})
	t.Run("time out", func(t *testing.T) {
		inBubble(t, func(n *network) {
			t := n.t
			c, _ := connected(n)
			if r := <-call(t, c); !errors.Is(r.err, context.DeadlineExceeded) {
				t.Errorf("got %+v", r)
			}
		})
	})
}

func TestHistoryAndPresence(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		done := make(chan client.Page, 1)
		go func() {
			page, err := c.History(t.Context(), "a", client.Query{Before: &client.Position{Seq: 41}, Limit: 2})
			if err != nil {
				t.Error(err)
			}
			done <- page
		}()
		if h := p.page("a", true, 39, 40); h.GetBefore().GetSeq() != 41 || h.GetLimit() != 2 {
			t.Errorf("asks for %v", h)
		}
		if page := <-done; len(page.Messages) != 2 || !page.More || page.Messages[1].Seq != 40 {
			t.Errorf("got %+v", page)
		}
		who := make(chan []client.Member, 1)
		go func() {
			members, err := c.Presence(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			who <- members
		}()
		p.say(&parleyv1.Reply{Id: p.next().GetId(), Reply: &parleyv1.Reply_Presence{Presence: &parleyv1.PresenceList{
			Topic: "a", Members: []*parleyv1.Member{{User: "ben", Devices: 2, Since: 1000}},
		}}})
		if m := <-who; len(m) != 1 || m[0].User != "ben" || m[0].Since.UnixMilli() != 1000 {
			t.Errorf("got %+v", m)
		}
	})
}

func TestVolatileIsNowOrNever(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c := n.open()
		if err := c.Volatile("a", "typing", nil); err != nil {
			t.Fatal(err)
		}
		p := n.peer()
		p.welcome()
		p.quiet()
		if err := c.Volatile("a", "typing", nil); err != nil {
			t.Fatal(err)
		}
		if cmd := p.next(); cmd.GetId() != 0 || cmd.GetPublish().GetType() != "typing" {
			t.Errorf("sent %v", cmd)
		}
	})
}
