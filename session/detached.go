package session

import (
	"slices"
	"time"

	"github.com/parleyhq/parley/message"
)

// record is what remains of a session whose connection is gone.
type record struct {
	user string
	subs []saved
}

// saved is one subscription, and where to go on.
type saved struct {
	filter   string
	qos      uint32
	presence bool
	at       *message.Position
}

// maxDetachedBytes bounds the memory of all records together.
const maxDetachedBytes = 64 << 20

// size is about what the record takes.
func (r record) size() int {
	n := 200 + len(r.user)
	for _, sub := range r.subs {
		n += 80 + len(sub.filter)
	}
	return n
}

// detached keeps records for a while, bounded in number and bytes; the oldest
// go first.
// It is guarded by the manager's lock.
type detached struct {
	limit  int
	bytes  int // of all records, about
	window time.Duration
	byID   map[string]keptRecord
	order  []keptID
}

type keptRecord struct {
	record
	until time.Time
}

type keptID struct {
	id    string
	until time.Time
}

func (d *detached) len() int { return len(d.byID) }

func (d *detached) put(id string, r record, now time.Time) {
	if d.byID == nil {
		d.byID = make(map[string]keptRecord)
	}
	d.expire(now)
	d.drop(id)
	for (len(d.byID) >= d.limit || d.bytes+r.size() > maxDetachedBytes) && len(d.order) > 0 {
		d.shift()
	}
	d.bytes += r.size()
	until := now.Add(d.window)
	d.byID[id] = keptRecord{r, until}
	if len(d.order) >= 2*d.limit { // clients that come and go quickly leave places behind
		d.order = slices.DeleteFunc(d.order, d.stale)
	}
	d.order = append(d.order, keptID{id, until})
}

// take removes and returns the record of a session of this user.
func (d *detached) take(id, user string, now time.Time) (record, bool) {
	d.expire(now)
	r, ok := d.byID[id]
	if !ok || r.user != user {
		return record{}, false
	}
	d.drop(id)
	return r.record, true
}

// drop forgets a record, if there is one. Its place in order goes when its
// time comes.
func (d *detached) drop(id string) {
	if r, ok := d.byID[id]; ok {
		d.bytes -= r.size()
		delete(d.byID, id)
	}
}

func (d *detached) expire(now time.Time) {
	for len(d.order) > 0 && !now.Before(d.order[0].until) {
		d.shift()
	}
}

func (d *detached) shift() {
	first := d.order[0]
	d.order = d.order[1:]
	if !d.stale(first) {
		d.drop(first.id)
	}
}

// stale reports whether a place in order belongs to a record that was taken.
func (d *detached) stale(k keptID) bool {
	r, ok := d.byID[k.id]
	return !ok || !r.until.Equal(k.until)
}

func (d *detached) dropUser(user string) {
	for id, r := range d.byID {
		if r.user == user {
			d.drop(id)
		}
	}
}
