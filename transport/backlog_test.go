package transport

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
)

// receiver is one that takes a backlog's frames and checks what it is sent.
type receiver struct {
	t    *rapid.T
	last map[string]uint64 // seq of each topic's newest
	lost map[string]Lost   // told and not yet followed by a message
	told map[string]uint64
	got  map[string][]uint64
}

// Whatever is published on whichever topics, and however slowly it is taken:
// each topic's messages come in order; every one is either taken or told to be
// lost, before the next of its topic; the newest always comes; of a key at most
// one waits, of an interval at most one; and the bound holds.
func TestBacklog(t *testing.T) {
	shapes := map[string]*hub.Shape{
		"drop":    {Pressure: hub.PressureDropOldest},
		"drop/2":  {Pressure: hub.PressureDropOldest},
		"latest":  {Pressure: hub.PressureLatest, Header: "key"},
		"sample":  {Pressure: hub.PressureSample, Every: time.Second},
		"sample2": {Pressure: hub.PressureSample, Every: 3 * time.Second},
	}
	topics := []string{"drop", "drop/2", "latest", "sample", "sample2"}
	rapid.Check(t, func(t *rapid.T) {
		b := newBacklog[*[]byte](rapid.IntRange(2000, 20_000).Draw(t, "room"))
		now := time.Unix(1_800_000_000, 0)
		r := &receiver{t: t, last: map[string]uint64{}, told: map[string]uint64{}, got: map[string][]uint64{}, lost: map[string]Lost{}}
		published := map[string]uint64{}
		frames := map[*[]byte]*message.Message{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 5).Draw(t, "what") == 0 {
				r.drain(b, frames, rapid.IntRange(0, 20).Draw(t, "takes"))
				continue
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			name := rapid.SampledFrom(topics).Draw(t, "topic")
			published[name]++
			m := &message.Message{Topic: name, Seq: published[name], Headers: map[string]string{"key": rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")}}
			frame := make([]byte, rapid.IntRange(1, 900).Draw(t, "bytes"))
			frames[&frame] = m
			if !b.add(&hub.Delivery{Message: m, Shape: shapes[name]}, &frame, len(frame), now) {
				t.Fatal("not taken")
			}
			checkBacklog(t, b)
		}
		r.drain(b, frames, 1<<20)
		if !b.empty() || b.cost != 0 {
			t.Fatalf("drained, and %d topics with %d bytes wait", len(b.lanes), b.cost)
		}
		dropped := uint64(0)
		for name, n := range published {
			if r.told[name]+uint64(len(r.got[name])) != n {
				t.Fatalf("%s: %d published, %d came, %d are told to be lost", name, n, len(r.got[name]), r.told[name])
			}
			if r.last[name] != n {
				t.Fatalf("%s: the receiver knows of %d, %d is the newest", name, r.last[name], n)
			}
			dropped += r.told[name]
		}
		for _, n := range b.dropped {
			dropped -= n
		}
		if dropped != 0 {
			t.Fatal("what is counted is not what was told")
		}
	})
}

func (r *receiver) drain(b *backlog[*[]byte], frames map[*[]byte]*message.Message, takes int) {
	notices := map[*[]byte]func(){}
	b.drain(func(frame *[]byte, _ *hub.Shape) bool {
		if takes--; takes < 0 {
			return false
		}
		if noted := notices[frame]; noted != nil {
			noted()
			return true
		}
		m := frames[frame]
		if m.Seq != r.last[m.Topic]+1 {
			r.t.Fatalf("%s: %d follows %d, and nothing was said of what is between", m.Topic, m.Seq, r.last[m.Topic])
		}
		r.last[m.Topic] = m.Seq
		r.got[m.Topic] = append(r.got[m.Topic], m.Seq)
		return true
	}, func(topic string, what Lost) *[]byte {
		frame := []byte(fmt.Sprint(topic, what))
		notices[&frame] = func() {
			if what.Seq != r.last[topic]+what.Count {
				r.t.Fatalf("%s: %+v is told after %d", topic, what, r.last[topic])
			}
			r.last[topic] = what.Seq
			r.told[topic] += what.Count
		}
		return &frame
	})
}

func checkBacklog(t *rapid.T, b *backlog[*[]byte]) {
	cost, waits := 0, 0
	for _, l := range b.lanes {
		keys, slots := map[string]bool{}, map[int64]bool{}
		cost += topicCost
		for w := l.first; w != nil; w = w.next {
			waits++
			cost += w.cost()
			if w.shape.Pressure == hub.PressureLatest && keys[w.key] || w.shape.Pressure == hub.PressureSample && slots[w.slot] {
				t.Fatalf("%s: two of one key or interval wait", l.topic)
			}
			keys[w.key], slots[w.slot] = true, true
		}
	}
	if cost != b.cost || cost > b.room && waits > 0 {
		t.Fatalf("%d bytes wait, counted as %d, with room for %d", cost, b.cost, b.room)
	}
}

// The topics that wait for one receiver are bounded, too.
func TestBacklogOfVeryManyTopics(t *testing.T) {
	b := newBacklog[*[]byte](1 << 20)
	frame := make([]byte, 10)
	for i := range maxLanes + 1 {
		m := &message.Message{Topic: fmt.Sprintf("t/%d", i), Seq: 1}
		if taken := b.add(&hub.Delivery{Message: m, Shape: &hub.Shape{Pressure: hub.PressureDropOldest}}, &frame, len(frame), time.Time{}); taken != (i < maxLanes) {
			t.Fatalf("topic %d: %v", i, taken)
		}
	}
}
