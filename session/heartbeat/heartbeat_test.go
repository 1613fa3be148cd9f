package heartbeat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/protocol"
)

func epoch() Moment { return Moment(time.Hour) }

// connected returns the state of a connection that connects at start.
func connected(interval, timeout, idle time.Duration, start Moment) *Liveness {
	return &Liveness{Pace: &Pace{Interval: interval, Timeout: timeout, Idle: idle}, Heard: start, Active: start, LastPing: start}
}

func anyStrategy(t *rapid.T) Strategy {
	return Strategy(rapid.IntRange(0, len(strategies())-1).Draw(t, "strategy"))
}

func seconds(t *rapid.T, low, high int, what string) time.Duration {
	return time.Duration(rapid.IntRange(low, high).Draw(t, what)) * time.Second
}

// A client that answers each ping in time stays, however the intervals are
// set, and is pinged at least as often as it was told.
func TestAClientThatAnswersStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval, timeout := seconds(t, 1, 60, "interval"), seconds(t, 1, 60, "timeout")
		now := epoch()
		l := connected(interval, timeout, 0, now)
		next, pings, last, delay := l.Next(now), 0, now, time.Duration(0)
		for range 200 {
			if !next.After(now) {
				t.Fatalf("asks again at %v, which is not after %v", next, now)
			}
			now = next
			var ping bool
			var end protocol.Reason
			ping, end, next = l.Step(now)
			if end.Code != "" {
				t.Fatalf("ended: %+v", end)
			}
			if ping {
				due := interval
				if delay > interval { // the last one was answered after its successor was due
					due = min(timeout, (delay + interval - 1).Truncate(interval))
				}
				if gap := now.Sub(last); gap != due {
					t.Fatalf("%v between two pings, want %v", gap, due)
				}
				pings, last = pings+1, now
				delay = time.Duration(rapid.Int64Range(1, int64(timeout)-1).Draw(t, "delay"))
			}
			if answered := last.Add(delay); pings > 0 && !next.Before(answered) {
				l.Heard = answered
			}
		}
		if pings < 3 { // a client that takes a minute for each answer is pinged that seldom
			t.Fatalf("%d pings in 200 steps", pings)
		}
	})
}

// A peer that answers pings and says things at random, until it falls silent:
// it is gone an interval and a timeout later at most, Never while it may still
// answer, and Never before it has fallen silent.
func TestASilentClientGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval, timeout := seconds(t, 1, 60, "interval"), seconds(t, 1, 60, "timeout")
		now := epoch()
		l := connected(interval, timeout, 0, now)
		l.Strategy = anyStrategy(t)
		silent := now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "silence")))
		var says []Moment // when the client's words arrive, in order
		for at := now; rapid.Bool().Draw(t, "talks"); {
			at = at.Add(time.Duration(rapid.Int64Range(1, int64(2*time.Minute)).Draw(t, "pause")))
			says = append(says, at)
		}
		hear := func(upTo Moment) {
			for len(says) > 0 && !says[0].After(upTo) {
				if says[0].Before(silent) {
					l.Heard, l.Active = max(l.Heard, says[0]), says[0]
				}
				says = says[1:]
			}
		}
		pinged, answer := Moment(0), Moment(0)
		for next := l.Next(now); ; {
			if !next.After(now) {
				t.Fatalf("asks again at %v, which is not after %v", next, now)
			}
			now = next
			hear(now)
			if answer != 0 && !answer.After(now) && answer.Before(silent) {
				l.Heard, answer = max(l.Heard, answer), 0
			}
			ping, end, then := l.Step(now)
			if end.Code != "" {
				if end != protocol.PingTimeout || now.Before(silent) && (answer == 0 || answer.Before(silent)) ||
					now.Sub(l.Heard) > interval+timeout || now.Sub(pinged) < timeout {
					t.Fatalf("%s at %v, heard %v, silent since %v, pinged at %v", end.Code, now, l.Heard, silent, pinged)
				}
				return
			}
			if now.Sub(l.Heard) > interval+timeout {
				t.Fatalf("still there at %v, heard %v", now, l.Heard)
			}
			if ping {
				pinged = now
				answer = now.Add(time.Duration(rapid.Int64Range(1, int64(timeout)-1).Draw(t, "delay")))
			}
			next = then
		}
	})
}

// When a client that says something every second is pinged, and one that says
// nothing but pong.
func TestStrategies(t *testing.T) {
	for _, tc := range []struct {
		strategy Strategy
		promise  time.Duration
		busy     []int // seconds, within 5 minutes
		quiet    []int // within 1 minute
	}{
		{Fixed, 10 * time.Second, nil, []int{10, 20, 30, 40, 50, 60}},
		{Adaptive, 80 * time.Second, []int{10, 30, 70, 150, 230}, []int{10, 20, 30, 40, 50, 60}},
		{OnIdle, 0, []int{}, []int{10, 21, 32, 43, 54}},
	} {
		t.Run(tc.strategy.String(), func(t *testing.T) {
			if got := (&Pace{Interval: 10 * time.Second, Strategy: tc.strategy}).Promise(); got != tc.promise {
				t.Errorf("promises a ping every %v", got)
			}
			if got := pings(t, tc.strategy, 60, false); !slices.Equal(got, tc.quiet) {
				t.Errorf("a quiet client is pinged at %v", got)
			}
			if got := pings(t, tc.strategy, 300, true); tc.busy != nil && !slices.Equal(got, tc.busy) {
				t.Errorf("a busy client is pinged at %v", got)
			}
		})
	}
}

