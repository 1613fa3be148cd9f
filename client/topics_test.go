package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/client"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// catch collects the numbers of messages.
type catch struct {
	mu   sync.Mutex
	seqs []uint64
	gaps []client.Gap
}

func (c *catch) add(m client.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seqs = append(c.seqs, m.Seq)
}

func (c *catch) gap(g client.Gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = append(c.gaps, g)
}

func (c *catch) want(t *testing.T, seqs ...uint64) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.seqs, seqs) {
		t.Errorf("got %v, want %v", c.seqs, seqs)
	}
}

// subscribe runs Subscribe while the test answers as the server.
func subscribe(t *testing.T, c *client.Client, p *peer, topic string, seq uint64, h func(client.Message), o ...client.SubscribeOption) *client.Subscription {
	t.Helper()
	type result struct {
		sub *client.Subscription
		err error
	}
	done := make(chan result, 1)
	go func() {
		sub, err := c.Subscribe(t.Context(), topic, h, o...)
		done <- result{sub, err}
	}()
	synctest.Wait()
	p.subscribed(seq)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.sub
}

// connected opens a client and answers its connect.
func connected(n *network, o ...client.Option) (*client.Client, *peer) {
	n.t.Helper()
	c := n.open(o...)
	p := n.peer()
	p.welcome()
	return c, p
}

func position(seq uint64) *parleyv1.Position { return &parleyv1.Position{Epoch: "k", Seq: seq} }

func TestHandlersShareOneSubscription(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		var first, second catch
		sub := subscribe(t, c, p, "a", 3, first.add)
		other, err := c.Subscribe(t.Context(), "a", second.add)
		if err != nil {
			t.Fatal(err)
		}
		p.quiet()
		p.message("a", 4)
		sub.Unsubscribe()
		p.message("a", 5)
		p.quiet()
		other.Unsubscribe()
		other.Unsubscribe()
		if p.next().GetUnsubscribe().GetTopic() != "a" {
			t.Error("the last one did not leave")
		}
		p.message("a", 6)
		first.want(t, 4)
		second.want(t, 4, 5)
		if !errors.Is(sub.Err(), client.ErrUnsubscribed) {
			t.Errorf("ended with %v", sub.Err())
		}
	})
}

func TestResumesInOneRoundTrip(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		var got catch
		subscribe(t, c, p, "a", 3, got.add)
		p.message("a", 4, 5)
		p.end(0, "")
		p = n.peer()
		hello := p.welcome(func(c *parleyv1.Connected) {
			c.Resumed = true
			c.Subscriptions = []*parleyv1.Subscribed{{Topic: "a", Position: position(7), Recovered: true}}
		})
		if s := hello.GetSubscriptions(); len(s) != 1 || s[0].GetSince().GetSeq() != 5 || s[0].GetSince().GetEpoch() != "k" {
			t.Errorf("resumes with %v", s)
		}
		p.message("a", 5, 6, 7, 7, 8)
		p.quiet()
		got.want(t, 4, 5, 6, 7, 8)
	})
}

func TestTellsWhatCannotBeRecovered(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var got catch
		c, p := connected(n, client.OnGap(got.gap))
		subscribe(t, c, p, "a", 90, got.add, client.SubscriptionGap(got.gap))
		p.end(0, "")
		p = n.peer()
		at := &parleyv1.Position{Epoch: "new", Seq: 2}
		p.welcome(func(c *parleyv1.Connected) {
			c.Subscriptions = []*parleyv1.Subscribed{{Topic: "a", Position: at}}
		})
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Gap{Gap: &parleyv1.Gap{Topic: "a", Position: at}}})
		p.message("a", 3)
		got.want(t, 3)
		want := client.Gap{Topic: "a", Position: client.Position{Epoch: "new", Seq: 2}}
		if !slices.Equal(got.gaps, []client.Gap{want, want}) {
			t.Errorf("told %v, want it once by each observer", got.gaps)
		}
	})
}

// What the server left out, because this client was behind, is told and not
// asked for.
func TestWhatIsSkippedIsNotReadAgain(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var got catch
		c, p := connected(n, client.OnGap(got.gap))
		subscribe(t, c, p, "a", 90, got.add)
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Skipped{Skipped: &parleyv1.Skipped{Topic: "a", Count: 5, Seq: 95}}})
		p.message("a", 96)
		got.want(t, 96)
		if len(got.gaps) != 1 || got.gaps[0].Position.Seq != 95 {
			t.Errorf("told %v", got.gaps)
		}
	})
}

