package websocket_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/hub"
)

// A receiver that reads nothing while more is published than fits anywhere
// stays connected when the topic's settings say so; when it reads again it gets
// what it is to get, in order, and is told of all the rest.
func TestReceiversThatAreBehind(t *testing.T) {
	const messages, last = 1500, "the last"
	for _, pressure := range []parley.Pressure{parley.PressureDropOldest, parley.PressureLatest, parley.PressureSample} {
		t.Run(pressure.String(), func(t *testing.T) {
			onEach(t, func(t *testing.T, start starter) {
				s := start(t,
					parley.WithTopic("public/#", parley.TopicSettings{Pressure: pressure, SampleEvery: 10 * time.Millisecond}),
					parley.WithLimits(parley.Limits{QueueBytes: 256 << 10}))
				w := open(t, s, "ann")
				w.text(`{"id":2,"subscribe":{"topic":"public/x"}}`)
				w.reply()
				w.text(`{"id":3,"ping":{}}`) // answered when the subscription is live: until then too much makes a gap
				w.reply()
				padding := strings.Repeat("x", 16<<10)
				publish := func(text, key string) {
					t.Helper()
					if _, err := s.Live.Publish(context.Background(), "public/x", "t", text, parley.Header("key", key)); err != nil {
						t.Fatal(err)
					}
				}
				for i := range messages {
					publish(padding, fmt.Sprint(i%3))
				}
				publish(last, "0")
				got, skipped, seq := 0, uint64(0), uint64(0)
				for {
					r := w.reply()
					if gone := r.GetSkipped(); gone != nil {
						if gone.GetTopic() != "public/x" || gone.GetSeq() != seq+gone.GetCount() {
							t.Fatalf("%v after %d", gone, seq)
						}
						skipped += gone.GetCount()
						seq = gone.GetSeq()
						continue
					}
					m := r.GetMessage()
					if m.GetSeq() != seq+1 {
						t.Fatalf("%d follows %d, and nothing was said of what is between: %v", m.GetSeq(), seq, r)
					}
					got, seq = got+1, m.GetSeq()
					if string(m.GetPayload()) == `"`+last+`"` {
						break
					}
				}
				if skipped == 0 || uint64(got)+skipped != messages+1 {
					t.Errorf("%d came, %d were skipped, of %d", got, skipped, messages+1)
				}
			})
		})
	}
}

// Without a policy such a receiver is cut, as ever.
func TestReceiversThatAreBehindAreCut(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithTopic("public/#", parley.TopicSettings{BatchDelay: time.Millisecond}), parley.WithLimits(parley.Limits{QueueBytes: 256 << 10}))
		w := open(t, s, "ann")
		w.text(`{"id":2,"subscribe":{"topic":"public/x"}}`)
		w.reply()
		padding := strings.Repeat("x", 16<<10)
		for range 1500 {
			if _, err := s.Live.Publish(context.Background(), "public/x", "t", padding); err != nil {
				t.Fatal(err)
			}
		}
		if code, _ := w.end(); code != 0 && code != 4005 && code < 1008 {
			t.Errorf("closed with %d", code)
		}
	})
}

// What a topic lets wait comes after the delay or when enough waits, in order
// with everything else.
func TestBatches(t *testing.T) {
	onEach(t, func(t *testing.T, start starter) {
		s := start(t, parley.WithTopic("public/slow", parley.TopicSettings{BatchDelay: 150 * time.Millisecond}),
			parley.WithTopic("public/full", parley.TopicSettings{BatchDelay: 10 * time.Second, BatchBytes: 1000}))
		w := open(t, s, "ann")
		for i, name := range []string{"slow", "full"} {
			w.text(fmt.Sprintf(`{"id":%d,"subscribe":{"topic":"public/%s"}}`, i+2, name))
			w.reply()
		}
		publish := func(name, text string) {
			t.Helper()
			if _, err := s.Live.Publish(context.Background(), "public/"+name, "t", text); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(text string) {
			t.Helper()
			if m := w.reply().GetMessage(); string(m.GetPayload()) != `"`+text+`"` {
				t.Fatalf("%q came, not %q", m.GetPayload(), text)
			}
		}
		publish("slow", "one")
		publish("slow", "two")
		expect("one")
		expect("two")
		began := time.Now()
		for i := range 20 {
			publish("full", fmt.Sprint(i, strings.Repeat(".", 100)))
		}
		for i := range 8 {
			expect(fmt.Sprint(i, strings.Repeat(".", 100)))
		}
		publish("full", "rest")
		w.text(`{"id":9,"ping":{}}`) // an answer does not wait, nor what is before it
		for n := 9; ; n++ {
			r := w.reply()
			if r.GetPong() != nil {
				break
			}
			if n > 21 {
				t.Fatal("the answer came last")
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a full batch waited %v", took)
		}
	})
}

// Receivers of a topic that spills read nothing while more is published than
// fits anywhere. They stay, cost no goroutine, and get all of it in order when
// they read again, and then what comes live.
func TestReceiversThatSpill(t *testing.T) {
	const messages, receivers = 350, 5
	onEach(t, func(t *testing.T, start starter) {
		s := start(t,
			parley.WithTopic("public/#", parley.TopicSettings{Pressure: hub.PressureSpill, History: 5000, HistoryAge: time.Hour}),
			parley.WithLimits(parley.Limits{QueueBytes: 256 << 10}))
		stuck := make([]*wire, receivers)
		for i := range stuck {
			stuck[i] = open(t, s, "ann")
			stuck[i].text(`{"id":2,"subscribe":{"topic":"public/x"}}`)
			stuck[i].reply()
		}
		before := runtime.NumGoroutine()
		padding := strings.Repeat("x", 32<<10)
		for range messages {
			if _, err := s.Live.Publish(context.Background(), "public/x", "t", padding); err != nil {
				t.Fatal(err)
			}
		}
		look, late := time.NewTicker(10*time.Millisecond), time.After(patience)
		defer look.Stop()
		for runtime.NumGoroutine() > before+receivers { // without event loops, one writes for each
			select {
			case <-look.C:
			case <-late:
				t.Fatalf("%d goroutines while nobody reads, %d before", runtime.NumGoroutine(), before)
			}
		}
		for _, w := range stuck {
			for seq := range uint64(messages) {
				if m := w.reply().GetMessage(); m.GetSeq() != seq+1 || m.GetPrev() != seq {
					t.Fatalf("message %d came, after %d; not %d", m.GetSeq(), m.GetPrev(), seq+1)
				}
			}
		}
		if _, err := s.Live.Publish(context.Background(), "public/x", "t", "live"); err != nil {
			t.Fatal(err)
		}
		for _, w := range stuck {
			if m := w.reply().GetMessage(); m.GetSeq() != messages+1 || m.GetPrev() != messages {
				t.Errorf("%v came, not the live message", m)
			}
		}
	})
}
