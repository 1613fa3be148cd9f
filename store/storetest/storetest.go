// Package storetest is the contract of package store as tests. Every engine
// passes it:
//
//	func TestContract(t *testing.T) {
//		storetest.Test(t, storetest.Engine{Durable: true, Open: func(tb testing.TB, dir string) store.Store { … }})
//	}
package storetest

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// patience is how long the suite waits for what should come at once.
const patience = 20 * time.Second

// Engine is what the suite tries.
type Engine struct {
	// Open opens the store in a folder; the suite closes it. Engines that keep
	// nothing beyond the process leave the folder alone.
	Open func(tb testing.TB, dir string) store.Store
	// Durable engines find again what an earlier opening of the folder wrote.
	Durable bool
}

// Test runs the suite.
func Test(t *testing.T, e Engine) {
	t.Helper()
	for _, c := range []struct {
		name    string
		durable bool
		test    func(*testing.T, *bench)
	}{
		{"a session comes back as it was saved", false, testRoundTrip},
		{"saving replaces everything", false, testReplace},
		{"what was given and taken is nobody else's", false, testOwnership},
		{"what is not there", false, testUnknown},
		{"cursors", false, testAcked},
		{"the last of several cursors counts", false, testAckedOrder},
		{"notes", false, testNotes},
		{"sessions of a user", false, testOf},
		{"expiry", false, testExpired},
		{"expiry follows the session", false, testExpiryMoves},
		{"receipts", false, testReceipts},
		{"receipts by the page", false, testReceiptPages},
		{"groups", false, testGroups},
		{"numbers of producers", false, testProducers},
		{"closing", false, testClosed},
		{"many at once on sessions of their own", false, testManySessions},
		{"many at once on one session", false, testOneSession},
		{"many at once on receipts", false, testManyReceipts},
		{"everything is there after a restart", true, testReopen},
		{"numbers of producers go on after a restart", true, testProducersReopen},
	} {
		if c.durable && !e.Durable {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t, e)) })
	}
}

// bench is an open engine.
type bench struct {
	store.Store

	tb  testing.TB
	e   Engine
	dir string
}

func open(tb testing.TB, e Engine) *bench {
	tb.Helper()
	b := &bench{tb: tb, e: e, dir: tb.TempDir()}
	b.Store = e.Open(tb, b.dir)
	tb.Cleanup(b.close)
	return b
}

// close may be called again.
func (b *bench) close() {
	b.tb.Helper()
	if b.Store == nil {
		return
	}
	if err := b.Close(context.Background()); err != nil {
		b.tb.Errorf("close: %v", err)
	}
	b.Store = nil
}

func (b *bench) reopen() {
	b.tb.Helper()
	b.close()
	b.Store = b.e.Open(b.tb, b.dir)
}

// wait does one write and waits until it is durable.
func (b *bench) wait(write func(done func(error))) {
	b.tb.Helper()
	if err := await(write); err != nil {
		b.tb.Fatal(err)
	}
}

// await returns what done was called with.
func await(write func(done func(error))) error {
	ch := make(chan error, 2)
	write(func(err error) { ch <- err })
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-ch:
		return err
	case <-late.C:
		return context.DeadlineExceeded
	}
}

func (b *bench) save(s *store.Session) {
	b.tb.Helper()
	b.wait(func(done func(error)) { b.Sessions().Save(s, done) })
}

func (b *bench) load(id string) *store.Session {
	b.tb.Helper()
	s, err := b.Sessions().Load(b.tb.Context(), id)
	if err != nil {
		b.tb.Fatalf("load %s: %v", id, err)
	}
	return s
}

// same compares two sessions; an engine may round times to milliseconds, and
// make an empty map of none.
func (b *bench) same(got, want *store.Session) {
	b.tb.Helper()
	g, w := plain(got), plain(want)
	if !reflect.DeepEqual(g, w) {
		b.tb.Fatalf("got  %+v\nwant %+v", g, w)
	}
}

func plain(s *store.Session) store.Session {
	p := *s
	p.Seen = p.Seen.UTC().Truncate(time.Millisecond)
	p.Subscriptions = slices.Clone(s.Subscriptions)
	for i := range p.Subscriptions {
		if len(p.Subscriptions[i].Acked) == 0 {
			p.Subscriptions[i].Acked = nil
		}
	}
	if len(p.Subscriptions) == 0 {
		p.Subscriptions = nil
	}
	if len(p.Notes) == 0 {
		p.Notes = nil
	}
	return p
}

// noon is when the stories of the suite happen.
func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 123e6, time.UTC) }

// session is one with two subscriptions.
func session(id, user string) *store.Session {
	return &store.Session{
		ID: id, User: user, Device: "phone", Seen: noon(), Expiry: time.Hour,
		Subscriptions: []store.Subscription{
			{Filter: "room/1", QoS: 1, Acked: map[string]message.Position{"room/1": {Epoch: "e1", Seq: 7}}},
			{Filter: "news/#", QoS: 2, Presence: true, Receipts: true, Mark: 1 << 40},
		},
		Notes: map[string][]byte{"will": []byte("farewell")},
	}
}

func at(epoch string, seq uint64) message.Position { return message.Position{Epoch: epoch, Seq: seq} }
