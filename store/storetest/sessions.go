package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

func testRoundTrip(_ *testing.T, b *bench) {
	long := strings.Repeat("x", 300)
	for _, s := range []*store.Session{
		session("s1", "ada"),
		{ID: "bare", User: "u", Seen: noon()},
		{
			ID: "odd \x00 id/ü", User: "\x00\xff", Device: long, Seen: noon(), Expiry: 90 * time.Millisecond,
			Notes: map[string][]byte{"": {0}, long: []byte(long)},
		},
		{ID: "live", User: "ada", Seen: noon(), Expiry: 7 * 24 * time.Hour},
		{ID: "share", User: "ada", Seen: noon(), Subscriptions: []store.Subscription{
			{Filter: "$share/g/jobs/+", QoS: 1, Acked: map[string]message.Position{"jobs/1": at("e", 1), "jobs/2": at("f", 1<<60), "jobs/3": {}}},
			{Filter: long, Acked: map[string]message.Position{long: at(long, 3), "": at("e", 4)}},
		}},
	} {
		want := *s
		b.save(s)
		b.same(b.load(want.ID), &want)
	}
}

func testReplace(_ *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	b.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "news/#", Topic: "news/a", Position: at("e", 4)}})
	b.Sessions().Note("s1", "more", []byte("x"), nil)
	second := &store.Session{
		ID: "s1", User: "ada", Seen: noon().Add(time.Hour), Expiry: time.Minute,
		Subscriptions: []store.Subscription{{Filter: "news/#", QoS: 1}},
	}
	b.save(second)
	b.same(b.load("s1"), second)
}

// The engine keeps its own copy, and gives away others.
func testOwnership(_ *testing.T, b *bench) {
	s := session("s1", "ada")
	b.save(s)
	s.Subscriptions[0].Acked["room/1"] = at("spoilt", 1)
	s.Subscriptions[1].Filter = "spoilt"
	s.Notes["will"][0] = 'X'
	b.same(b.load("s1"), session("s1", "ada"))
	got := b.load("s1")
	got.Subscriptions[0].Acked["room/1"] = at("spoilt", 1)
	got.Subscriptions[0].Filter = "spoilt"
	got.Notes["will"][0] = 'X'
	got.Notes["new"] = nil
	b.same(b.load("s1"), session("s1", "ada"))
}

func testUnknown(t *testing.T, b *bench) {
	b.Sessions().Acked([]store.Ack{{Session: "nobody", Filter: "a", Topic: "a", Position: at("e", 1)}})
	b.wait(func(done func(error)) { b.Sessions().Note("nobody", "n", []byte("v"), done) })
	b.wait(func(done func(error)) { b.Sessions().Delete("nobody", done) })
	if s, err := b.Sessions().Load(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session that was never saved: %+v, %v", s, err)
	}
	b.save(session("s1", "ada"))
	b.wait(func(done func(error)) { b.Sessions().Delete("s1", done) })
	b.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 9)}})
	b.wait(func(done func(error)) { b.Sessions().Note("s1", "n", []byte("v"), done) })
	if s, err := b.Sessions().Load(t.Context(), "s1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted session: %+v, %v", s, err)
	}
	b.save(&store.Session{ID: "s1", User: "ada", Seen: noon()})
	b.same(b.load("s1"), &store.Session{ID: "s1", User: "ada", Seen: noon()})
}

func testAcked(_ *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	b.save(session("s2", "bob"))
	b.Sessions().Acked([]store.Ack{
		{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 8)},
		{Session: "s1", Filter: "news/#", Topic: "news/a", Position: at("n", 2)},
		{Session: "s1", Filter: "news/#", Topic: "news/b", Position: at("m", 1)},
		{Session: "s1", Filter: "other/#", Topic: "other/b", Position: at("m", 1)}, // not subscribed
		{Session: "s2", Filter: "room/1", Topic: "room/1", Position: at("e2", 1)},  // back, in a new history
		{Session: "s3", Filter: "room/1", Topic: "room/1", Position: at("e1", 1)},
	})
	want := session("s1", "ada")
	want.Subscriptions[0].Acked["room/1"] = at("e1", 8)
	want.Subscriptions[1].Acked = map[string]message.Position{"news/a": at("n", 2), "news/b": at("m", 1)}
	b.same(b.load("s1"), want)
	want = session("s2", "bob")
	want.Subscriptions[0].Acked["room/1"] = at("e2", 1)
	b.same(b.load("s2"), want)
}

func testAckedOrder(_ *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	for i := range uint64(500) {
		b.Sessions().Acked([]store.Ack{
			{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 2*i)},
			{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 2*i+1)},
		})
		if got := b.load("s1").Subscriptions[0].Acked["room/1"]; got != at("e1", 2*i+1) {
			b.tb.Fatalf("after %d: %v", 2*i+1, got)
		}
	}
}

func testNotes(_ *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	want := session("s1", "ada")
	note := func(name string, value []byte) {
		b.tb.Helper()
		b.wait(func(done func(error)) { b.Sessions().Note("s1", name, value, done) })
		b.same(b.load("s1"), want)
	}
	value := []byte("1")
	want.Notes["in"] = []byte("1")
	note("in", value)
	value[0] = 'X' // it is the caller's again
	want.Notes["in"] = []byte("2")
	note("in", []byte("2"))
	want.Notes["empty"] = []byte{}
	note("empty", []byte{})
	delete(want.Notes, "will")
	note("will", nil)
	note("never", nil)
}

