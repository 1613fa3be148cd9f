package websocket_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// greet sends a connect command and returns the answer, an error's included.
func greet(t *testing.T, s *parleytest.Server, user, connect string) (*wire, *parleyv1.Reply) {
	t.Helper()
	w := dial(t, handshake(s, user))
	w.text(fmt.Sprintf(`{"id":1,"connect":{%s}}`, connect))
	answer := w.reply()
	return w, answer
}

// ask sends a command and returns its answer; what comes before is passed over.
func (w *wire) ask(command string) *parleyv1.Reply {
	w.t.Helper()
	w.text(fmt.Sprintf(`{"id":77,%s}`, command))
	for {
		if r := w.reply(); r.GetId() == 77 {
			return r
		}
	}
}

func kept() parley.Option {
	return parley.WithTopic("public/r/#", parley.TopicSettings{History: 100, HistoryAge: 1e12, Receipts: parley.ReceiptsAuto})
}

// Numbers of a producer: stored once, in order, and only by its newest
// connection.
func TestNumberedPublishes(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		w, r := greet(t, s, "ada", `"producer":"p-1"`)
		p := r.GetConnected().GetProducer()
		if p.GetId() != "p-1" || p.GetEpoch() == 0 {
			t.Fatalf("connected: %v", r)
		}
		publish := func(w *wire, n int) *parleyv1.Reply {
			t.Helper()
			return w.ask(fmt.Sprintf(`"publish":{"topic":"public/1","n":%d,"qos":2,"payload":%d}`, n, n))
		}
		for n := 1; n <= 3; n++ {
			if r := publish(w, n).GetPublished(); r.GetPosition().GetSeq() != uint64(n) || r.GetDuplicate() {
				t.Errorf("number %d: %v", n, r)
			}
		}
		if r := publish(w, 2).GetPublished(); !r.GetDuplicate() || r.GetPosition().GetSeq() != 2 && r.GetPosition().GetSeq() != 0 {
			t.Errorf("a repeat: %v", r)
		}
		if e := publish(w, 5).GetError(); e.GetCode() != "out_of_sequence" || e.GetNext() != 4 {
			t.Errorf("a hole: %v", e)
		}
		w.alive()
		newer, r := greet(t, s, "ada", `"producer":"p-1"`)
		if r.GetConnected().GetProducer().GetEpoch() <= p.GetEpoch() {
			t.Errorf("again: %v after %v", r, p)
		}
		if r := publish(newer, 4).GetPublished(); r.GetPosition().GetSeq() != 4 {
			t.Errorf("it goes on: %v", r)
		}
		if e := publish(w, 5).GetError(); e.GetCode() != "fenced" {
			t.Errorf("the older: %v", e)
		}
		other, _ := greet(t, s, "eve", `"producer":"p-1"`)
		if r := publish(other, 1).GetPublished(); r.GetPosition().GetSeq() != 5 || r.GetDuplicate() {
			t.Errorf("another user with the same id: %v", r)
		}
		plain := open(t, s, "ada")
		if e := publish(plain, 1).GetError(); e.GetCode() != "bad_request" || !strings.Contains(e.GetMessage(), "connect.producer") {
			t.Errorf("without a producer: %v", e)
		}
		if e := plain.ask(`"publish":{"topic":"public/1","qos":3}`).GetError(); e.GetCode() != "bad_request" {
			t.Errorf("QoS 3: %v", e)
		}
		if _, r := greet(t, s, "ada", `"producer":"`+strings.Repeat("p", 129)+`"`); r.GetError().GetCode() != "bad_request" {
			t.Errorf("a long id: %v", r)
		}
	})
}

