package hub_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver counts for one owner; interest is one of its subscriptions.
type receiver struct {
	name string
	mu   sync.Mutex
	got  []uint64
}

type interest struct{ r *receiver }

func (i *interest) Deliver(d *hub.Delivery) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.got = append(i.r.got, d.Message.Seq)
}

func (i *interest) Owner() any { return i.r }

func (r *receiver) take() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.got
	r.got = nil
	return out
}

func delivery(name string, seq uint64) *hub.Delivery {
	return &hub.Delivery{Message: &message.Message{Topic: name, Seq: seq}}
}

// TestAgainstAModel drives the hub with random changes and holds every
// delivery against a plain list of who wants what.
func TestAgainstAModel(t *testing.T) {
	filters := []topic.Filter{"a", "b", "a/b", "a/+", "+", "#", "a/#", "$s/1", "$s/#", "+/b"}
	names := []topic.Name{"a", "b", "a/b", "a/c", "$s/1", "a/b/c"}
	rapid.Check(t, func(t *rapid.T) {
		h := hub.New()
		owners := make([]*receiver, 60)
		for i := range owners {
			owners[i] = &receiver{name: fmt.Sprint(i)}
		}
		wants := make(map[topic.Filter]map[*receiver]*interest)
		for _, f := range filters {
			wants[f] = make(map[*receiver]*interest)
		}
		var seq uint64
		t.Repeat(map[string]func(*rapid.T){
			"subscribe some": func(t *rapid.T) {
				f := rapid.SampledFrom(filters).Draw(t, "filter")
				for _, r := range rapid.SliceOfDistinct(rapid.SampledFrom(owners), rapid.ID).Draw(t, "owners") {
					if wants[f][r] != nil {
						continue
					}
					wants[f][r] = &interest{r}
					if first := h.Subscribe(f, wants[f][r]); first != (len(wants[f]) == 1) {
						t.Fatalf("%s: first %v with %d subscribers", f, first, len(wants[f]))
					}
				}
			},
			"unsubscribe some": func(t *rapid.T) {
				f := rapid.SampledFrom(filters).Draw(t, "filter")
				for _, r := range rapid.SliceOfDistinct(rapid.SampledFrom(owners), rapid.ID).Draw(t, "owners") {
					i := wants[f][r]
					delete(wants[f], r)
					if i == nil {
						i = &interest{r} // it was never there
					} else if last := h.Unsubscribe(f, i); last != (len(wants[f]) == 0) {
						t.Fatalf("%s: last %v with %d subscribers", f, last, len(wants[f]))
					}
					if h.Unsubscribe(f, i) {
						t.Fatalf("%s: somebody who was not there is the last", f)
					}
				}
			},
			"": func(t *rapid.T) {
				seq++
				name := rapid.SampledFrom(names).Draw(t, "name")
				expected := make(map[*receiver]bool)
				topics := 0
				for f, subs := range wants {
					if h.Subscribers(f) != len(subs) {
						t.Fatalf("%s has %d subscribers, want %d", f, h.Subscribers(f), len(subs))
					}
					if len(subs) > 0 {
						topics++
					}
					if f.Matches(name) {
						for r := range subs {
							expected[r] = true
						}
					}
				}
				if n := h.Deliver(name, delivery(string(name), seq)); n != len(expected) || h.Topics() != topics {
					t.Fatalf("%s: %d receivers of %d, %d filters of %d", name, n, len(expected), h.Topics(), topics)
				}
				for _, r := range owners {
					if got := r.take(); expected[r] != slices.Equal(got, []uint64{seq}) || !expected[r] && len(got) > 0 {
						t.Fatalf("%s: %s got %v, expected %v", name, r.name, got, expected[r])
					}
				}
			},
		})
	})
}