// A client that was busy and has become quiet is pinged within an interval.
func TestBackingOffEndsWithTheTraffic(t *testing.T) {
	start := epoch()
	l := connected(10*time.Second, 5*time.Second, 0, start)
	l.Strategy, l.backoff = Adaptive, maxBackoff
	l.Heard, l.Active = start.Add(33*time.Second), start.Add(33*time.Second)
	if ping, _, next := l.Step(start.Add(42 * time.Second)); ping || next != start.Add(43*time.Second) {
		t.Fatalf("ping %v, next in %v", ping, next.Sub(start))
	}
	if ping, _, _ := l.Step(start.Add(43 * time.Second)); !ping {
		t.Fatal("silent for an interval and not pinged")
	}
	l.Heard = start.Add(44 * time.Second)
	if ping, _, _ := l.Step(start.Add(54 * time.Second)); !ping || l.backoff != 0 {
		t.Fatalf("ping %v, backoff %d", ping, l.backoff)
	}
}

// pings returns at which seconds a client with an interval of ten is pinged; it
// answers at once.
func pings(t *testing.T, strategy Strategy, seconds int, busy bool) (at []int) {
	t.Helper()
	start := epoch()
	l := connected(10*time.Second, 5*time.Second, 0, start)
	l.Strategy = strategy
	for s := range seconds {
		now := start.Add(time.Duration(s+1) * time.Second)
		ping, end, _ := l.Step(now)
		if end.Code != "" {
			t.Fatalf("ended with %s after %d s", end.Code, s+1)
		}
		if ping {
			at = append(at, s+1)
			l.Heard = now
			l.Step(now) // it is not heard after the ping yet
			l.Heard++
		}
		if busy {
			l.Heard, l.Active = now+1, now+1
		}
	}
	if at == nil {
		at = []int{}
	}
	return at
}

func TestStrategyNames(t *testing.T) {
	for i := range strategies() {
		var h Strategy
		if err := h.UnmarshalText([]byte(Strategy(i).String())); err != nil || int(h) != i {
			t.Errorf("%v, %v", h, err)
		}
	}
	var h Strategy
	if err := h.UnmarshalText([]byte("often")); err == nil || !strings.Contains(err.Error(), "on-idle") {
		t.Errorf("an unknown Strategy: %v", err)
	}
}

func TestEnds(t *testing.T) {
	start := epoch()
	at := start.Add
	for _, tc := range []struct {
		name   string
		change func(*Liveness)
		when   time.Duration
		end    string
		next   time.Duration // when there is no end
	}{
		{"nothing yet", func(*Liveness) {}, time.Second, "", 25 * time.Second},
		{"no connect, in time", func(l *Liveness) { l.ConnectBy = at(5 * time.Second) }, 4 * time.Second, "", 5 * time.Second},
		{"no connect, late", func(l *Liveness) { l.ConnectBy = at(5 * time.Second) }, 5 * time.Second, "connect_timeout", 0},
		{"expiry to come", func(l *Liveness) { l.Expires = at(7 * time.Second) }, time.Second, "", 7 * time.Second},
		{"expired", func(l *Liveness) { l.Expires = at(7 * time.Second) }, 7 * time.Second, "token_expired", 0},
		{"idle to come", func(l *Liveness) { l.Idle = 9 * time.Second }, time.Second, "", 9 * time.Second},
		{"idle", func(l *Liveness) { l.Idle = 9 * time.Second }, 9 * time.Second, "idle_timeout", 0},
		{"pings do not count as work", func(l *Liveness) { l.Idle = 9 * time.Second; l.Heard = at(8 * time.Second) }, 9 * time.Second, "idle_timeout", 0},
		{"pinged", func(*Liveness) {}, 25 * time.Second, "", 35 * time.Second},
		{"expired before idle", func(l *Liveness) { l.Idle = time.Second; l.Expires = at(time.Second) }, time.Second, "token_expired", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := connected(25*time.Second, 10*time.Second, 0, start)
			tc.change(l)
			_, end, next := l.Step(at(tc.when))
			if end.Code != tc.end || tc.end == "" && next != at(tc.next) {
				t.Errorf("%q, next in %v", end.Code, next.Sub(start))
			}
		})
	}
}

// A transport that notices dead peers itself is Never pinged, though idle
// connections and old credentials end all the same.
func TestQuietConnectionsAreNotPinged(t *testing.T) {
	l := Liveness{Pace: &Pace{Interval: Never, Idle: time.Hour}, Heard: 1, Active: 1, LastPing: 1}
	now := Moment(1)
	for now.Sub(1) < 59*time.Minute {
		ping, end, next := l.Step(now)
		if ping || end.Code != "" {
			t.Fatalf("after %v: ping %v, end %q", now.Sub(1), ping, end.Code)
		}
		now = min(next, now.Add(time.Minute))
	}
	if _, end, _ := l.Step(Moment(1).Add(time.Hour)); end.Code != protocol.IdleTimeout.Code {
		t.Fatalf("idle for an hour: %q", end.Code)
	}
}
