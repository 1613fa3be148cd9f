package session

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDetachedAgainstAModel: a record can be taken once, by its own user,
// within the window, unless newer ones took its place.
func TestDetachedAgainstAModel(t *testing.T) {
	type kept struct {
		id, user string
		until    time.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		d := detached{limit: rapid.IntRange(1, 8).Draw(t, "limit"), window: time.Minute}
		now := time.Unix(1_790_000_000, 0)
		var model []kept // oldest first
		id := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("s", rapid.IntRange(0, 11).Draw(t, "id")) })
		user := func(id string) string { return "u" + string(id[len(id)-1]%3+'0') }
		forget := func(drop func(kept) bool) {
			left := model[:0:0]
			for _, k := range model {
				if !drop(k) {
					left = append(left, k)
				}
			}
			model = left
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				id := id.Draw(t, "session")
				now = now.Add(time.Nanosecond)
				forget(func(k kept) bool { return !now.Before(k.until) })
				if _, there := d.byID[id]; there {
					t.Skip("a session detaches once")
				}
				for len(model) >= d.limit {
					model = model[1:]
				}
				model = append(model, kept{id, user(id), now.Add(time.Minute)})
				d.put(id, record{user: user(id)}, now)
			},
			"take": func(t *rapid.T) {
				id := id.Draw(t, "session")
				who := user(id)
				if rapid.IntRange(0, 4).Draw(t, "thief") == 0 {
					who = "thief"
				}
				expected := false
				forget(func(k kept) bool {
					if now.Before(k.until) && k.id == id && k.user == who {
						expected = true
						return true
					}
					return !now.Before(k.until)
				})
				if r, ok := d.take(id, who, now); ok != expected || ok && r.user != who {
					t.Fatalf("take %s by %s: %v %v, expected %v", id, who, r, ok, expected)
				}
			},
			"pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"drop": func(t *rapid.T) {
				u := fmt.Sprint("u", rapid.IntRange(0, 2).Draw(t, "user"))
				d.dropUser(u)
				forget(func(k kept) bool { return k.user == u })
			},
			"": func(t *rapid.T) {
				if d.len() > d.limit || len(d.order) > 2*d.limit+1 {
					t.Fatalf("%d records and %d places with a limit of %d", d.len(), len(d.order), d.limit)
				}
			},
		})
	})
}

func TestPlacesOfTakenRecordsAreReused(t *testing.T) {
	d := detached{limit: 3, window: time.Hour}
	now := time.Unix(1_790_000_000, 0)
	for i := range 1000 {
		now = now.Add(time.Millisecond)
		d.put("s", record{user: "u"}, now)
		if _, ok := d.take("s", "u", now); !ok || len(d.order) > 2*d.limit {
			t.Fatalf("round %d: %v, %d places", i, ok, len(d.order))
		}
	}
}