func TestCatchesUpWhatCameThroughAWildcard(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		var got catch
		subscribe(t, c, p, "room/+", 0, got.add)
		m := wire("room/1", 8)
		m.Epoch = "k"
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: m}})
		p.end(0, "")
		p = n.peer()
		p.welcome(func(c *parleyv1.Connected) { c.Subscriptions = []*parleyv1.Subscribed{{Topic: "room/+"}} })
		p.message("room/1", 11) // live, before history was read
		if h := p.page("room/1", true, 9); h.GetAfter().GetSeq() != 8 || h.GetAfter().GetEpoch() != "k" {
			t.Errorf("asks for %v", h)
		}
		p.page("room/1", false, 10, 11)
		p.message("room/1", 11, 12)
		got.want(t, 8, 9, 10, 11, 12)
		p.quiet()
	})
}

func TestAWildcardTopicThatKeptNothingIsAGap(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		var got catch
		c, p := connected(n, client.OnGap(got.gap))
		subscribe(t, c, p, "room/+", 0, got.add)
		p.message("room/1", 8)
		p.end(0, "")
		p = n.peer()
		p.welcome(func(c *parleyv1.Connected) { c.Subscriptions = []*parleyv1.Subscribed{{Topic: "room/+"}} })
		p.say(&parleyv1.Reply{Id: p.next().GetId(), Reply: &parleyv1.Reply_History{
			History: &parleyv1.HistoryPage{Topic: "room/1", Position: &parleyv1.Position{Seq: 20}},
		}})
		p.message("room/1", 21)
		got.want(t, 8, 21)
		if len(got.gaps) != 1 || got.gaps[0].Position.Seq != 20 {
			t.Errorf("told %v", got.gaps)
		}
	})
}

func TestAGapInTheNumbersIsFilled(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		var got catch
		subscribe(t, c, p, "a", 10, got.add)
		p.message("a", 14, 15)
		got.want(t)
		if h := p.page("a", true, 11, 12); h.GetAfter().GetSeq() != 10 {
			t.Errorf("asks for %v", h)
		}
		p.page("a", false, 13, 14)
		got.want(t, 11, 12, 13, 14, 15)
	})
}

func TestAGapThatHistoryDoesNotHoldIsTold(t *testing.T) {
	for name, answer := range map[string]*parleyv1.Reply{
		"trimmed": {Reply: &parleyv1.Reply_History{History: &parleyv1.HistoryPage{
			Messages: []*parleyv1.Message{wire("a", 13)}, Position: position(14),
		}}},
		"forbidden": {Reply: &parleyv1.Reply_Error{Error: &parleyv1.Error{Code: "forbidden", Retry: "never"}}},
		"empty":     {Reply: &parleyv1.Reply_History{History: &parleyv1.HistoryPage{}}},
		"forgotten": {Reply: &parleyv1.Reply_History{History: &parleyv1.HistoryPage{Position: position(14)}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(n *network) {
				t := n.t
				var got catch
				c, p := connected(n, client.OnGap(got.gap))
				subscribe(t, c, p, "a", 10, got.add)
				p.message("a", 14)
				answer.Id = p.next().GetId()
				p.say(answer)
				p.message("a", 15)
				synctest.Wait()
				if len(got.gaps) != 1 {
					t.Errorf("told %v", got.gaps)
				}
				if last := got.seqs[len(got.seqs)-2:]; !slices.Equal(last, []uint64{14, 15}) {
					t.Errorf("got %v", got.seqs)
				}
				p.quiet()
			})
		})
	}
}

func TestALaterSubscriberGetsOlderMessages(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		var early, late catch
		subscribe(t, c, p, "a", 5, early.add)
		p.message("a", 6)
		if _, err := c.Subscribe(t.Context(), "a", late.add, client.Since(client.Position{Epoch: "k", Seq: 4})); err != nil {
			t.Fatal(err)
		}
		p.message("a", 7)
		p.page("a", false, 5, 6, 7)
		p.message("a", 8)
		early.want(t, 6, 7, 8)
		late.want(t, 5, 6, 7, 8)
	})
}

