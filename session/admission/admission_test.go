package admission

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In no stretch of time an address, or the node, gets more than its rate and
// its burst; what is refused may come after the time it was told; and what
// comes below the rate is never refused.
func TestAdmissionKeepsTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, rateOneIP := rapid.IntRange(1, 50).Draw(t, "rate"), rapid.IntRange(1, 50).Draw(t, "per address")
		a := New(rate, rateOneIP)
		now := time.Hour
		let := map[string][]time.Duration{}
		var all []time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			address := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}).Draw(t, "address")
			now += time.Duration(rapid.Int64Range(0, int64(15*time.Second)).Draw(t, "pause"))
			for range rapid.IntRange(1, 700).Draw(t, "at once") {
				wait, _ := a.Take(address, now)
				if wait == 0 {
					let[address], all = append(let[address], now), append(all, now)
					continue
				}
				if again, _ := a.Take(address, now+wait-1); again == 0 {
					t.Fatalf("told to wait %v, and less was enough", wait)
				}
				break
			}
		}
		for name, times := range map[string][]time.Duration{"one": let["192.0.2.1"], "two": let["192.0.2.2"], "six": let["2001:db8::1"]} {
			checkRate(t, name, times, rateOneIP)
		}
		checkRate(t, "node", all, rate)
	})
}

func checkRate(t *rapid.T, who string, times []time.Duration, rate int) {
	for from := 0; from < len(times); from += 7 {
		for to := from; to < len(times); to += 11 {
			allowed := float64(rate)*((times[to]-times[from]).Seconds()+acceptBurst) + 1
			if n := to - from + 1; float64(n) > allowed {
				t.Fatalf("%s: %d in %v, %.1f are allowed", who, n, (times[to] - times[from]), allowed)
			}
		}
	}
}

func TestAdmissionBelowTheRate(t *testing.T) {
	a := New(1000, 4)
	now := time.Hour
	for i := range 10_000 {
		if wait, _ := a.Take("192.0.2.1", now); wait > 0 {
			t.Fatalf("the %d. is to wait %v", i, wait)
		}
		now += time.Second / 4
	}
	flood := 0
	for {
		if wait, node := a.Take("192.0.2.2", now); wait > 0 {
			if node || wait > time.Second/4 {
				t.Errorf("to wait %v, because of the node: %v", wait, node)
			}
			break
		}
		flood++
	}
	if flood != 4*acceptBurst {
		t.Errorf("%d at once", flood)
	}
	if wait, _ := a.Take("192.0.2.3", now); wait > 0 {
		t.Error("one address spends what is another's")
	}
}

// However many addresses come, memory is bounded; those that are forgotten are
// still held by the rate of the node.
func TestAdmissionIsBounded(t *testing.T) {
	a := New(100_000, 5)
	a.limit = 1000
	now := time.Hour
	for i := range 300_000 {
		if i%10_000 == 0 {
			now += time.Second
		}
		a.Take(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now)
		if n := len(a.recent) + len(a.before); n > 2*a.limit {
			t.Fatalf("%d addresses are remembered", n)
		}
	}
	a = New(2, 0)
	for i := range 2 * acceptBurst {
		if wait, _ := a.Take(fmt.Sprint(i), now); wait > 0 {
			t.Fatal("refused below the burst")
		}
	}
	if wait, node := a.Take("x", now); !node || wait <= 0 {
		t.Errorf("the node's rate: %v, %v", wait, node)
	}
	if wait, _ := New(-1, -1).Take("x", now); wait != 0 {
		t.Error("no limit and yet refused")
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::",
		"::ffff:192.0.2.7": "::ffff:192.0.2.7", "fe80::1%eth0": "fe80::", "": "", "a:b": "a:b",
	} {
		if got := network(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := New(0, 1<<30)
	now := time.Hour
	for b.Loop() {
		a.Take("192.0.2.1", now)
		now++
	}
}
