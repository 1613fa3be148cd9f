package torture_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/scenario/torture"
)

var (
	rounds = flag.Int("rounds", 50, "how often something is killed or cut")
	seed   = flag.Uint64("seed", 0, "of what happens when; 0: another one each time")
)

// TestTorture lets clients publish and receive while the server is killed and
// started again, clients are killed and started again, and cables are cut. Then
// everything is allowed to settle, and the checker reads what the clients saw.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("this starts and kills processes for a minute")
	}
	chance := *seed
	if chance == 0 {
		chance = rand.Uint64()
	}
	t.Logf("%d rounds; to repeat what happens: -rounds %d -seed %d", *rounds, *rounds, chance)
	w := newWorld(t)
	w.add(torture.AtLeastOnce, 2)
	w.add(torture.ExactlyOnce, 2)
	w.add(torture.Group, 2)
	w.add(torture.Publisher, 3)
	w.add(torture.Repeater, 1)
	for _, m := range w.only(torture.AtLeastOnce, torture.ExactlyOnce, torture.Group) {
		w.join(m)
		m.process.await("ready")
	}
	publishers := w.only(torture.Publisher, torture.Repeater)
	for _, m := range publishers {
		w.join(m)
	}
	t.Cleanup(func() {
		for _, m := range w.members {
			m.process.kill()
		}
	})
	w.suffer(rand.New(rand.NewPCG(chance, 1)), *rounds)
	for _, m := range publishers {
		m.process.end()
	}
	w.settle()
	for _, m := range w.only(torture.AtLeastOnce, torture.ExactlyOnce, torture.Group) {
		m.process.end()
	}
	w.judge()
}

// suffer lets one thing go wrong after the other.
func (w *world) suffer(chance *rand.Rand, rounds int) {
	counts := map[string]int{}
	for round := range rounds {
		pause := time.NewTimer(time.Duration(chance.IntN(400)) * time.Millisecond)
		<-pause.C
		victim := w.members[chance.IntN(len(w.members))]
		what := ""
		switch n := chance.IntN(10); {
		case n < 5:
			what = "server killed"
			w.server.kill()
			w.serve()
		case n < 7:
			what = "client killed"
			victim.process.kill()
			w.join(victim)
		case n < 9:
			what = "cables cut"
			w.proxy.cut()
		default:
			what = "server stopped for a while"
			w.server.signal(syscall.SIGSTOP)
			rest := time.NewTimer(time.Duration(chance.IntN(300)) * time.Millisecond)
			<-rest.C
			w.server.signal(syscall.SIGCONT)
		}
		counts[what]++
		if every := 50; (round+1)%every == 0 {
			w.t.Logf("%d of %d rounds: %v", round+1, rounds, counts)
		}
	}
}

// judge asks the checker, and keeps the evidence when something is wrong.
func (w *world) judge() {
	w.t.Helper()
	journals := w.journals()
	count := map[torture.Kind]int{}
	for _, j := range journals {
		for _, e := range j.Entries {
			count[e.Kind]++
		}
	}
	w.t.Logf("%v", count)
	if count[torture.Accepted] == 0 || count[torture.Got] == 0 {
		w.t.Error("nothing was accepted or nothing came: this proves nothing")
	}
	found := torture.Check(journals)
	for i, v := range found {
		const enough = 20
		if i == enough {
			w.t.Errorf("… and %d more", len(found)-enough)
			break
		}
		w.t.Error(v)
	}
	if !w.t.Failed() {
		return
	}
	kept, err := os.MkdirTemp("", "torture-")
	if err == nil {
		err = os.CopyFS(kept, os.DirFS(w.dir))
	}
	w.t.Log(fmt.Sprintf("the journals and the server's data are kept in %s (%v)", kept, err))
}
