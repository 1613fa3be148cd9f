// Package admission bounds the rate at which connections are let in. It is pure:
// no clock, no lock, no I/O.
package admission

import (
	"net/netip"
	"strings"
	"time"
)

// acceptBurst is how many seconds' worth of new connections may come at once,
// as they do when a network or a node comes back.
const acceptBurst = 10

// maxAddresses bounds how many addresses are remembered. When more than that
// open connections within a few seconds, only the node's rate holds the rest.
const maxAddresses = 1 << 16

// Gate bounds the rate of new connections, of the node and of each address. It
// counts as the generic cell rate algorithm does: one moment, when those so far
// would have come at the allowed rate. Moments are counted from any beginning.
type Gate struct {
	rate, rateOneIP int // a second; not positive: no limit
	limit           int // addresses remembered

	node time.Duration
	// What an address has used up is given back within acceptBurst seconds: it
	// is enough to remember those of this period and of the one before.
	recent, before map[string]time.Duration
	turned         time.Duration // when recent was begun
}

// New returns a Gate that lets in rate connections a second, and rateOneIP of
// each address, and ten times as many at once. Not positive: no limit.
func New(rate, rateOneIP int) *Gate {
	return &Gate{rate: rate, rateOneIP: rateOneIP, limit: maxAddresses, recent: make(map[string]time.Duration), before: make(map[string]time.Duration)}
}

// Take lets a connection in, or returns how long until one can be, and whether
// the node is what is busy. What is refused uses nothing up.
func (a *Gate) Take(address string, now time.Duration) (wait time.Duration, node bool) {
	due, wait := pass(a.node, a.rate, now)
	if wait > 0 {
		return wait, true
	}
	if a.rateOneIP > 0 {
		if wait := a.takeOneIP(network(address), now); wait > 0 {
			return wait, false
		}
	}
	a.node = due
	return 0, false
}

func (a *Gate) takeOneIP(address string, now time.Duration) time.Duration {
	if now-a.turned > acceptBurst*time.Second {
		a.turn(now)
	}
	used, known := a.recent[address]
	if !known {
		used = a.before[address]
	}
	due, wait := pass(used, a.rateOneIP, now)
	if wait == 0 && (known || len(a.recent) < a.limit) {
		a.recent[address] = due
	}
	return wait
}

// turn begins a new period; the maps are used again, so that a quiet node
// makes no garbage, unless they have become large.
func (a *Gate) turn(now time.Duration) {
	a.before, a.recent = a.recent, a.before
	if now-a.turned > 2*acceptBurst*time.Second {
		clear(a.before)
	}
	if len(a.recent) > 1024 {
		a.recent = make(map[string]time.Duration)
	}
	clear(a.recent)
	a.turned = now
}

// pass returns what used becomes with one more, or how long until one more is
// allowed.
func pass(used time.Duration, rate int, now time.Duration) (time.Duration, time.Duration) {
	if rate <= 0 {
		return used, 0
	}
	due := max(used, now)
	if wait := due - now - (acceptBurst*time.Second - time.Second/time.Duration(rate)); wait > 0 {
		return used, wait
	}
	return due + time.Second/time.Duration(rate), 0
}

// network is what one subscriber of an Internet provider has: an IPv4 address,
// or 2⁶⁴ IPv6 addresses that count as one.
func network(address string) string {
	if !strings.Contains(address, ":") {
		return address
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.Addr().String()
}