func TestAcknowledgesAfterTheHandler(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		step := make(chan bool)
		subscribe(t, c, p, "a", 0, func(client.Message) { <-step }, client.QoS(1))
		var fast catch
		if _, err := c.Subscribe(t.Context(), "a", fast.add); err != nil {
			t.Fatal(err)
		}
		p.message("a", 1, 2)
		fast.want(t, 1, 2)
		p.quiet() // the slow one is still at work
		step <- true
		if a := p.next().GetAck(); a.GetTopic() != "a" || a.GetSeq() != 1 {
			t.Errorf("acknowledged %v", a)
		}
		step <- true
		if a := p.next().GetAck(); a.GetSeq() != 2 {
			t.Errorf("acknowledged %v", a)
		}
	})
}

func TestASlowHandlerLosesItsSubscriptionNotMessages(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		sub := subscribe(t, c, p, "a", 0, nil, client.Buffer(2))
		p.message("a", 1, 2, 3)
		<-sub.Done()
		if !errors.Is(sub.Err(), client.ErrSlow) {
			t.Errorf("ended with %v", sub.Err())
		}
		if p.next().GetUnsubscribe() == nil {
			t.Error("it stays subscribed at the server")
		}
	})
}

func TestMessagesCanBeRead(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		sub := subscribe(t, c, p, "a", 0, nil, client.QoS(1))
		p.message("a", 1, 2)
		for m := range sub.Messages(t.Context()) {
			var v int
			if err := m.Decode(&v); err != nil || v != int(m.Seq) {
				t.Errorf("payload %d, %v", v, err)
			}
			if m.Seq == 2 {
				break
			}
		}
		if a := p.next().GetAck(); a.GetSeq() == 0 {
			t.Error("nothing was acknowledged")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range sub.Messages(ctx) {
			t.Error("a message after the end")
		}
	})
}

func TestRefusals(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		done := make(chan error, 1)
		go func() {
			_, err := c.Subscribe(t.Context(), "secret", nil)
			done <- err
		}()
		p.refuse(p.next().GetId(), &parleyv1.Error{Code: "forbidden", Number: 403, Message: "not yours", Retry: "never"})
		if err := <-done; !errors.Is(err, &client.Error{Code: "forbidden"}) {
			t.Errorf("got %v", err)
		}
		go func() {
			_, err := c.Subscribe(t.Context(), "busy", nil)
			done <- err
		}()
		p.refuse(p.next().GetId(), &parleyv1.Error{Code: "rate_limited", Retry: "later", RetryAfterMs: 2000})
		begun := time.Now()
		p.subscribed(0)
		if err := <-done; err != nil || time.Since(begun) != 4500*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		p.refuse(4, &parleyv1.Error{Code: "overloaded", Retry: "later"}) // the id of the second subscribe to it
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Unsubscribed{Unsubscribed: &parleyv1.Unsubscribed{Topic: "busy"}}})
		if s := p.subscribed(9); s.GetSince().GetSeq() != 0 || s.GetSince() == nil {
			t.Errorf("asks again for %v", s)
		}
		sub, err := c.Subscribe(t.Context(), "busy", nil)
		if err != nil {
			t.Fatal(err)
		}
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Unsubscribed{Unsubscribed: &parleyv1.Unsubscribed{Topic: "busy"}}})
		<-sub.Done()
		if !errors.Is(sub.Err(), &client.Error{Code: "forbidden"}) {
			t.Errorf("the server's end is told as %v", sub.Err())
		}
	})
}

func TestWhatCannotBeSubscribedTo(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		for filter, want := range map[string]string{"": "subscribe", "a/#/b": "a/#/b", "a/+": "Since"} {
			if _, err := c.Subscribe(t.Context(), filter, nil, client.Since(client.Position{Seq: 1})); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", filter, err)
			}
		}
		p.quiet()
	})
}

func TestPresenceEvents(t *testing.T) {
	inBubble(t, func(n *network) {
		t := n.t
		c, p := connected(n)
		events := make(chan client.Presence, 2)
		subscribe(t, c, p, "a", 0, func(client.Message) {}, client.WithPresence(func(e client.Presence) { events <- e }))
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Joined{Joined: &parleyv1.Joined{Topic: "a", User: "ben"}}})
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Left{Left: &parleyv1.Left{Topic: "a", User: "ben"}}})
		if e := <-events; e != (client.Presence{Topic: "a", User: "ben", Joined: true}) {
			t.Errorf("got %+v", e)
		}
		if e := <-events; e.Joined {
			t.Errorf("got %+v", e)
		}
	})
}
