package pebblestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// A version is what a record was from the write of that number on; "" is nothing.
type version struct {
	write int
	state string
}

// model is what a database may hold: the versions of each record since the last
// crash, and the newest write that was said to be durable.
type model struct {
	t        *rapid.T
	tb       testing.TB
	fs       *vfs.MemFS
	db       *DB
	writes   int
	durable  atomic.Int64
	versions map[string][]version
	now      map[string]*store.Session // the sessions as they should be
	epoch    uint64
}

// Power is cut at random moments while sessions, receipts and groups are
// written. What was said to be durable is there, and what is there is how
// everything was after some write, never a mixture of earlier and later.
func TestStateSurvivesPowerCuts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, tb: t, fs: vfs.NewCrashableMem(), versions: map[string][]version{}, now: map[string]*store.Session{}}
		m.db = openModel(t, m.fs)
		defer func() { shut(t, m.db) }()
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			m.step()
		}
		m.cut()
	})
}

func openModel(tb testing.TB, fs vfs.FS) *DB {
	tb.Helper()
	db, err := Open("db", Options{fs: fs, Log: quiet(), MemTableBytes: 256 << 10, CacheBytes: 1 << 20, SyncEvery: time.Millisecond})
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

func (m *model) pick(what string, options ...string) string {
	return rapid.SampledFrom(options).Draw(m.t, what)
}

func (m *model) step() {
	id := m.pick("session", "s0", "s1", "s2")
	switch m.pick("step", "save", "save", "ack", "ack", "ack", "note", "delete", "receipt", "group", "ungroup", "epoch", "flush", "compact", "wait", "cut") {
	case "save":
		m.save(id)
	case "ack":
		m.ack(id)
	case "note":
		m.note(id)
	case "delete":
		delete(m.now, id)
		m.db.Sessions().Delete(id, m.write("session "+id, ""))
	case "receipt":
		user, n := m.pick("user", "u0", "u1", "u2"), rapid.Uint64Max(99).Draw(m.t, "delivered")
		m.write("receipt "+user, fmt.Sprint(n))
		m.db.Receipts().Advance([]store.Receipt{{Topic: "t", User: user, Delivered: n}})
	case "group":
		topic, n := m.pick("topic", "t0", "t1"), rapid.Uint64Max(99).Draw(m.t, "done")
		g := &store.Group{Name: "g", Topic: topic, Done: message.Position{Seq: n}, Beyond: []uint64{n + 2}}
		m.db.Groups().SaveGroup(g, m.write("group "+topic, fmt.Sprint(n)))
	case "ungroup": // one write, two records
		done := m.write("group t0", "")
		m.versions["group t1"] = append(m.versions["group t1"], version{m.writes, ""})
		m.db.Groups().DeleteGroup("g", done)
	case "epoch":
		n, err := m.db.Producers().NextEpoch(m.tb.Context(), "p")
		if err != nil || n <= m.epoch {
			m.t.Fatalf("epoch %d after %d: %v", n, m.epoch, err)
		}
		m.epoch = n
	case "flush":
		m.must(m.db.pebble.Flush())
	case "compact":
		m.must(m.db.pebble.Compact(m.tb.Context(), []byte("A"), []byte("z"), false))
	case "wait": // for the disk
		done := make(chan error, 1)
		m.db.write(func(err error) { done <- err }, func(b *pebble.Batch) { _ = b.LogData(nil, nil) })
		m.must(<-done)
	case "cut":
		m.cut()
	}
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// write notes that a record is another from now on, and returns the done
// function to write it with, or nil.
func (m *model) write(record, state string) func(error) {
	m.writes++
	n := int64(m.writes)
	m.versions[record] = append(m.versions[record], version{m.writes, state})
	if !rapid.Bool().Draw(m.t, "durable") {
		return nil
	}
	return func(err error) {
		if err == nil {
			m.durable.Store(max(n, m.durable.Load())) // calls come one after the other
		}
	}
}

func state(s *store.Session) string {
	if s == nil {
		return ""
	}
	c := *s
	c.Seen = c.Seen.UTC()
	return fmt.Sprintf("%+v", c) // maps in the order of their keys
}

func (m *model) save(id string) {
	s := &store.Session{
		ID: id, User: m.pick("user", "ada", "bob"), Seen: time.UnixMilli(rapid.Int64Range(0, 9).Draw(m.t, "seen")),
		Subscriptions: []store.Subscription{{Filter: "a", QoS: 1}, {Filter: "b/#", QoS: 2, Mark: rapid.Uint64().Draw(m.t, "mark")}},
	}
	m.now[id] = s
	m.db.Sessions().Save(s, m.write("session "+id, state(s)))
}

func (m *model) ack(id string) {
	filter := m.pick("filter", "a", "b/#", "none")
	at := message.Position{Epoch: "e", Seq: rapid.Uint64Max(99).Draw(m.t, "seq")}
	if s := m.now[id]; s != nil {
		for i := range s.Subscriptions {
			if s.Subscriptions[i].Filter == filter {
				if s.Subscriptions[i].Acked == nil {
					s.Subscriptions[i].Acked = map[string]message.Position{}
				}
				s.Subscriptions[i].Acked["b/1"] = at
			}
		}
	}
	m.write("session "+id, state(m.now[id]))
	m.db.Sessions().Acked([]store.Ack{{Session: id, Filter: filter, Topic: "b/1", Position: at}})
}

func (m *model) note(id string) {
	name, value := m.pick("name", "x", "y"), []byte(m.pick("value", "", "1", "2"))
	if len(value) == 0 {
		value = nil
	}
	if s := m.now[id]; s != nil {
		if value == nil {
			delete(s.Notes, name)
		} else {
			if s.Notes == nil {
				s.Notes = map[string][]byte{}
			}
			s.Notes[name] = value
		}
		if len(s.Notes) == 0 {
			s.Notes = nil
		}
	}
	m.db.Sessions().Note(id, name, value, m.write("session "+id, state(m.now[id])))
}

// cut takes what the disk would hold after a power cut and goes on with it.
func (m *model) cut() {
	promised := m.durable.Load()
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(m.t, "seed"), 1))
	left := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(m.t, "unsynced"), RNG: rng})
	shut(m.tb, m.db)
	m.fs, m.db = left, openModel(m.tb, left)
	m.check(int(promised))
}

