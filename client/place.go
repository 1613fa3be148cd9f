package client

import "slices"

// maxHeld bounds the live messages that wait while a gap before them is
// repaired; what comes above it is read from history again.
const maxHeld = 1000

// place is where one topic stands: which message comes next, which were handed
// out, and which of those are still being handled. It does no I/O and knows no
// time; the client's lock guards it.
type place struct {
	topic string
	epoch string
	known bool   // seq means something
	seq   uint64 // the newest message known to exist
	seen  uint64 // the newest message that was handed out
	last  int64  // Unix milliseconds of the newest message

	repairing  bool
	overflowed bool
	held       []Message
	own        map[uint64]struct{} // published here without echo: they never arrive
	open       []task              // handed out and not acknowledged, oldest first
	handled    uint64              // everything up to it is
	gap        Position            // the last one that was told
}

// task is a message with the number of handlers that are not done with it.
type task struct {
	seq  uint64
	left int
}

// moveTo goes on after p, whatever lies before it.
func (t *place) moveTo(p Position) {
	if p.Epoch != t.epoch {
		t.seen, t.handled = 0, 0
		t.open = nil
	}
	t.epoch, t.seq, t.known = p.Epoch, p.Seq, true
}

// misses reports whether something lies between the newest message and m.
func (t *place) misses(m *Message) bool {
	if !t.known || m.Prev <= t.seq {
		return false
	}
	_, mine := t.own[m.Prev]
	return !mine || m.Prev != t.seq+1
}

// took notes that m was handed out.
func (t *place) took(m *Message) {
	t.seen = m.Seq
	t.last = m.Time.UnixMilli()
	t.skip(m.Seq)
	for seq := range t.own {
		if seq < m.Seq {
			delete(t.own, seq)
		}
	}
}

// skip notes that seq exists.
func (t *place) skip(seq uint64) {
	t.seq, t.known = max(t.seq, seq), true
}

// mine notes a message of this client that the server will not echo.
func (t *place) mine(seq uint64) {
	if seq <= t.seq {
		return
	}
	if t.own == nil {
		t.own = make(map[uint64]struct{})
	}
	t.own[seq] = struct{}{}
}

// hold keeps a live message for after the repair.
func (t *place) hold(m Message) {
	if len(t.held) >= maxHeld {
		t.overflowed = true
		return
	}
	t.held = append(t.held, m)
}

// begin notes that n handlers work on the message numbered seq.
func (t *place) begin(seq uint64, n int) { t.open = append(t.open, task{seq, n}) }

// done notes that one of them has finished, and returns the number up to which
// everything is handled when that has grown.
func (t *place) done(seq uint64) (upTo uint64, grown bool) {
	i := slices.IndexFunc(t.open, func(k task) bool { return k.seq == seq })
	if i < 0 {
		return 0, false
	}
	t.open[i].left--
	for len(t.open) > 0 && t.open[0].left <= 0 {
		upTo, grown = t.open[0].seq, true
		t.open = t.open[1:]
	}
	t.handled = max(t.handled, upTo)
	return upTo, grown
}

// since is where a subscription to this topic goes on.
func (t *place) since() *Position { return &Position{Epoch: t.epoch, Seq: t.seq} }

// lost forgets what belonged to the connection.
func (t *place) lost() {
	t.repairing, t.overflowed = false, false
	t.held = nil
}
