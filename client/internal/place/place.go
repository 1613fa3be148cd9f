// Package place is where one topic stands for a client: which message comes
// next, which were handed out, and which of those are still being handled. It
// does no I/O and knows no time; whoever uses it guards it with a lock.
package place

import (
	"slices"

	"github.com/parleyhq/parley/message"
)

// MaxHeld bounds the live messages that wait while a gap before them is
// repaired; what comes above it is read from history again.
const MaxHeld = 1000

// Place is where one topic stands; M is a message.
type Place[M any] struct {
	Topic string
	Epoch string
	Known bool   // seq means something
	Seq   uint64 // the newest message known to exist
	Seen  uint64 // the newest message that was handed out
	Last  int64  // Unix milliseconds of the newest message

	Repairing  bool
	Overflowed bool
	Held       []M
	Own        map[uint64]struct{} // published here without echo: they never arrive
	open       []task              // handed out and not acknowledged, oldest first
	Handled    uint64              // everything up to it is
	Gap        message.Position    // the last one that was told
}

// task is a message with the number of handlers that are not done with it.
type task struct {
	seq  uint64
	left int
}

// MoveTo goes on after p, whatever lies before it.
func (t *Place[M]) MoveTo(p message.Position) {
	if p.Epoch != t.Epoch {
		t.Seen, t.Handled = 0, 0
		t.open = nil
	}
	t.Epoch, t.Seq, t.Known = p.Epoch, p.Seq, true
}

// Misses reports whether something lies between the newest message and one that
// has the number prev before it.
func (t *Place[M]) Misses(prev uint64) bool {
	if !t.Known || prev <= t.Seq {
		return false
	}
	_, mine := t.Own[prev]
	return !mine || prev != t.Seq+1
}

// Took notes that the message numbered seq was handed out, which was published
// at a Unix millisecond.
func (t *Place[M]) Took(seq uint64, at int64) {
	t.Seen, t.Last = seq, at
	t.Skip(seq)
	for own := range t.Own {
		if own < seq {
			delete(t.Own, own)
		}
	}
}

// Skip notes that seq exists.
func (t *Place[M]) Skip(seq uint64) {
	t.Seq, t.Known = max(t.Seq, seq), true
}

// Mine notes a message of this client that the server will not echo.
func (t *Place[M]) Mine(seq uint64) {
	if seq <= t.Seq {
		return
	}
	if t.Own == nil {
		t.Own = make(map[uint64]struct{})
	}
	t.Own[seq] = struct{}{}
}

// Hold keeps a live message for after the repair.
func (t *Place[M]) Hold(m M) {
	if len(t.Held) >= MaxHeld {
		t.Overflowed = true
		return
	}
	t.Held = append(t.Held, m)
}

// Begin notes that n handlers work on the message numbered seq.
func (t *Place[M]) Begin(seq uint64, n int) { t.open = append(t.open, task{seq, n}) }

// Done notes that one of them has finished, and returns the number up to which
// everything is handled when that has grown.
func (t *Place[M]) Done(seq uint64) (upTo uint64, grown bool) {
	i := slices.IndexFunc(t.open, func(k task) bool { return k.seq == seq })
	if i < 0 {
		return 0, false
	}
	t.open[i].left--
	for len(t.open) > 0 && t.open[0].left <= 0 {
		upTo, grown = t.open[0].seq, true
		t.open = t.open[1:]
	}
	t.Handled = max(t.Handled, upTo)
	return upTo, grown
}

// Since is where a subscription to this topic goes on.
func (t *Place[M]) Since() *message.Position { return &message.Position{Epoch: t.Epoch, Seq: t.Seq} }

// Lost forgets what belonged to the connection.
func (t *Place[M]) Lost() {
	t.Repairing, t.Overflowed = false, false
	t.Held = nil
}