// check finds a write after which everything was as it is now.
func (m *model) check(promised int) {
	m.t.Helper()
	found := m.found()
	lowest, highest := promised, m.writes
	for record, versions := range m.versions {
		low, high := span(versions, found[record], promised, m.writes)
		if low > high {
			m.t.Fatalf("%s is %q; it was %v, %d was durable", record, found[record], versions, promised)
		}
		lowest, highest = max(lowest, low), min(highest, high)
	}
	if lowest > highest {
		m.t.Fatalf("records are of different times: one of write %d or later, one of %d at most: %q of %v", lowest, highest, found, m.versions)
	}
	m.indexes()
	m.versions, m.writes = map[string][]version{}, 0
	m.durable.Store(0)
	for record, state := range found {
		m.versions[record] = []version{{0, state}}
	}
}

// span returns the writes between which a record was in a state, the widest
// when there are several, beginning at from.
func span(versions []version, state string, from, to int) (low, high int) {
	low, high = to+1, -1
	for i, v := range slices.Insert(slices.Clone(versions), 0, version{-1, ""}) {
		until := to
		if i < len(versions) {
			until = versions[i].write - 1
		}
		if v.state == state && until >= from {
			low, high = min(low, max(v.write, from)), max(high, until)
		}
	}
	return low, high
}

// found reads everything there is.
func (m *model) found() map[string]string {
	out := map[string]string{}
	m.now = map[string]*store.Session{}
	for _, id := range []string{"s0", "s1", "s2"} {
		s, err := m.db.Sessions().Load(m.tb.Context(), id)
		if err == nil {
			if len(s.Notes) == 0 {
				s.Notes = nil
			}
			m.now[id] = s
			out["session "+id] = state(s)
		} else if !errors.Is(err, store.ErrNotFound) {
			m.t.Fatal(err)
		}
	}
	list, all, err := m.db.Receipts().Receipts(m.tb.Context(), "t", "", 9)
	m.must(err)
	if all != len(list) {
		m.t.Fatalf("%d receipts are counted, %d are there", all, len(list))
	}
	for _, r := range list {
		out["receipt "+r.User] = fmt.Sprint(r.Delivered)
	}
	groups, err := m.db.Groups().Groups(m.tb.Context(), "g")
	m.must(err)
	for _, g := range groups {
		out["group "+g.Topic] = fmt.Sprint(g.Done.Seq)
	}
	return out
}

// indexes checks that the indexes say what the sessions say.
func (m *model) indexes() {
	m.t.Helper()
	want := map[string][]string{}
	var all []string
	for id, s := range m.now {
		want[s.User] = append(want[s.User], id)
		all = append(all, id)
	}
	for _, user := range []string{"ada", "bob"} {
		ids, err := m.db.Sessions().Of(m.tb.Context(), user)
		m.must(err)
		slices.Sort(want[user])
		if !slices.Equal(ids, want[user]) {
			m.t.Fatalf("sessions of %s: %q, want %q", user, ids, want[user])
		}
	}
	ids, err := m.db.Sessions().Expired(m.tb.Context(), time.UnixMilli(9), 9)
	m.must(err)
	slices.Sort(ids)
	slices.Sort(all)
	if !slices.Equal(ids, all) {
		m.t.Fatalf("expired: %q, want %q", ids, all)
	}
}