// A session comes back by ticket or device, and its older connection is told
// why it ends.
func TestTakingOver(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t)
		const list = `"device":"phone","expiry_seconds":60,"subscriptions":[{"topic":"public/1","qos":1}]`
		first, r := greet(t, s, "ada", list)
		c := r.GetConnected()
		if c.GetExpirySeconds() != 60 || c.GetResumed() || c.GetSubscriptions()[0].GetQos() != 1 {
			t.Fatalf("connected: %v", r)
		}
		first.ask(`"publish":{"topic":"public/1","payload":1}`)
		second, r := greet(t, s, "ada", fmt.Sprintf(`"session":%q`, c.GetSession()))
		if sub := r.GetConnected().GetSubscriptions(); !r.GetConnected().GetResumed() || len(sub) != 1 || !sub[0].GetResumed() || !sub[0].GetRecovered() {
			t.Errorf("by ticket: %v", r)
		}
		if m := second.reply().GetMessage(); m.GetSeq() != 1 { // it was not acknowledged
			t.Errorf("got %v", m)
		}
		if code, said := first.end(); code != protocol.TakenOver.Close || leavingIn(said) != "taken_over" {
			t.Errorf("the older ended with %d after %v", code, said)
		}
		second.text(`{"ack":{"topic":"public/1","seq":1}}`)
		second.alive()
		third, r := greet(t, s, "ada", `"device":"phone"`)
		if !r.GetConnected().GetResumed() {
			t.Errorf("by device: %v", r)
		}
		third.alive() // nothing came: it was acknowledged
		if code, _ := second.end(); code != protocol.TakenOver.Close {
			t.Errorf("the second ended with %d", code)
		}
		_, r = greet(t, s, "eve", fmt.Sprintf(`"session":%q`, c.GetSession()))
		if r.GetConnected().GetResumed() {
			t.Errorf("another user: %v", r)
		}
		third.alive()
		_, r = greet(t, s, "ada", `"device":"phone","clean":true`)
		if r.GetConnected().GetResumed() || len(r.GetConnected().GetSubscriptions()) > 0 {
			t.Errorf("clean: %v", r)
		}
	})
}

// The messages of a frame are answered in an order one can rely on: connect
// first, a subscription before what it brings.
func TestOrderOfAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		w := dial(t, handshake(start(t), "ada"))
		w.text(`[{"id":1,"connect":{"device":"d","subscriptions":[{"topic":"public/2","qos":1}]}},` +
			`{"id":2,"subscribe":{"topic":"public/1","qos":1}},{"id":3,"publish":{"topic":"public/1","payload":1}},` +
			`{"id":4,"subscribe":{"topic":"public/+","qos":1}},{"id":5,"presence":{"topic":"public/1"}}]`)
		seen := make(map[uint64]int)
		var message int
		for at := 1; len(seen) < 5 || message == 0; at++ {
			r := w.reply()
			if r.GetError() != nil {
				t.Fatalf("got %v", r)
			}
			if r.GetMessage() != nil {
				message = at
			} else {
				seen[r.GetId()] = at
			}
		}
		if seen[1] != 1 || seen[2] > seen[4] || message < seen[2] || seen[5] < seen[4] {
			t.Errorf("answers came at %v, the message at %d", seen, message)
		}
	})
}

// Receipts: who has got how far, to those who asked.
func TestReceiptsOnTheWire(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, kept())
		watcher, _ := greet(t, s, "ada", `"subscriptions":[{"topic":"public/r/#","receipts":true}]`)
		reader, _ := greet(t, s, "bob", `"subscriptions":[{"topic":"public/r/1","qos":1,"receipts":true}]`)
		reader.ask(`"publish":{"topic":"public/r/1","payload":1}`)
		for {
			if r := watcher.reply(); r.GetMessage() != nil {
				break
			}
		}
		reader.text(`{"ack":{"topic":"public/r/1","seq":1}}`)
		if r := watcher.reply().GetReceipt(); r.GetUser() != "bob" || r.GetDelivered() != 1 || r.GetRead() != 0 || r.GetEpoch() == "" {
			t.Errorf("delivered: %v", r)
		}
		if r := reader.ask(`"read":{"topic":"public/r/1","seq":1}`).GetReceipt(); r.GetRead() != 1 {
			t.Errorf("read: %v", r)
		}
		if r := watcher.reply().GetReceipt(); r.GetRead() != 1 {
			t.Errorf("read: %v", r)
		}
		reader.alive() // and was not told what it did itself
		if l := reader.ask(`"receipts":{"topic":"public/r/1"}`).GetReceipts(); len(l.GetReceipts()) != 1 || l.GetReceipts()[0].GetRead() != 1 {
			t.Errorf("the list: %v", l)
		}
		for command, code := range map[string]string{
			`"receipts":{"topic":"public/1"}`: "not_found", `"receipts":{"topic":"secret"}`: "forbidden", `"receipts":{"topic":"public/r/#"}`: "bad_request",
			`"read":{"topic":"secret","seq":1}`: "forbidden", `"read":{"topic":"public/1","seq":1}`: "not_found",
		} {
			if e := watcher.ask(command).GetError(); e.GetCode() != code {
				t.Errorf("%s: %v", command, e)
			}
		}
		watcher.text(`{"read":{"topic":"public/1","seq":1}}`) // nobody waits for it
		watcher.alive()
	})
}
