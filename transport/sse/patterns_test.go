package sse_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
)

// collect reads messages until one with the given text.
func (r *reader) collect(last string) (got []string) {
	r.t.Helper()
	for {
		text := fmt.Sprint(r.next().message(r.t).Payload)
		if got = append(got, text); text == last {
			return got
		}
	}
}

// A pattern goes on too, with the topics it has had messages of and with those
// that came to be meanwhile; and topics that were asked for by name beside it come
// once.
func TestPatternsGoOn(t *testing.T) {
	s := serve(t)
	topics := []string{"public/news/#", "public/a", "public/+/sport"}
	s.publish("public/news/old", "before anybody listened")
	r := s.listen(query(topics))
	for round := range 4 {
		s.publish("public/news/uk", fmt.Sprint("uk live ", round))
		r.expect("public/news/uk", fmt.Sprint("uk live ", round))
		r.close()
		s.eventually("the stream is still there", func(s parley.Stats) bool { return s.Open == 0 })
		for _, name := range []string{"public/news/uk", "public/news/sport", "public/a", fmt.Sprint("public/news/", round), "public/else"} {
			s.publish(name, fmt.Sprint(name, " missed ", round))
		}
		s.publish("public/news/old", fmt.Sprint("old missed ", round))
		r = s.listen(query(topics), "Last-Event-ID", r.lastID)
		if !strings.Contains(r.first.data, `"resumed":true`) {
			t.Error(r.first.data)
		}
		want := map[string]bool{fmt.Sprint("old missed ", round): true}
		for _, name := range []string{"public/news/uk", "public/news/sport", "public/a", fmt.Sprint("public/news/", round)} {
			want[fmt.Sprint(name, " missed ", round)] = true
		}
		for len(want) > 0 {
			text := fmt.Sprint(r.next().message(t).Payload)
			if !want[text] {
				t.Fatalf("round %d: %q came, missing are %v", round, text, want)
			}
			delete(want, text)
		}
	}
	s.publish("public/news/uk", "end")
	if got := r.collect("end"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// While a client comes and goes, and others publish on more and more topics,
// each topic's messages come once and in order.
func TestPatternsUnderLoad(t *testing.T) {
	const topics, each = 40, 25
	s := serve(t, parley.WithTopic("public/#", parley.TopicSettings{History: each + 1, HistoryAge: time.Hour}))
	id := s.listen("?topic=public/%23").lastID
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range each {
			for n := range topics {
				s.publish(fmt.Sprint("public/", (n+i)%topics), i)
			}
		}
	}()
	next := map[string]float64{}
	count := func(topic string, payload any) {
		t.Helper()
		if payload != next[topic] {
			t.Fatalf("%s: %v came, not %v", topic, payload, next[topic])
		}
		next[topic]++
	}
	for total, turn := 0, 0; total < topics*each; turn++ {
		if turn%3 == 2 {
			a := s.poll("?topic=public/%23&timeout=100ms&last_event_id=" + id)
			for _, m := range a.Messages {
				count(m.Topic, m.Payload)
				total++
			}
			id = a.ID
			if len(a.Events) > 0 {
				t.Fatal(a.Events)
			}
			continue
		}
		r := s.listen("?topic=public/%23", "Last-Event-ID", id)
		for range min(1+turn*7%50, topics*each-total) {
			m := r.next().message(t)
			count(m.Topic, m.Payload)
			total++
		}
		id = r.lastID
		r.close()
	}
	<-done
	if len(id) > 700 {
		t.Errorf("an id of %d bytes", len(id))
	}
}

// What comes live while it is also read from the history comes once.
func TestPatternsBetweenHistoryAndLive(t *testing.T) {
	s := serve(t, parley.WithTopic("public/#", parley.TopicSettings{History: 1 << 20, HistoryAge: time.Hour}))
	id := s.listen("?topic=public/%23").lastID
	s.publish("public/a", 0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.publish("public/a", i)
			}
		}
	}()
	for seq, turn := uint64(0), 0; turn < 25; turn++ {
		r := s.listen("?topic=public/%23", "Last-Event-ID", id)
		for n, end := 0, time.Now().Add(20*time.Millisecond); n < 10 || time.Now().Before(end); n++ {
			m := r.next().message(t)
			if seq++; m.Seq != seq {
				t.Fatalf("turn %d: %d follows %d", turn, m.Seq, seq-1)
			}
		}
		id = r.lastID
		r.close()
	}
	close(stop)
	<-stopped
}

// What a topic of a pattern keeps no more is told.
func TestGapsOfPatterns(t *testing.T) {
	s := serve(t, parley.WithTopic("public/short/+", parley.TopicSettings{History: 2, HistoryAge: time.Hour}))
	r := s.listen("?topic=public/short/%2B")
	s.publish("public/short/a", "seen")
	r.expect("public/short/a", "seen")
	r.close()
	for i := range 4 {
		s.publish("public/short/a", i)
		s.publish("public/short/b", i)
	}
	r = s.listen("?topic=public/short/%2B", "Last-Event-ID", r.lastID)
	gaps := ""
	for range 4 {
		if e := r.next(); e.name == "gap" {
			gaps += e.data
		}
	}
	if !strings.Contains(gaps, "public/short/a") || !strings.Contains(gaps, "public/short/b") {
		t.Error(gaps)
	}
}

// An engine that has begun anew knows nothing of an older id.
func TestPatternsAfterARestart(t *testing.T) {
	s := serve(t)
	for range 50 {
		s.publish("public/a", "x")
	}
	id := s.listen("?topic=public/%23").lastID
	if err := s.Live.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	s = serve(t)
	r := s.listen("?topic=public/%23", "Last-Event-ID", id)
	if e := r.next(); e.name != "gap" || !strings.Contains(e.data, "public/#") {
		t.Errorf("%+v", e)
	}
	s.publish("public/a", "new")
	r.expect("public/a", "new")
}

func TestPollingPatterns(t *testing.T) {
	s := serve(t)
	a := s.poll("?topic=public/%23&timeout=0s")
	s.publish("public/a", "one")
	s.publish("public/b", "two")
	if a = s.poll("?topic=public/%23&timeout=5s&last_event_id=" + a.ID); len(a.Messages) != 2 {
		t.Fatalf("%+v", a)
	}
	s.publish("public/c", "three")
	if a = s.poll("?topic=public/%23&timeout=5s&last_event_id=" + a.ID); texts(a) != "three" {
		t.Errorf("%+v", a)
	}
}
