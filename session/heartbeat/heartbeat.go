// Package heartbeat decides when a client is pinged and when a connection is
// taken for dead: pure, without a clock and I/O.
package heartbeat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/protocol"
)

// Moment is a time as nanoseconds since shortly before the manager was made:
// a session holds many, and a time.Time is three times as large. 0 means none.
type Moment int64

// Add returns t moved by d.
func (t Moment) Add(d time.Duration) Moment { return t + Moment(d) }

// Sub returns the time from u to t.
func (t Moment) Sub(u Moment) time.Duration { return time.Duration(t - u) }

// Before and After compare, and IsZero reports whether there is no moment.
func (t Moment) Before(u Moment) bool { return t < u }

// After is described at Before.
func (t Moment) After(u Moment) bool { return t > u }

// IsZero is described at Before.
func (t Moment) IsZero() bool { return t == 0 }

// Strategy is when a client is pinged. Under each of them a peer that
// has gone silent is gone within an interval and a timeout.
type Strategy uint8

const (
	// Fixed pings once an interval, whatever else is said.
	Fixed Strategy = iota
	// Adaptive pings less and less often, down to once in eight
	// intervals, while the client says something by itself. When nothing was
	// heard for an interval it pings, and begins anew.
	Adaptive
	// OnIdle pings only when nothing was heard for an interval. A
	// client that is busy hears no pings, so it is not told to expect any.
	OnIdle
)

// maxBackoff is how often Adaptive doubles the interval.
const maxBackoff = 3

func strategies() []string {
	return []string{Fixed: "fixed", Adaptive: "adaptive", OnIdle: "on-idle"}
}

// String returns the name that the configuration uses.
func (h Strategy) String() string {
	if names := strategies(); int(h) < len(names) {
		return names[h]
	}
	return fmt.Sprintf("Strategy(%d)", uint8(h))
}

// UnmarshalText understands the names that String returns.
func (h *Strategy) UnmarshalText(name []byte) error {
	i := slices.Index(strategies(), string(name))
	if i < 0 {
		return fmt.Errorf("use %s", strings.Join(strategies(), ", "))
	}
	*h = Strategy(i)
	return nil
}

// Never is longer than any connection lasts.
const Never = 50 * 365 * 24 * time.Hour

// Pace is how often a client must be heard; idle 0 means Never.
type Pace struct {
	Interval, Timeout, Idle time.Duration
	Strategy                Strategy
}

// Promise is how often a client that listens hears a ping at least; 0 when
// nothing can be promised.
func (p *Pace) Promise() time.Duration {
	switch p.Strategy {
	case Adaptive:
		return p.Interval << maxBackoff
	case OnIdle:
		return 0
	default:
		return p.Interval
	}
}

// Liveness decides, from the clock and what was heard, when a connection is
// pinged and when it has to end. It is pure: no clock, no I/O.
type Liveness struct {
	*Pace // shared by all sessions

	ConnectBy Moment // zero once connected
	Expires   Moment // of the credentials; zero: Never
	Heard     Moment // any frame
	Active    Moment // any command but pong
	LastPing  Moment
	Waiting   bool  // for something to be heard after lastPing
	backoff   uint8 // how often the interval is doubled
}

// Step returns what is due at now: a ping, or the end for a reason with a
// code. Without an end it returns when to ask again.
func (l *Liveness) Step(now Moment) (ping bool, end protocol.Reason, next Moment) {
	if !l.ConnectBy.IsZero() {
		if !now.Before(l.ConnectBy) {
			return false, protocol.ConnectTimeout, 0
		}
		return false, end, l.ConnectBy
	}
	if !l.Expires.IsZero() && !now.Before(l.Expires) {
		return false, protocol.TokenExpired, 0
	}
	if l.Idle > 0 && !now.Before(l.Active.Add(l.Idle)) {
		return false, protocol.IdleTimeout, 0
	}
	if l.Waiting && !l.Heard.Before(l.LastPing) {
		l.Waiting = false
	}
	switch {
	case l.Waiting && !now.Before(l.LastPing.Add(l.Timeout)):
		return false, protocol.PingTimeout, 0
	case !l.Waiting && !now.Before(l.due()):
		l.slowDown()
		l.LastPing, l.Waiting, ping = now, true, true
	}
	return ping, end, l.Next(now)
}

// due returns when the next ping is due, unless one is unanswered.
func (l *Liveness) due() Moment {
	silent := l.Heard.Add(l.Interval)
	switch l.Strategy {
	case Adaptive:
		return min(l.LastPing.Add(l.Interval<<l.backoff), silent)
	case OnIdle:
		return silent
	default:
		return l.LastPing.Add(l.Interval)
	}
}

// slowDown makes the next ping come later when the client has said something
// since the last, and as early as ever when it has not.
func (l *Liveness) slowDown() {
	switch {
	case l.Strategy != Adaptive, !l.Active.After(l.LastPing):
		l.backoff = 0
	case l.backoff < maxBackoff:
		l.backoff++
	}
}

// Next returns when something may be due after now. While a ping is unanswered
// it is looked every interval whether it still is: an answer that takes its
// time must not put off the next ping.
func (l *Liveness) Next(now Moment) Moment {
	next := l.due()
	if l.Waiting {
		next = min(l.LastPing.Add(l.Timeout), now.Add(l.Interval))
	}
	if !l.Expires.IsZero() && l.Expires.Before(next) {
		next = l.Expires
	}
	if l.Idle > 0 && l.Active.Add(l.Idle).Before(next) {
		next = l.Active.Add(l.Idle)
	}
	return next
}