func (b *bench) of(user string) []string {
	b.tb.Helper()
	ids, err := b.Sessions().Of(b.tb.Context(), user)
	if err != nil {
		b.tb.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

func testOf(t *testing.T, b *bench) {
	for _, id := range []string{"s1", "s2", "s3"} {
		b.save(session(id, "ada"))
	}
	b.save(session("s4", "ad"))
	b.save(session("s5", ""))
	b.wait(func(done func(error)) { b.Sessions().Delete("s2", done) })
	b.save(session("s3", "bob")) // it has changed hands
	for user, want := range map[string][]string{"ada": {"s1"}, "ad": {"s4"}, "": {"s5"}, "bob": {"s3"}, "a": nil} {
		if got := b.of(user); !slices.Equal(got, want) {
			t.Errorf("sessions of %q: %q, want %q", user, got, want)
		}
	}
}

func (b *bench) expired(now time.Time, limit int) []string {
	b.tb.Helper()
	ids, err := b.Sessions().Expired(b.tb.Context(), now, limit)
	if err != nil {
		b.tb.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

func testExpired(t *testing.T, b *bench) {
	for i := range 5 {
		s := session(fmt.Sprintf("s%d", i), "ada")
		s.Expiry = time.Duration(i) * time.Minute
		b.save(s)
	}
	for _, c := range []struct {
		after time.Duration
		limit int
		want  string
	}{
		{-time.Minute, 9, ""},
		{0, 9, "s0"},
		{time.Minute - time.Millisecond, 9, "s0"},
		{time.Minute, 9, "s0 s1"},
		{time.Hour, 9, "s0 s1 s2 s3 s4"},
		{time.Hour, 0, ""},
	} {
		if got := strings.Join(b.expired(noon().Add(c.after), c.limit), " "); got != c.want {
			t.Errorf("after %v: %q, want %q", c.after, got, c.want)
		}
	}
	for got := 0; got < 4; got += 2 { // whoever asks deletes what it was told, and asks again
		ids := b.expired(noon().Add(time.Hour), 2)
		if len(ids) != 2 {
			t.Fatalf("%q", ids)
		}
		for _, id := range ids {
			b.wait(func(done func(error)) { b.Sessions().Delete(id, done) })
		}
	}
	if ids := b.expired(noon().Add(time.Hour), 9); len(ids) != 1 {
		t.Errorf("%q", ids)
	}
}

func testExpiryMoves(t *testing.T, b *bench) {
	s := session("s1", "ada")
	later := noon().Add(2 * time.Hour)
	b.save(s)
	s = session("s1", "ada")
	s.Expiry = 3 * time.Hour
	b.save(s)
	if ids := b.expired(later, 9); len(ids) != 0 {
		t.Errorf("three hours: %q", ids)
	}
	s = session("s1", "ada")
	s.Seen = noon().Add(90 * time.Minute)
	b.save(s)
	b.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 9)}})
	b.wait(func(done func(error)) { b.Sessions().Note("s1", "n", []byte("v"), done) })
	if ids := b.expired(later, 9); len(ids) != 0 {
		t.Errorf("seen half an hour ago: %q", ids)
	}
	if ids := b.expired(later.Add(time.Hour), 9); !slices.Equal(ids, []string{"s1"}) {
		t.Errorf("%q", ids)
	}
}

func testReopen(t *testing.T, b *bench) {
	b.save(session("s1", "ada"))
	b.save(session("s2", "ada"))
	b.wait(func(done func(error)) { b.Sessions().Delete("s2", done) })
	// What has no done function is written by an orderly end.
	b.Sessions().Note("s1", "late", []byte("x"), nil)
	b.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "room/1", Topic: "room/1", Position: at("e1", 99)}})
	b.Receipts().Advance([]store.Receipt{{Topic: "room/1", User: "ada", Epoch: "e1", Delivered: 3, Read: 2}})
	b.Groups().SaveGroup(&store.Group{Name: "g", Topic: "jobs", Done: at("e", 4), Beyond: []uint64{7}}, nil)
	b.reopen()
	want := session("s1", "ada")
	want.Notes["late"] = []byte("x")
	want.Subscriptions[0].Acked["room/1"] = at("e1", 99)
	b.same(b.load("s1"), want)
	if ids := b.of("ada"); !slices.Equal(ids, []string{"s1"}) {
		t.Errorf("sessions of ada: %q", ids)
	}
	if ids := b.expired(noon().Add(2*time.Hour), 9); !slices.Equal(ids, []string{"s1"}) {
		t.Errorf("expired: %q", ids)
	}
	if list, all := b.receipts("room/1", "", 9); all != 1 || list[0] != (store.Receipt{Topic: "room/1", User: "ada", Epoch: "e1", Delivered: 3, Read: 2}) {
		t.Errorf("receipts: %v of %d", list, all)
	}
	if groups := b.groups("g"); len(groups) != 1 || groups[0].Done != at("e", 4) {
		t.Errorf("groups: %+v", groups)
	}
}
