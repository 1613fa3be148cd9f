package session

import (
	"time"

	"github.com/parleyhq/parley/protocol"
)

// liveness decides, from the clock and what was heard, when a connection is
// pinged and when it has to end. It is pure: no clock, no I/O.
type liveness struct {
	interval, timeout, idle time.Duration

	connectBy time.Time // zero once connected
	expires   time.Time // of the credentials; zero: never
	heard     time.Time // any frame
	active    time.Time // any command but pong
	lastPing  time.Time
	waiting   bool // for something to be heard after lastPing
}

// step returns what is due at now: a ping, or the end for a reason with a
// code. Without an end it returns when to ask again.
func (l *liveness) step(now time.Time) (ping bool, end protocol.Reason, next time.Time) {
	if !l.connectBy.IsZero() {
		if !now.Before(l.connectBy) {
			return false, protocol.ConnectTimeout, time.Time{}
		}
		return false, end, l.connectBy
	}
	if !l.expires.IsZero() && !now.Before(l.expires) {
		return false, protocol.TokenExpired, time.Time{}
	}
	if l.idle > 0 && !now.Before(l.active.Add(l.idle)) {
		return false, protocol.IdleTimeout, time.Time{}
	}
	if l.waiting && !l.heard.Before(l.lastPing) {
		l.waiting = false
	}
	switch {
	case l.waiting && !now.Before(l.lastPing.Add(l.timeout)):
		return false, protocol.PingTimeout, time.Time{}
	case !l.waiting && !now.Before(l.lastPing.Add(l.interval)):
		l.lastPing, l.waiting, ping = now, true, true
	}
	return ping, end, l.next(now)
}

// next returns when something may be due after now.
func (l *liveness) next(now time.Time) time.Time {
	next := l.lastPing.Add(l.interval)
	if l.waiting && !next.After(now) || l.waiting && l.timeout < l.interval {
		next = l.lastPing.Add(l.timeout)
	}
	if !l.expires.IsZero() && l.expires.Before(next) {
		next = l.expires
	}
	if l.idle > 0 && l.active.Add(l.idle).Before(next) {
		next = l.active.Add(l.idle)
	}
	return next
}
