package hub_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
)

// TestRecentAgainstAModel reads parts of logs into a small Recent while they
// grow. What it returns is what the log has, without a hole.
func TestRecentAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const room = 20_000
		r := hub.NewRecent(room)
		logs := make(map[string][]*hub.Delivery)
		name := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				topic := name.Draw(t, "topic")
				n := uint64(len(logs[topic]))
				m := &message.Message{Topic: topic, Epoch: "e", Seq: n + 1, Prev: n, Payload: make([]byte, rapid.IntRange(0, 500).Draw(t, "size"))}
				d := &hub.Delivery{Message: m}
				logs[topic] = append(logs[topic], d)
				if rapid.IntRange(0, 9).Draw(t, "missed") > 0 {
					r.Extend(topic, "e", n, func() *hub.Delivery { return d })
				}
			},
			"read": func(t *rapid.T) {
				topic := name.Draw(t, "topic")
				log := logs[topic]
				after := rapid.Uint64Range(0, uint64(len(log))).Draw(t, "after")
				to := rapid.Uint64Range(after, uint64(len(log))).Draw(t, "to")
				r.Add(topic, "e", after, to, log[after:to])
			},
			"": func(t *rapid.T) {
				topic := name.Draw(t, "topic")
				log := logs[topic]
				after := rapid.Uint64Range(0, uint64(len(log))).Draw(t, "after")
				limit := rapid.IntRange(1, 5).Draw(t, "limit")
				if _, _, ok := r.After(topic, "another", after, limit); ok {
					t.Fatal("another history is held")
				}
				part, to, ok := r.After(topic, "e", after, limit)
				if !ok {
					return
				}
				if to <= after || to > uint64(len(log)) || len(part) > limit || !slices.Equal(part, log[after:to]) {
					t.Fatalf("%s after %d of %d: %d deliveries, up to %d", topic, after, len(log), len(part), to)
				}
			},
		})
	})
}

// A part that is read again and again stays, and what is held stays bounded.
func TestRecentForgets(t *testing.T) {
	r := hub.NewRecent(100_000)
	part := func(topic string) []*hub.Delivery {
		return []*hub.Delivery{{Message: &message.Message{Topic: topic, Epoch: "e", Seq: 1, Payload: make([]byte, 1000)}}}
	}
	r.Add("hot", "e", 0, 1, part("hot"))
	held := 0
	for i := range 1000 {
		if _, _, ok := r.After("hot", "e", 0, 1); !ok {
			t.Fatal("what is always read is gone")
		}
		r.Add(fmt.Sprint(i), "e", 0, 1, part(fmt.Sprint(i)))
	}
	for i := range 1000 {
		if _, _, ok := r.After(fmt.Sprint(i), "e", 0, 1); ok {
			held++
		}
	}
	if held == 0 || held > 30 {
		t.Errorf("%d topics are held", held)
	}
}