// TestOrderUnderChurn delivers while others come and go. Those who stay get
// everything, in order.
func TestOrderUnderChurn(t *testing.T) {
	const messages, topics, stay = 2000, 4, 40
	h := hub.New()
	var readers, writers sync.WaitGroup
	var stop atomic.Bool
	residents := make(map[*receiver]bool)
	for i := range topics * stay {
		r := &receiver{}
		residents[r] = true
		filter := topic.Filter(fmt.Sprint("t/", i%topics))
		if i%5 == 0 {
			filter = topic.Filter(fmt.Sprint("+/", i%topics))
		}
		h.Subscribe(filter, &interest{r})
	}
	for i := range 4 {
		readers.Go(func() {
			guests := make(map[topic.Filter]*interest)
			for n := 0; !stop.Load(); n++ {
				filter := topic.Filter([]string{"t/0", "t/1", "#", "+/2", "t/+"}[(n+i)%5])
				if g := guests[filter]; g != nil {
					h.Unsubscribe(filter, g)
					delete(guests, filter)
					continue
				}
				guests[filter] = &interest{&receiver{}}
				h.Subscribe(filter, guests[filter])
			}
			for filter, g := range guests {
				h.Unsubscribe(filter, g)
			}
		})
	}
	for i := range topics {
		writers.Go(func() {
			name := fmt.Sprint("t/", i)
			for seq := range messages {
				h.Deliver(topic.Name(name), delivery(name, uint64(seq+1)))
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	for r := range maps.Keys(residents) {
		got := r.take()
		if len(got) != messages || !slices.IsSorted(got) || got[0] != 1 || got[messages-1] != messages {
			t.Fatalf("a subscriber that stayed got %d messages", len(got))
		}
	}
}

// A room that ends must not cost the square of its people.
func TestManyLeaveAtOnce(t *testing.T) {
	const people = 100_000
	h := hub.New()
	all := make([]*interest, people)
	r := &receiver{}
	for i := range all {
		all[i] = &interest{r}
		h.Subscribe("room", all[i])
	}
	h.Deliver("room", delivery("room", 1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, i := range all[:people/2] {
		h.Unsubscribe("room", i)
	}
	runtime.ReadMemStats(&after)
	if copied := after.TotalAlloc - before.TotalAlloc; copied > 10<<20 {
		t.Errorf("%d bytes were copied while half of them left", copied)
	}
	for i, s := range all[people/2:] {
		if last := h.Unsubscribe("room", s); last != (i == people/2-1) {
			t.Fatalf("number %d is the last: %v", i, last)
		}
	}
	if h.Topics() != 0 {
		t.Error("the empty room is still there")
	}
}

// counter is a receiver that costs nothing.
type counter struct{ n atomic.Int64 }

func (c *counter) Deliver(*hub.Delivery) { c.n.Add(1) }
func (c *counter) Owner() any            { return c }

// TestFanOutAllocatesNothing per receiver, for exact topics and for patterns, also when
// one message matches several.
func TestFanOutAllocatesNothing(t *testing.T) {
	h := hub.New()
	for i := range 1000 {
		c := &counter{}
		h.Subscribe("a/b", c)
		if i%2 == 0 {
			h.Subscribe("a/+", c)
			h.Subscribe("#", c)
		}
	}
	for range 1000 {
		h.Subscribe("x", &counter{})
		h.Subscribe("y/+", &counter{})
	}
	for _, name := range []topic.Name{"a/b", "x", "y/1"} {
		d := delivery(string(name), 1)
		if n := testing.AllocsPerRun(10, func() { h.Deliver(name, d) }); n > 20 { // a few for the message, none for a receiver
			t.Errorf("%s: %v allocations for 1,000 receivers", name, n)
		}
	}
}

func BenchmarkFanOut(b *testing.B) {
	for _, receivers := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(receivers), func(b *testing.B) {
			h := hub.New()
			for range receivers {
				h.Subscribe("room", &counter{})
			}
			d := delivery("room", 1)
			b.ReportAllocs()
			for b.Loop() {
				h.Deliver("room", d)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(receivers), "ns/receiver")
		})
	}
}
