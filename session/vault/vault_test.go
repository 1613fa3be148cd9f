package vault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/session/vault/vaulttest"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/memorystore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a session that a connection holds. What it has is a number that
// grows with every change, and a cursor.
type client struct {
	id    string
	v     *vault.Vault
	mu    sync.Mutex
	taken bool
	n     uint64
	acked uint64
	moved bool
}

func (c *client) Record() *store.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return nil
	}
	c.moved = false
	return record(c.id, c.n, c.acked)
}

func record(id string, n, acked uint64) *store.Session {
	return &store.Session{
		ID: id, User: "ada", Seen: time.Now(), Expiry: time.Hour, Notes: map[string][]byte{"n": fmt.Append(nil, n)},
		Subscriptions: []store.Subscription{{Filter: "a", QoS: 1, Acked: map[string]message.Position{"a": {Epoch: "e", Seq: acked}}}},
	}
}

func (c *client) Acks(to []store.Ack) []store.Ack {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken || !c.moved {
		return to
	}
	c.moved = false
	return append(to, store.Ack{Session: c.id, Filter: "a", Topic: "a", Position: message.Position{Epoch: "e", Seq: c.acked}})
}

func (c *client) ack() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked++
	if !c.moved {
		c.moved = true
		c.v.Moved(c)
	}
	return c.acked
}

// remains is what is known of one session: what it is, and the least that a
// crash must leave of it.
type remains struct {
	there    bool
	n, acked uint64
	safe     uint64 // n that was answered to be durable; 0 for none
	gone     bool   // that it was forgotten was answered
	given    int    // how often it was given up on disk: what was asked for before counts no more
}

type world struct {
	disk  *vaulttest.Disk
	v     *vault.Vault
	stop  context.CancelFunc
	ended chan struct{}
	live  map[string]*client
	known map[string]*remains
}

