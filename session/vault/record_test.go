package vault_test

import (
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/store"
)

func TestSame(t *testing.T) {
	a := func(change func(*store.Session)) *store.Session {
		r := &store.Session{ID: "s", Device: "d", Expiry: time.Hour, Subscriptions: []store.Subscription{{Filter: "a", QoS: 1}, {Filter: "b/#"}}}
		change(r)
		return r
	}
	nothing := func(*store.Session) {}
	for name, tc := range map[string]struct {
		change func(*store.Session)
		same   bool
	}{
		"nothing": {nothing, true},
		"the order": {func(r *store.Session) {
			r.Subscriptions[0], r.Subscriptions[1] = r.Subscriptions[1], r.Subscriptions[0]
		}, true},
		"a cursor":   {func(r *store.Session) { r.Subscriptions[0].Mark = 9 }, true},
		"seen":       {func(r *store.Session) { r.Seen = time.Now() }, true},
		"the device": {func(r *store.Session) { r.Device = "e" }, false},
		"the expiry": {func(r *store.Session) { r.Expiry = time.Minute }, false},
		"the QoS":    {func(r *store.Session) { r.Subscriptions[0].QoS = 2 }, false},
		"presence":   {func(r *store.Session) { r.Subscriptions[1].Presence = true }, false},
		"receipts":   {func(r *store.Session) { r.Subscriptions[1].Receipts = true }, false},
		"a filter":   {func(r *store.Session) { r.Subscriptions[1].Filter = "c" }, false},
		"one less":   {func(r *store.Session) { r.Subscriptions = r.Subscriptions[:1] }, false},
		"one more":   {func(r *store.Session) { r.Subscriptions = append(r.Subscriptions, store.Subscription{Filter: "c"}) }, false},
	} {
		if got := vault.Same(a(tc.change), a(nothing)); got != tc.same {
			t.Errorf("%s: %v", name, got)
		}
	}
	if vault.Same(a(nothing), nil) || vault.Same(nil, nil) {
		t.Error("none is like one")
	}
	if !vault.Durable(a(nothing)) || vault.Durable(&store.Session{Subscriptions: []store.Subscription{{Filter: "a"}}}) || !vault.Durable(&store.Session{Notes: map[string][]byte{"n": nil}}) {
		t.Error("what owes something is another")
	}
}

// Of a cursor that moves again and again only the last place is kept; of very
// many, the last of each counts.
func TestCursors(t *testing.T) {
	var cs vault.Cursors
	for i := range uint64(1000) {
		cs.Move("s", "a", "a", message.Position{Seq: i})
		cs.Move("s", "#", "a", message.Position{Seq: i + 1})
	}
	if len(cs) != 2 || cs[0].Position.Seq != 999 || cs[1].Position.Seq != 1000 {
		t.Errorf("%+v", cs)
	}
	for i := range uint64(100) {
		cs.Move("s", "#", string(rune('Ā'+i%50)), message.Position{Seq: i})
	}
	last := make(map[string]uint64)
	for _, c := range cs {
		last[c.Topic] = c.Position.Seq
	}
	if len(last) != 51 || last["Ā"] != 50 {
		t.Errorf("%d topics, A at %d", len(last), last["A"])
	}
}
