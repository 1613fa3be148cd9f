package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/protocol"
)

// moment is a time as nanoseconds since shortly before the manager was made:
// a session holds many, and a time.Time is three times as large. 0 means none.
type moment int64

func (t moment) Add(d time.Duration) moment { return t + moment(d) }
func (t moment) Sub(u moment) time.Duration { return time.Duration(t - u) }
func (t moment) Before(u moment) bool       { return t < u }
func (t moment) After(u moment) bool        { return t > u }
func (t moment) IsZero() bool               { return t == 0 }

// HeartbeatStrategy is when a client is pinged. Under each of them a peer that
// has gone silent is gone within an interval and a timeout.
type HeartbeatStrategy uint8

const (
	// HeartbeatFixed pings once an interval, whatever else is said.
	HeartbeatFixed HeartbeatStrategy = iota
	// HeartbeatAdaptive pings less and less often, down to once in eight
	// intervals, while the client says something by itself. When nothing was
	// heard for an interval it pings, and begins anew.
	HeartbeatAdaptive
	// HeartbeatOnIdle pings only when nothing was heard for an interval. A
	// client that is busy hears no pings, so it is not told to expect any.
	HeartbeatOnIdle
)

// maxBackoff is how often HeartbeatAdaptive doubles the interval.
const maxBackoff = 3

func strategies() []string {
	return []string{HeartbeatFixed: "fixed", HeartbeatAdaptive: "adaptive", HeartbeatOnIdle: "on-idle"}
}

// String returns the name that the configuration uses.
func (h HeartbeatStrategy) String() string {
	if names := strategies(); int(h) < len(names) {
		return names[h]
	}
	return fmt.Sprintf("HeartbeatStrategy(%d)", uint8(h))
}

// UnmarshalText understands the names that String returns.
func (h *HeartbeatStrategy) UnmarshalText(name []byte) error {
	i := slices.Index(strategies(), string(name))
	if i < 0 {
		return fmt.Errorf("use %s", strings.Join(strategies(), ", "))
	}
	*h = HeartbeatStrategy(i)
	return nil
}

// never is longer than any connection lasts.
const never = 50 * 365 * 24 * time.Hour

// pace is how often a client must be heard; idle 0 means never.
type pace struct {
	interval, timeout, idle time.Duration
	strategy                HeartbeatStrategy
}

// promise is how often a client that listens hears a ping at least; 0 when
// nothing can be promised.
func (p *pace) promise() time.Duration {
	switch p.strategy {
	case HeartbeatAdaptive:
		return p.interval << maxBackoff
	case HeartbeatOnIdle:
		return 0
	default:
		return p.interval
	}
}

// liveness decides, from the clock and what was heard, when a connection is
// pinged and when it has to end. It is pure: no clock, no I/O.
type liveness struct {
	*pace // shared by all sessions

	connectBy moment // zero once connected
	expires   moment // of the credentials; zero: never
	heard     moment // any frame
	active    moment // any command but pong
	lastPing  moment
	waiting   bool  // for something to be heard after lastPing
	backoff   uint8 // how often the interval is doubled
}

// step returns what is due at now: a ping, or the end for a reason with a
// code. Without an end it returns when to ask again.
func (l *liveness) step(now moment) (ping bool, end protocol.Reason, next moment) {
	if !l.connectBy.IsZero() {
		if !now.Before(l.connectBy) {
			return false, protocol.ConnectTimeout, 0
		}
		return false, end, l.connectBy
	}
	if !l.expires.IsZero() && !now.Before(l.expires) {
		return false, protocol.TokenExpired, 0
	}
	if l.idle > 0 && !now.Before(l.active.Add(l.idle)) {
		return false, protocol.IdleTimeout, 0
	}
	if l.waiting && !l.heard.Before(l.lastPing) {
		l.waiting = false
	}
	switch {
	case l.waiting && !now.Before(l.lastPing.Add(l.timeout)):
		return false, protocol.PingTimeout, 0
	case !l.waiting && !now.Before(l.due()):
		l.slowDown()
		l.lastPing, l.waiting, ping = now, true, true
	}
	return ping, end, l.next(now)
}

// due returns when the next ping is due, unless one is unanswered.
func (l *liveness) due() moment {
	silent := l.heard.Add(l.interval)
	switch l.strategy {
	case HeartbeatAdaptive:
		return min(l.lastPing.Add(l.interval<<l.backoff), silent)
	case HeartbeatOnIdle:
		return silent
	default:
		return l.lastPing.Add(l.interval)
	}
}

// slowDown makes the next ping come later when the client has said something
// since the last, and as early as ever when it has not.
func (l *liveness) slowDown() {
	switch {
	case l.strategy != HeartbeatAdaptive, !l.active.After(l.lastPing):
		l.backoff = 0
	case l.backoff < maxBackoff:
		l.backoff++
	}
}

// next returns when something may be due after now. While a ping is unanswered
// it is looked every interval whether it still is: an answer that takes its
// time must not put off the next ping.
func (l *liveness) next(now moment) moment {
	next := l.due()
	if l.waiting {
		next = min(l.lastPing.Add(l.timeout), now.Add(l.interval))
	}
	if !l.expires.IsZero() && l.expires.Before(next) {
		next = l.expires
	}
	if l.idle > 0 && l.active.Add(l.idle).Before(next) {
		next = l.active.Add(l.idle)
	}
	return next
}
