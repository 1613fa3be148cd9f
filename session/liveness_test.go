package session

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/protocol"
)

func epoch() moment { return moment(time.Hour) }

// connected returns the state of a connection that connects at start.
func connected(interval, timeout, idle time.Duration, start moment) *liveness {
	return &liveness{pace: &pace{interval, timeout, idle}, heard: start, active: start, lastPing: start}
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
		next, pings, last, delay := l.next(now), 0, now, time.Duration(0)
		for range 200 {
			if !next.After(now) {
				t.Fatalf("asks again at %v, which is not after %v", next, now)
			}
			now = next
			var ping bool
			var end protocol.Reason
			ping, end, next = l.step(now)
			if end.Code != "" {
				t.Fatalf("ended: %+v", end)
			}
			if ping {
				due := interval
				if delay > interval { // the last one was answered after its successor was due
					due = timeout
				}
				if gap := now.Sub(last); gap != due {
					t.Fatalf("%v between two pings, want %v", gap, due)
				}
				pings, last = pings+1, now
				delay = time.Duration(rapid.Int64Range(1, int64(timeout)-1).Draw(t, "delay"))
			}
			if answered := last.Add(delay); pings > 0 && !next.Before(answered) {
				l.heard = answered
			}
		}
		if pings < 50 {
			t.Fatalf("%d pings in 200 steps", pings)
		}
	})
}

// A client that falls silent is gone after an interval and a timeout at most,
// and never while it may still answer.
func TestASilentClientGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval, timeout := seconds(t, 1, 60, "interval"), seconds(t, 1, 60, "timeout")
		now := epoch()
		l := connected(interval, timeout, 0, now)
		silent := now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "silence")))
		pinged := now
		for next := l.next(now); ; {
			now = next
			if now.Before(silent) {
				l.heard = now
			}
			ping, end, then := l.step(now)
			if end.Code != "" {
				if end != protocol.PingTimeout || now.Before(silent) || now.Sub(silent) > interval+timeout+max(interval, timeout) || now.Sub(pinged) < timeout {
					t.Fatalf("%s at %v, silent since %v, pinged at %v", end.Code, now, silent, pinged)
				}
				return
			}
			if ping {
				pinged = now
			}
			if !then.After(now) {
				t.Fatalf("asks again at %v, which is not after %v", then, now)
			}
			next = then
		}
	})
}

func TestEnds(t *testing.T) {
	start := epoch()
	at := start.Add
	for _, tc := range []struct {
		name   string
		change func(*liveness)
		when   time.Duration
		end    string
		next   time.Duration // when there is no end
	}{
		{"nothing yet", func(*liveness) {}, time.Second, "", 25 * time.Second},
		{"no connect, in time", func(l *liveness) { l.connectBy = at(5 * time.Second) }, 4 * time.Second, "", 5 * time.Second},
		{"no connect, late", func(l *liveness) { l.connectBy = at(5 * time.Second) }, 5 * time.Second, "connect_timeout", 0},
		{"expiry to come", func(l *liveness) { l.expires = at(7 * time.Second) }, time.Second, "", 7 * time.Second},
		{"expired", func(l *liveness) { l.expires = at(7 * time.Second) }, 7 * time.Second, "token_expired", 0},
		{"idle to come", func(l *liveness) { l.idle = 9 * time.Second }, time.Second, "", 9 * time.Second},
		{"idle", func(l *liveness) { l.idle = 9 * time.Second }, 9 * time.Second, "idle_timeout", 0},
		{"pings do not count as work", func(l *liveness) { l.idle = 9 * time.Second; l.heard = at(8 * time.Second) }, 9 * time.Second, "idle_timeout", 0},
		{"pinged", func(*liveness) {}, 25 * time.Second, "", 35 * time.Second},
		{"expired before idle", func(l *liveness) { l.idle = time.Second; l.expires = at(time.Second) }, time.Second, "token_expired", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := connected(25*time.Second, 10*time.Second, 0, start)
			tc.change(l)
			_, end, next := l.step(at(tc.when))
			if end.Code != tc.end || tc.end == "" && next != at(tc.next) {
				t.Errorf("%q, next in %v", end.Code, next.Sub(start))
			}
		})
	}
}
