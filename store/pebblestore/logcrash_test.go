package pebblestore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// crash is a log that is written until the power is cut, again and again.
type crash struct {
	tb     testing.TB
	rng    *rand.Rand
	fs     *vfs.MemFS
	db     *DB
	names  []string
	mark   uint64
	under  sync.WaitGroup // appends that are not answered
	mu     sync.Mutex     // guards acked of the topics
	topics map[string]*crashTopic
}

// crashTopic is what was given to one topic.
type crashTopic struct {
	sent    []*message.Message // by seq, from 1
	acked   uint64             // up to there everything was said to be on the disk
	trimmed uint64             // up to there something was told to be forgotten
}

// Power is cut at random moments while messages of several topics are appended
// together, trimmed, flushed and compacted. What was acknowledged is there, each
// topic has a beginning of what was given to it, and keys, producers and last
// values are those of just these messages.
func TestLogSurvivesPowerCuts(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		c := &crash{
			tb: t, rng: rand.New(rand.NewPCG(uint64(seed), 7)), fs: vfs.NewCrashableMem(),
			names: []string{"a", "a/1", "b/1", "$dead/b"}, topics: map[string]*crashTopic{},
		}
		for _, name := range c.names {
			c.topics[name] = &crashTopic{}
		}
		c.db = openModel(t, c.fs)
		for range 3 {
			for range c.rng.IntN(400) {
				c.step()
			}
			c.cut()
		}
		shut(t, c.db)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func (c *crash) step() {
	switch n := c.rng.IntN(100); {
	case n < 88:
		c.append(c.rng.IntN(10) > 0)
	case n < 92:
		c.trim()
	case n < 94:
		if err := c.db.pebble.Flush(); err != nil {
			c.tb.Error(err)
		}
	case n < 95:
		if err := c.db.pebble.Compact(c.tb.Context(), []byte("a"), []byte("z"), false); err != nil {
			c.tb.Error(err)
		}
	default:
		c.under.Wait()
	}
}

// append gives a few messages of some topics to the log, and does not wait.
func (c *crash) append(sync bool) {
	var entries []store.Entry
	upTo := map[string]uint64{}
	for range 1 + c.rng.IntN(8) {
		name := c.names[c.rng.IntN(len(c.names))]
		e := c.entry(name)
		entries = append(entries, e)
		upTo[name] = e.Message.Seq
	}
	c.under.Add(1)
	c.db.Log().Append(entries, sync, func(err error) {
		defer c.under.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.tb.Errorf("append: %v", err)
		}
		for name, seq := range upTo {
			if sync {
				c.topics[name].acked = max(c.topics[name].acked, seq)
			}
		}
	})
}

func (c *crash) entry(name string) store.Entry {
	t := c.topics[name]
	seq := uint64(len(t.sent) + 1)
	c.mark++
	m := &message.Message{
		ID: fmt.Sprint("id", c.mark), Topic: name, Epoch: "e-" + name, Seq: seq, Prev: seq - 1, Mark: c.mark, Time: int64(c.mark),
		From: "ada", Payload: fmt.Appendf(nil, "%d:%0*d", c.mark, 1+c.rng.IntN(3000), 0),
	}
	e := store.Entry{Message: m}
	if c.rng.IntN(3) == 0 {
		m.Key, e.KeyUntil = fmt.Sprint("k", seq), 1<<50
	}
	if c.rng.IntN(2) == 0 {
		m.Producer, m.ProducerEpoch, m.N = fmt.Sprint("p", c.rng.IntN(3)), 1, seq
	}
	m.Retain = c.rng.IntN(5) == 0
	e.Retain = m.Retain
	if c.rng.IntN(20) == 0 {
		e.Keep = &store.Keep{Count: seq}
	}
	t.sent = append(t.sent, m)
	return e
}

func (c *crash) trim() {
	name := c.names[c.rng.IntN(len(c.names))]
	h, err := c.db.Log().Trim(c.tb.Context(), topic.Name(name), store.Trim{Count: 1 + c.rng.Uint64N(50)})
	if err != nil {
		c.tb.Error(err)
	}
	if h.Last > 0 {
		c.topics[name].trimmed = max(c.topics[name].trimmed, h.First-1)
	}
}

