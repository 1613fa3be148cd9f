package parley_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// message returns the next message.
func (c client) message() *parleyv1.Message {
	return c.Until("a message", func(r *parleyv1.Reply) bool { return r.GetMessage() != nil }).GetMessage()
}

// Two workers share jobs over connections; one is cut off, and one job cannot
// be done by anybody.
func TestWorkersShare(t *testing.T) {
	live := onDisk(t, t.TempDir())
	s := parleytest.Serve(t, live)
	publish := func(text string) {
		_, err := live.Publish(t.Context(), "public/d/jobs", "job", text)
		must(t, err)
	}
	ann, _ := dialAs(s, "ann", &parleyv1.Connect{})
	bob, _ := dialAs(s, "bob", &parleyv1.Connect{})
	const shared = "$share/workers/public/d/#"
	for _, c := range []client{ann, bob} {
		if got := c.subscribe(&parleyv1.Subscribe{Topic: shared, Qos: 1}); got.GetTopic() != shared || got.GetQos() != 1 {
			t.Fatalf("subscribed: %v", got)
		}
	}
	for i := range 4 {
		publish(fmt.Sprint(i))
	}
	given := map[string]bool{}
	for _, c := range []client{ann, bob} {
		for range 2 {
			m := c.message()
			if m.GetShare() != "workers" || m.GetAttempt() != 0 {
				t.Errorf("%v", m)
			}
			given[string(m.GetPayload())] = true
		}
	}
	if len(given) != 4 {
		t.Errorf("given were %v", given)
	}
	ann.Drop()
	for range 2 {
		m := bob.message()
		if m.GetAttempt() != 1 {
			t.Errorf("of the one who was cut off came %v", m)
		}
	}
	bob.Send(`{"ack":{"topic":"public/d/jobs","seq":4,"share":"workers"}}`)
	publish("poison")
	for i := range 5 {
		m := bob.message()
		if m.GetSeq() != 5 || int(m.GetAttempt()) != i {
			t.Fatalf("instead of attempt %d: %v", i, m)
		}
		bob.Send(`{"ack":{"topic":"public/d/jobs","seq":5,"share":"workers","failed":true}}`)
	}
	publish("good")
	if m := bob.message(); m.GetSeq() != 6 {
		t.Errorf("after the dead letter comes %v", m)
	}
	r := bob.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "$dead/workers/public/d/jobs"}}})
	if r.GetError().GetCode() != "forbidden" {
		t.Errorf("who does not manage the topic reads its dead letters: %v", r)
	}
	look, late := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer look.Stop()
	for {
		letters, err := live.History(t.Context(), "$dead/workers/public/d/jobs", parley.Query{Limit: 10})
		must(t, err)
		if n := len(letters.Messages); n == 1 && string(letters.Messages[0].Payload) == `"poison"` && letters.Messages[0].Headers["dead-seq"] == "5" {
			return
		} else if n > 0 {
			t.Fatalf("dead letters: %+v", letters.Messages)
		}
		select {
		case <-look.C:
		case <-late:
			t.Fatal("there is no dead letter")
		}
	}
}