func (w *world) start(d *vaulttest.Disk) {
	w.disk = d
	w.v = vault.New(d.Sessions(), memorystore.New(memorystore.Limits{}).Sessions(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.ended, w.live = stop, make(chan struct{}), make(map[string]*client)
	go func(v *vault.Vault) {
		defer close(w.ended)
		v.Run(ctx)
	}(w.v)
}

// recall is what a connection finds.
func (w *world) recall(t *rapid.T, id string) (n, acked uint64, there bool) {
	release, err := w.v.Claim(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r, _, err := w.v.Recall(context.Background(), id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return 0, 0, false
	}
	if _, err := fmt.Sscan(string(r.Notes["n"]), &n); err != nil || r.ID != id {
		t.Fatalf("recalled %s for %s, %v", r.ID, id, err)
	}
	return n, r.Subscriptions[0].Acked["a"].Seq, true
}

func (w *world) actions() map[string]func(*rapid.T) {
	id := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("s", rapid.IntRange(0, 3).Draw(t, "id")) })
	of := func(t *rapid.T) (string, *remains) {
		id := id.Draw(t, "session")
		if w.known[id] == nil {
			w.known[id] = &remains{}
		}
		return id, w.known[id]
	}
	held := func(t *rapid.T) (*client, *remains) {
		id, k := of(t)
		if w.live[id] == nil {
			t.Skip("nobody holds it")
		}
		return w.live[id], k
	}
	return map[string]func(*rapid.T){
		"connect": func(t *rapid.T) {
			id, k := of(t)
			c := &client{id: id, v: w.v, n: k.n, acked: k.acked}
			if old := w.live[id]; old != nil {
				old.mu.Lock()
				old.taken = true
				old.mu.Unlock()
				w.v.Save(id, c, nil) // what the older had not written is the newer one's to write
				k.gone = false
			} else if n, acked, there := w.recall(t, id); there != k.there || there && (n != k.n || acked != k.acked) {
				t.Fatalf("%s: recalled %d %d %v, should be %+v", id, n, acked, there, *k)
			}
			if !k.there {
				c.n, c.acked = k.n+1, 0
				*k = remains{n: c.n, there: true, safe: k.safe, gone: k.gone, given: k.given}
			}
			w.live[id] = c
			w.v.Taken(id)
		},
		"change": func(t *rapid.T) {
			c, k := held(t)
			c.mu.Lock()
			c.n++
			n := c.n
			c.mu.Unlock()
			k.n, k.gone = n, false
			given := k.given
			w.v.Save(c.id, c, func(err error) {
				if err == nil && k.given == given {
					k.safe = max(k.safe, n)
				}
			})
		},
		"ack": func(t *rapid.T) {
			c, k := held(t)
			k.acked = c.ack()
		},
		"part": func(t *rapid.T) {
			c, k := held(t)
			r := c.Record()
			c.mu.Lock()
			c.taken = true
			c.mu.Unlock()
			durable := rapid.Bool().Draw(t, "durable")
			if k.gone = false; !durable {
				k.safe = 0
				k.given++
			}
			w.v.Part(r, durable, true)
			delete(w.live, c.id)
		},
		"forget": func(t *rapid.T) {
			id, k := of(t)
			if c := w.live[id]; c != nil {
				c.mu.Lock()
				c.taken = true
				c.mu.Unlock()
				delete(w.live, id)
			}
			given := k.given + 1
			*k = remains{n: k.n, given: given}
			w.v.Forget(id, func(err error) { k.gone = k.gone || err == nil && k.given == given && !k.there })
		},
		"wait":   func(*rapid.T) { <-time.NewTimer(time.Second).C },
		"settle": func(*rapid.T) { synctest.Wait() },
		"commit": func(t *rapid.T) { w.disk.Commit(rapid.IntRange(1, 5).Draw(t, "writes")) },
		"crash":  w.crash,
	}
}

// crash begins anew with what the disk has.
func (w *world) crash(t *rapid.T) {
	w.halt()
	w.start(w.disk.Crash("ada"))
	for id, k := range w.known {
		n, acked, there := w.recall(t, id)
		if k.safe > 0 && (!there || n < k.safe) || k.gone && there || n > k.n || k.there && acked > k.acked && n == k.n {
			t.Fatalf("%s after the crash: %d %d %v, should be %+v", id, n, acked, there, *k)
		}
		*k = remains{there: there, n: n, acked: acked, safe: n, given: k.given + 1}
		if !there {
			k.n = 1 << 20 // numbers of an earlier life are not met again
		}
	}
}

// halt ends the writer without its last words reaching the disk.
func (w *world) halt() {
	w.stop()
	<-w.ended
}

// Whatever happens in whatever order: a connection finds what the last one
// left, what was called durable outlives a crash, and what was called
// forgotten does not come back.
func TestVaultAgainstAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without a deadline, which no bubble has.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			w := &world{known: make(map[string]*remains)}
			w.start(vaulttest.New())
			defer w.halt()
			t.Repeat(w.actions())
		})
	})
}

// Acknowledgements of many sessions are one write, and none while nothing
// moves.
func TestAcksAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{known: make(map[string]*remains)}
		w.start(vaulttest.New())
		defer w.halt()
		clients := make([]*client, 100)
		for i := range clients {
			clients[i] = &client{id: fmt.Sprint("s", i), v: w.v}
			w.v.Save(clients[i].id, clients[i], nil)
		}
		synctest.Wait()
		before := w.disk.Writes()
		for range 5 {
			for _, c := range clients {
				c.ack()
			}
		}
		<-time.NewTimer(time.Hour).C
		if got := w.disk.Writes() - before; got != 1 {
			t.Errorf("500 acknowledgements of 100 sessions were %d writes", got)
		}
		if r, err := w.disk.Sessions().Load(t.Context(), "s7"); err != nil || r.Subscriptions[0].Acked["a"].Seq != 5 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A client that acknowledges all the time does not put its cursor off.
func TestAcksAreWrittenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{known: make(map[string]*remains)}
		w.start(vaulttest.New())
		defer w.halt()
		c := &client{id: "s", v: w.v}
		w.v.Save("s", c, nil)
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for range 100 {
			<-ticks.C
			c.ack()
		}
		if r, err := w.disk.Sessions().Load(t.Context(), "s"); err != nil || r.Subscriptions[0].Acked["a"].Seq < 94 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Sessions go when their time is up, those excepted that somebody holds or is
