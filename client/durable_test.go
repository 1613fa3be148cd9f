package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/client"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func producing(c *parleyv1.Connected) { c.Producer = &parleyv1.Producer{Id: "p", Epoch: 1} }

// What is published has numbers where the server keeps them, over connections.
func TestPublishesAreNumbered(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		if connect := p.welcome(producing); connect.GetProducer() == "" {
			n.t.Error("connect names no producer")
		}
		for range 2 {
			if _, err := c.PublishAsync("a", "t", 1); err != nil {
				n.t.Fatal(err)
			}
		}
		first, second := p.next(), p.next()
		if got := []uint64{first.GetPublish().GetN(), second.GetPublish().GetN()}; !slices.Equal(got, []uint64{1, 2}) || first.GetPublish().GetKey() != "" {
			n.t.Errorf("numbers %v, key %q", got, first.GetPublish().GetKey())
		}
		p.say(&parleyv1.Reply{Id: first.GetId(), Reply: &parleyv1.Reply_Published{Published: &parleyv1.Published{}}})
		p.end(0, "")
		p = n.peer()
		p.welcome(producing)
		if again := p.next(); again.GetPublish().GetN() != 2 {
			n.t.Errorf("sent again as %v", again)
		}
		if _, err := c.PublishAsync("b", "t", 1, client.Key("mine")); err != nil {
			n.t.Fatal(err)
		}
		if other := p.next().GetPublish(); other.GetN() != 1 || other.GetKey() != "mine" {
			n.t.Errorf("on another topic: %v", other)
		}
	})
}

// A message that is refused for now is sent again with its number, and those
// behind it wait.
func TestARefusalForNowIsRetried(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		p.welcome(producing)
		pending, err := c.PublishAsync("a", "t", 1)
		if err != nil {
			n.t.Fatal(err)
		}
		sent := p.next()
		p.refuse(sent.GetId(), &parleyv1.Error{Code: "overloaded", Retry: "later", RetryAfterMs: 3000})
		if _, err = c.PublishAsync("a", "t", 2); err != nil {
			n.t.Fatal(err)
		}
		pass(2 * time.Second)
		p.quiet()
		pass(2 * time.Second)
		again, next := p.next(), p.next()
		if again.GetId() != sent.GetId() || again.GetPublish().GetN() != 1 || next.GetPublish().GetN() != 2 {
			n.t.Errorf("after the wait: %v, %v", again, next)
		}
		p.say(&parleyv1.Reply{Id: again.GetId(), Reply: &parleyv1.Reply_Published{Published: &parleyv1.Published{}}})
		if _, err := pending.Wait(n.t.Context()); err != nil {
			n.t.Error(err)
		}
	})
}

func restored(filter string) func(*parleyv1.Connected) {
	return func(c *parleyv1.Connected) {
		c.Resumed = true
		c.Subscriptions = append(c.Subscriptions, &parleyv1.Subscribed{
			Topic: filter, Qos: 1, Recovered: true, Resumed: true, Position: &parleyv1.Position{Epoch: "k", Seq: 9},
		})
	}
}

// resume answers the next subscribe as a session that had it does.
func (p *peer) resume(newest uint64) *parleyv1.Subscribe {
	p.t.Helper()
	c := p.next()
	p.say(&parleyv1.Reply{Id: c.GetId(), Reply: &parleyv1.Reply_Subscribed{Subscribed: &parleyv1.Subscribed{
		Topic: c.GetSubscribe().GetTopic(), Qos: 1, Recovered: true, Resumed: true, Position: &parleyv1.Position{Epoch: "k", Seq: newest},
	}}})
	return c.GetSubscribe()
}

// A program that starts again on a device leaves alone what its session wants,
// until somebody here wants it, and then gets all that was not acknowledged.
func TestADeviceFindsItsSubscriptions(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open(client.WithDevice("phone"), client.WithExpiry(time.Hour))
		p := n.peer()
		if connect := p.welcome(restored("a")); len(connect.GetSubscriptions()) > 0 || connect.GetExpirySeconds() != 3600 || connect.GetDevice() != "phone" {
			n.t.Errorf("connect %v", connect)
		}
		p.message("a", 8, 9)
		p.quiet() // neither unsubscribed nor acknowledged
		var got []uint64
		comeBack(n, c, p, func(m client.Message) { got = append(got, m.Seq) })
		p.message("a", 8, 9)
		synctest.Wait()
		if !slices.Equal(got, []uint64{8, 9}) {
			n.t.Errorf("handled %v", got)
		}
		for seq := uint64(0); seq < 9; { // in one command or in two
			ack := p.next().GetAck()
			if ack == nil {
				n.t.Fatal("it does not acknowledge")
			}
			seq = ack.GetSeq()
		}
		p.end(0, "")
		p = n.peer()
		connect := p.welcome(restored("a"))
		if subs := connect.GetSubscriptions(); len(subs) != 1 || subs[0].GetSince().GetSeq() != 9 {
			n.t.Errorf("reconnects with %v", connect)
		}
		if ack := p.next().GetAck(); ack.GetSeq() != 9 {
			n.t.Errorf("after a reconnect it acknowledges %v: the last may be lost", ack)
		}
	})
}