// cut cuts the power, and goes on with what the next process finds.
func (c *crash) cut() {
	if c.rng.IntN(3) == 0 {
		c.under.Wait()
	}
	acked := map[string]uint64{}
	c.mu.Lock()
	for name, t := range c.topics {
		acked[name] = t.acked
	}
	c.mu.Unlock()
	after := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	c.under.Wait()
	shut(c.tb, c.db)
	c.fs = after
	c.db = openModel(c.tb, after)
	for name, t := range c.topics {
		c.check(name, t, acked[name])
	}
}

// check holds what a topic has against what was given to it, and takes it over.
func (c *crash) check(name string, t *crashTopic, acked uint64) {
	heads, err := c.db.Log().Topics(c.tb.Context(), topic.Filter(name), store.TopicQuery{})
	if err != nil {
		c.tb.Fatalf("%s: %v", name, err)
	}
	var h store.Head
	if len(heads) > 0 {
		h = heads[0]
	}
	if h.Last < acked || h.Last > uint64(len(t.sent)) || len(heads) > 0 && h.First > t.trimmed+1 {
		c.tb.Fatalf("%s has %d to %d; %d were sent, up to %d acknowledged, up to %d trimmed", name, h.First, h.Last, len(t.sent), acked, t.trimmed)
	}
	t.sent = t.sent[:h.Last]
	t.acked = min(h.Last, t.acked)
	r, err := c.db.Log().Read(c.tb.Context(), topic.Name(name), store.Range{})
	if err != nil || r.Damaged || uint64(len(r.Messages)) != h.Last-max(h.First, 1)+1 {
		c.tb.Fatalf("%s: %d messages from %d to %d, damaged %v, %v", name, len(r.Messages), h.First, h.Last, r.Damaged, err)
	}
	for i, m := range r.Messages {
		if want := t.sent[h.First-1+uint64(i)]; m.Seq != want.Seq || !bytes.Equal(m.Payload, want.Payload) || m.Mark != want.Mark || m.Epoch != want.Epoch {
			c.tb.Fatalf("%s: message %d is %v, was %v", name, i, m, want)
		}
	}
	c.checkPublishers(name, t)
	c.checkRetained(name, t)
}

func (c *crash) checkPublishers(name string, t *crashTopic) {
	p, err := c.db.Log().Recall(c.tb.Context(), topic.Name(name), 1<<20)
	if err != nil {
		c.tb.Fatal(err)
	}
	keys, producers := map[uint64]string{}, map[string]uint64{}
	for _, m := range t.sent {
		if m.Key != "" {
			keys[m.Seq] = m.Key
		}
		if m.Producer != "" {
			producers[m.Producer] = m.N
		}
	}
	for _, k := range p.Keys {
		if keys[k.Seq] != k.Key {
			c.tb.Errorf("%s: the key of %d is %s, was %s", name, k.Seq, k.Key, keys[k.Seq])
		}
	}
	for _, r := range p.Producers {
		if producers[r.Producer] != r.N || r.Seq != r.N {
			c.tb.Errorf("%s: the producer %s is at %d, was at %d", name, r.Producer, r.N, producers[r.Producer])
		}
	}
	if len(p.Keys) != len(keys) || len(p.Producers) != len(producers) {
		c.tb.Errorf("%s: %d keys and %d producers, there were %d and %d", name, len(p.Keys), len(p.Producers), len(keys), len(producers))
	}
}

func (c *crash) checkRetained(name string, t *crashTopic) {
	var want *message.Message
	for _, m := range t.sent {
		if m.Retain {
			want = m
		}
	}
	got, err := c.db.Log().Retained(c.tb.Context(), topic.Filter(name))
	if err != nil || (want == nil) != (len(got) == 0) || want != nil && (got[0].Seq != want.Seq || !bytes.Equal(got[0].Payload, want.Payload)) {
		c.tb.Errorf("%s: the last value is %v, was %v; %v", name, got, want, err)
	}
}
