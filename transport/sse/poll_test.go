package sse_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
)

func texts(a answer) string {
	var out []string
	for _, m := range a.Messages {
		out = append(out, fmt.Sprint(m.Payload))
	}
	return strings.Join(out, " ")
}

// An answer comes as soon as there is something, and the id of one asks for
// what comes after.
func TestPoll(t *testing.T) {
	s := serve(t)
	topics := []string{"public/a", "public/b"}
	got := make(chan answer, 1)
	go func() { got <- s.poll(query(topics)) }()
	s.eventually("the poll is not there", func(s parley.Stats) bool { return s.Open == 1 })
	s.publish("public/b", "first")
	a := <-got
	if texts(a) != "first" || a.Messages[0].Topic != "public/b" {
		t.Fatalf("%+v", a)
	}
	s.publish("public/a", "second")
	s.publish("public/b", "third")
	for range 2 { // as often as it is asked for
		if b := s.poll(query(topics, "last_event_id", a.ID)); len(b.Messages) != 2 || !strings.Contains(texts(b), "second") || !strings.Contains(texts(b), "third") {
			t.Errorf("%+v", b)
		}
	}
	b := s.poll(query(topics, "timeout", "0s"), "Last-Event-ID", a.ID)
	if len(b.Messages) != 2 {
		t.Errorf("%+v", b)
	}
	began := time.Now()
	if c := s.poll(query(topics, "last_event_id", b.ID, "timeout", "150ms")); len(c.Messages) != 0 || c.ID != b.ID || time.Since(began) < 150*time.Millisecond {
		t.Errorf("%+v after %v", c, time.Since(began))
	}
}

// A stream goes on where a poll was, and the other way round.
func TestPollsAndStreamsShareIDs(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a"}))
	r.close()
	s.publish("public/a", "one")
	a := s.poll(query([]string{"public/a"}, "last_event_id", r.lastID))
	if texts(a) != "one" {
		t.Fatalf("%+v", a)
	}
	s.publish("public/a", "two")
	s.listen(query([]string{"public/a"}), "Last-Event-ID", a.ID).expect("public/a", "two")
}

// A client that only ever polls misses nothing, however much there is.
func TestPollsLoseNothing(t *testing.T) {
	const messages = 700
	s := serve(t, parley.WithTopic("public/#", parley.TopicSettings{History: messages, HistoryAge: time.Hour}), parley.WithLimits(parley.Limits{QueueBytes: 256 << 10}))
	id := s.poll(query([]string{"public/a"}, "timeout", "0s")).ID
	begin := id
	done := make(chan struct{})
	go func() {
		defer close(done)
		padding := strings.Repeat("x", 3000)
		for i := range messages {
			s.publish("public/a", fmt.Sprint(i, padding))
		}
	}()
	polls := 0
	for next := uint64(1); next <= messages; polls++ {
		a := s.poll(query([]string{"public/a"}, "last_event_id", id, "timeout", "5s"))
		id = a.ID
		for _, m := range a.Messages {
			if m.Seq != next {
				t.Fatalf("%d came, not %d", m.Seq, next)
			}
			next++
		}
		if len(a.Events) > 0 {
			t.Fatalf("%+v", a.Events)
		}
	}
	<-done
	t.Logf("%d messages with %d polls", messages, polls)
	if a := s.poll(query([]string{"public/a"}, "last_event_id", begin)); len(a.Messages) < 50 || len(a.Messages) > 300 {
		t.Errorf("%d messages in one answer", len(a.Messages))
	}
}

func TestPollGap(t *testing.T) {
	s := serve(t, parley.WithTopic("public/#", parley.TopicSettings{History: 1, HistoryAge: time.Hour}))
	id := s.poll(query([]string{"public/a"}, "timeout", "0s")).ID
	for i := range 3 {
		s.publish("public/a", i)
	}
	a := s.poll(query([]string{"public/a"}, "last_event_id", id))
	if len(a.Events) != 1 || a.Events[0]["gap"] == nil || len(a.Messages) != 0 {
		t.Fatalf("%+v", a)
	}
	s.publish("public/a", "after")
	if b := s.poll(query([]string{"public/a"}, "last_event_id", a.ID)); texts(b) != "after" || len(b.Events) != 0 {
		t.Errorf("%+v", b)
	}
}
