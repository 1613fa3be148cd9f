package session

import (
	"time"

	"github.com/parleyhq/parley/protocol"
)

// moment is a time as nanoseconds since the manager was made. There are many
// in a session, and a time.Time is three times as large. 0 means none.
type moment int64

func (at moment) add(d time.Duration) moment { return at + moment(d) }

// until returns how long it is from at to later.
func (at moment) until(later moment) time.Duration { return time.Duration(later - at) }

// pace is how often a client must be heard; the same for all sessions.
type pace struct{ interval, timeout, idle time.Duration }

// liveness decides, from the clock and what was heard, when a connection is
// pinged and when it has to end. It is pure: no clock, no I/O.
type liveness struct {
	connectBy moment // none once connected
	expires   moment // of the credentials; none: never
	heard     moment // any frame
	active    moment // any command but pong
	lastPing  moment
	waiting   bool // for something to be heard after lastPing
}

// step returns what is due at now: a ping, or the end for a reason with a
// code. Without an end it returns when to ask again.
func (l *liveness) step(p *pace, now moment) (ping bool, end protocol.Reason, next moment) {
	if l.connectBy != 0 {
		if now >= l.connectBy {
			return false, protocol.ConnectTimeout, 0
		}
		return false, end, l.connectBy
	}
	if l.expires != 0 && now >= l.expires {
		return false, protocol.TokenExpired, 0
	}
	if p.idle > 0 && now >= l.active.add(p.idle) {
		return false, protocol.IdleTimeout, 0
	}
	if l.waiting && l.heard > l.lastPing {
		l.waiting = false
	}
	switch {
	case l.waiting && now >= l.lastPing.add(p.timeout):
		return false, protocol.PingTimeout, 0
	case !l.waiting && now >= l.lastPing.add(p.interval):
		l.lastPing, l.waiting, ping = now, true, true
	}
	return ping, end, l.next(p, now)
}

// next returns when something may be due after now.
func (l *liveness) next(p *pace, now moment) moment {
	next := l.lastPing.add(p.interval)
	if l.waiting && next <= now || l.waiting && p.timeout < p.interval {
		next = l.lastPing.add(p.timeout)
	}
	if l.expires != 0 && l.expires < next {
		next = l.expires
	}
	if p.idle > 0 && l.active.add(p.idle) < next {
		next = l.active.add(p.idle)
	}
	return next
}