// about to hold.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{known: make(map[string]*remains)}
		w.start(vaulttest.New())
		defer w.halt()
		for i, id := range []string{"old", "claimed", "held", "unwritten", "young"} {
			r := record(id, 1, 1)
			if id == "young" {
				r.Expiry = 3 * time.Hour
			}
			w.v.Part(r, i%2 == 0, false)
		}
		for i := range 2500 {
			r := record(fmt.Sprint("crowd", i), 1, 1)
			r.User = "crowd"
			w.v.Part(r, true, false)
		}
		<-time.NewTimer(time.Hour).C
		release, err := w.v.Claim(t.Context(), "claimed")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err := w.v.Claim(ctx, "claimed"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("claimed twice: %v", err)
		}
		sweep := func() (held []string) {
			t.Helper()
			swept := make(chan error, 1)
			go func() {
				swept <- w.v.Sweep(t.Context(), time.Now(), func(id string) bool {
					if id == "held" {
						held = append(held, id)
					}
					return id == "held"
				})
			}()
			for {
				synctest.Wait()
				select {
				case err := <-swept:
					if err != nil {
						t.Error(err)
					}
					return held
				default:
					w.disk.Commit(10_000)
				}
			}
		}
		if held := sweep(); len(held) == 0 {
			t.Errorf("asked about %q", held)
		}
		there := func() (ids string) {
			for _, id := range []string{"old", "claimed", "held", "unwritten", "young"} {
				r, _, err := w.v.Recall(t.Context(), id, time.Now().Add(-time.Hour))
				if err != nil {
					t.Error(err)
				}
				if r != nil {
					ids += " " + id
				}
			}
			return ids
		}
		if ids, err := w.disk.Sessions().Of(t.Context(), "crowd"); err != nil || len(ids) > 0 {
			t.Errorf("%d of a crowd are left, %v", len(ids), err)
		}
		if got := there(); got != " claimed held young" {
			t.Errorf("left are%s", got)
		}
		release()
		sweep()
		if got := there(); got != " held young" {
			t.Errorf("then%s", got)
		}
		if r, _, err := w.v.Recall(t.Context(), "held", time.Now()); r != nil || err != nil {
			t.Errorf("a session whose time is up was recalled: %+v, %v", r, err)
		}
	})
}

// What a person has is forgotten wherever it lies.
func TestForgetUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{known: make(map[string]*remains)}
		w.start(vaulttest.New())
		defer w.halt()
		w.v.Part(record("written", 1, 1), true, false)
		w.v.Part(record("memory", 1, 1), false, false)
		other := record("other", 1, 1)
		other.User = "bob"
		w.v.Part(other, true, false)
		synctest.Wait()
		w.v.Part(record("unwritten", 1, 1), true, false)
		gone := make(chan error, 1)
		go func() { gone <- w.v.ForgetUser(t.Context(), "ada") }()
		synctest.Wait()
		select {
		case err := <-gone:
			t.Fatalf("done before it lasts: %v", err)
		default:
		}
		w.disk.Commit(100)
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"written", "memory", "unwritten"} {
			if r, _, err := w.v.Recall(t.Context(), id, time.Now()); r != nil || err != nil {
				t.Errorf("%s is still there: %+v, %v", id, r, err)
			}
		}
		if r, _, err := w.v.Recall(t.Context(), "other", time.Now()); r == nil || err != nil {
			t.Errorf("another's is gone too: %v", err)
		}
	})
}

// What nobody can write any more is said.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.start(vaulttest.New())
		last := &client{id: "s", v: w.v, n: 3}
		w.v.Save("s", last, nil)
		w.halt()
		if r, err := w.disk.Sessions().Load(t.Context(), "s"); err != nil || string(r.Notes["n"]) != "3" {
			t.Errorf("what waited was not written: %+v, %v", r, err)
		}
		var said error
		w.v.Save("s", last, func(err error) { said = err })
		if !errors.Is(said, store.ErrClosed) {
			t.Errorf("got %v", said)
		}
	})
}