func comeBack(n *network, c *client.Client, p *peer, handler func(client.Message)) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Subscribe(n.t.Context(), "a", handler, client.QoS(1))
		done <- err
	}()
	synctest.Wait()
	p.message("a", 10) // from what the session had: 8 and 9 were sent before anybody wanted them
	if s := p.resume(9); s.GetSince() != nil {
		n.t.Errorf("subscribes since %v, which nobody told it", s.GetSince())
	}
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// A connection that breaks before the first message must not make the position
// of the newest message the place where this client stands.
func TestAResumedSubscriptionStandsNowhereYet(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open(client.WithDevice("phone"))
		p := n.peer()
		p.welcome(restored("a"))
		comeBack(n, c, p, func(client.Message) {})
		p.end(0, "")
		connect := n.peer().welcome(restored("a"))
		if subs := connect.GetSubscriptions(); len(subs) != 1 || subs[0].GetSince() != nil {
			n.t.Errorf("reconnects with %v: messages 1 to 9 were never here", connect)
		}
	})
}

// Each message of a group is acknowledged for the group, and one that fails
// goes back.
func TestAMemberOfAGroup(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		p.welcome()
		var attempts []int
		done := make(chan error, 1)
		go func() {
			_, err := c.Process(n.t.Context(), "$share/g/jobs/+", func(_ context.Context, m client.Message) error {
				attempts = append(attempts, m.Attempt)
				if m.Seq == 7 {
					return errors.New("not today")
				}
				return nil
			})
			done <- err
		}()
		p.subscribed(0)
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
		for _, seq := range []uint64{3, 7, 12} {
			m := wire("jobs/1", seq)
			m.Share, m.Attempt = "g", 1
			p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: m}})
		}
		var acks []*parleyv1.Ack
		for range 3 {
			acks = append(acks, p.next().GetAck())
		}
		p.quiet() // it did not ask for what lies between
		for i, want := range []struct {
			seq    uint64
			failed bool
		}{{3, false}, {7, true}, {12, false}} {
			if a := acks[i]; a.GetSeq() != want.seq || a.GetFailed() != want.failed || a.GetShare() != "g" || a.GetTopic() != "jobs/1" {
				n.t.Errorf("acknowledgement %d: %v", i, a)
			}
		}
		if !slices.Equal(attempts, []int{1, 1, 1}) {
			n.t.Errorf("attempts %v", attempts)
		}
	})
}

// Work that fails is done again, and what comes behind it waits.
func TestWorkThatFailsIsDoneAgain(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		p.welcome()
		var did []uint64
		fails := 3
		done := make(chan error, 1)
		go func() {
			_, err := c.Process(n.t.Context(), "a", func(_ context.Context, m client.Message) error {
				did = append(did, m.Seq)
				if m.Seq == 1 && fails > 0 {
					fails--
					return errors.New("the database is away")
				}
				return nil
			})
			done <- err
		}()
		if s := p.subscribed(0); s.GetQos() != 1 {
			n.t.Errorf("subscribes with %v", s)
		}
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
		p.message("a", 1, 2)
		p.quiet()
		pass(time.Minute)
		if !slices.Equal(did, []uint64{1, 1, 1, 1, 2}) {
			n.t.Errorf("did %v", did)
		}
		if ack := p.next().GetAck(); ack.GetSeq() == 0 {
			n.t.Errorf("acknowledged %v", ack)
		}
	})
}

// A subscription begins behind the position that is stored with the work.
func TestTheStoredPositionIsWhereItBegins(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		p.welcome()
		load := func(_ context.Context, topic string) (client.Position, error) {
			if topic != "a" {
				return client.Position{}, errors.New("which topic?")
			}
			return client.Position{Epoch: "k", Seq: 41}, nil
		}
		var got []client.Position
		done := make(chan error, 1)
		go func() {
			_, err := c.Subscribe(n.t.Context(), "a", func(m client.Message) { got = append(got, m.Position()) }, client.QoS(2), client.StoredPosition(load))
			done <- err
		}()
		if s := p.subscribed(43); s.GetSince().GetSeq() != 41 || s.GetQos() != 2 {
			n.t.Errorf("subscribes with %v", s)
		}
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
		if ack := p.next().GetAck(); ack.GetSeq() != 41 {
			n.t.Errorf("what is stored is handled, and it acknowledges %v", ack)
		}
		m := wire("a", 41) // the server did not know
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: m}})
		p.message("a", 42)
		synctest.Wait()
		if len(got) != 1 || got[0].Seq != 42 || got[0].Epoch != "k" {
			n.t.Errorf("handled %v", got)
		}
		for _, filter := range []string{"a/+", "$share/g/a"} {
			if _, err := c.Subscribe(n.t.Context(), filter, nil, client.StoredPosition(load)); err == nil {
				n.t.Errorf("%s has one position for many topics", filter)
			}
		}
	})
}

// What was read is told again on the next connection, once per topic.
func TestReadsAreToldAgain(t *testing.T) {
	inBubble(t, func(n *network) {
		c := n.open()
		p := n.peer()
		p.welcome()
		c.Read("a", 3)
		c.Read("a", 2)
		if r := p.next().GetRead(); r.GetSeq() != 3 {
			n.t.Errorf("read %v", r)
		}
		p.quiet()
		p.end(0, "")
		c.Read("a", 5)
		p = n.peer()
		p.welcome()
		if r := p.next().GetRead(); r.GetSeq() != 5 {
			n.t.Errorf("after a reconnect: read %v", r)
		}
	})
}
