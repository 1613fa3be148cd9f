package session

import (
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

// pace is how often a client must be heard; idle 0 means never.
type pace struct{ interval, timeout, idle time.Duration }

// liveness decides, from the clock and what was heard, when a connection is
// pinged and when it has to end. It is pure: no clock, no I/O.
type liveness struct {
	*pace // shared by all sessions

	connectBy moment // zero once connected
	expires   moment // of the credentials; zero: never
	heard     moment // any frame
	active    moment // any command but pong
	lastPing  moment
	waiting   bool // for something to be heard after lastPing
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
	case !l.waiting && !now.Before(l.lastPing.Add(l.interval)):
		l.lastPing, l.waiting, ping = now, true, true
	}
	return ping, end, l.next(now)
}

// next returns when something may be due after now.
func (l *liveness) next(now moment) moment {
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
