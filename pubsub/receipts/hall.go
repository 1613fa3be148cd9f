package receipts

import (
	"fmt"
	"slices"
	"strings"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/store"
)

// Mode is what the people on a topic are told about how far the others have
// got.
type Mode uint8

const (
	// None keeps no receipts.
	None Mode = iota
	// Auto tells who has got how far while at most MaxNamed people have, then
	// how many have while they are at most MaxCounted, and then nothing.
	Auto
	// Who is Auto with names up to MaxCounted people.
	Who
	// Counts is Auto without names.
	Counts
)

// Sizes at which less is told.
const (
	MaxNamed   = 100
	MaxCounted = 1000
)

func modes() []string { return []string{None: "none", Auto: "auto", Who: "who", Counts: "counts"} }

// String returns the name that the configuration uses.
func (m Mode) String() string {
	if names := modes(); int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// UnmarshalText understands the names that String returns, and true for auto.
func (m *Mode) UnmarshalText(name []byte) error {
	text := string(name)
	switch text {
	case "true":
		text = "auto"
	case "false", "":
		text = "none"
	}
	i := slices.Index(modes(), text)
	if i < 0 {
		return fmt.Errorf("use %s", strings.Join(modes(), ", "))
	}
	*m = Mode(i)
	return nil
}

// Valid reports whether there is such a mode.
func (m Mode) Valid() bool { return int(m) < len(modes()) }

// named and counted report what is told when that many people have receipts.
func (m Mode) named(people int) bool {
	return m == Auto && people <= MaxNamed || m == Who && people <= MaxCounted
}

func (m Mode) counted(people int) bool { return m != None && people <= MaxCounted }

// cursors are how far one person has got.
type cursors struct{ delivered, read uint64 }

// hall is how far the people on one topic have got. It is pure: no lock, no
// clock, no I/O.
type hall struct {
	topic, epoch string
	people       map[string]cursors
	large        bool   // more people than are counted: nothing is kept
	front        uint64 // the highest seq that anybody has
	used         bool   // since halls were last given up
}

// newHall returns the hall of a topic whose history is epoch, with what is
// stored of it. Receipts of another epoch mean nothing.
func newHall(topic, epoch string, stored []store.Receipt) *hall {
	h := &hall{topic: topic, epoch: epoch, people: make(map[string]cursors)}
	for _, r := range stored {
		if r.Epoch == epoch {
			h.advance(r.User, cursors{r.Delivered, r.Read})
		}
	}
	return h
}

// advance moves a person on and reports whether that is news. Cursors never
// move back, and who has read something has got it.
func (h *hall) advance(user string, to cursors) bool {
	if h.large {
		return false
	}
	now, known := h.people[user]
	next := cursors{max(now.delivered, to.delivered, to.read), max(now.read, to.read)}
	if known && next == now {
		return false
	}
	if !known && len(h.people) >= MaxCounted {
		h.large, h.people = true, nil
		return false
	}
	h.people[user] = next
	h.front = max(h.front, next.delivered)
	return true
}

// receipt returns that of a person as it is stored.
func (h *hall) receipt(user string) store.Receipt {
	c := h.people[user]
	return store.Receipt{Topic: h.topic, User: user, Epoch: h.epoch, Delivered: c.delivered, Read: c.read}
}

// event tells how far a person has got; nil when their name is not told.
func (h *hall) event(m Mode, user string) *parleyv1.Receipt {
	if h.large || !m.named(len(h.people)) {
		return nil
	}
	c := h.people[user]
	return &parleyv1.Receipt{Topic: h.topic, User: user, Delivered: c.delivered, Read: c.read, Epoch: h.epoch}
}

// summary tells how many have got as far as anybody has; nil when that is not
// told, or names are.
func (h *hall) summary(m Mode) *parleyv1.Receipt {
	if n := len(h.people); h.large || n == 0 || m.named(n) || !m.counted(n) {
		return nil
	}
	r := &parleyv1.Receipt{Topic: h.topic, Delivered: h.front, Read: h.front, Epoch: h.epoch}
	for _, c := range h.people {
		if c.delivered >= h.front {
			r.DeliveredBy++
		}
		if c.read >= h.front {
			r.ReadBy++
		}
	}
	return r
}

// news is an event and the session that caused it alone, "" for none.
type news struct {
	*parleyv1.Receipt

	session string
}

// events are what there is to tell of those who have moved, whose sessions are
// given by user.
func (h *hall) events(m Mode, moved map[string]string) []news {
	if len(moved) == 0 || h.large {
		return nil
	}
	var out []news
	for user, session := range moved {
		if e := h.event(m, user); e != nil {
			out = append(out, news{e, session})
		}
	}
	if e := h.summary(m); e != nil {
		only := news{e, ""}
		if len(moved) == 1 {
			for _, only.session = range moved {
			}
		}
		out = append(out, only)
	}
	return out
}

// list tells how far all have got: one by one in the order of their names, or,
// for each seq that somebody has got to, how many have got at least that far.
func (h *hall) list(m Mode) []*parleyv1.Receipt {
	switch n := len(h.people); {
	case h.large || n == 0 || !m.counted(n):
		return nil
	case !m.named(n):
		return h.stairs()
	}
	out := make([]*parleyv1.Receipt, 0, len(h.people))
	for user := range h.people {
		out = append(out, h.event(m, user))
	}
	slices.SortFunc(out, func(a, b *parleyv1.Receipt) int { return strings.Compare(a.GetUser(), b.GetUser()) })
	return out
}

func (h *hall) stairs() []*parleyv1.Receipt {
	var seqs, delivered, read []uint64
	for _, c := range h.people {
		delivered, read = append(delivered, c.delivered), append(read, c.read)
		seqs = append(seqs, c.delivered, c.read)
	}
	slices.Sort(seqs)
	slices.Sort(delivered)
	slices.Sort(read)
	var out []*parleyv1.Receipt
	for _, seq := range slices.Compact(seqs) {
		if seq == 0 {
			continue
		}
		out = append(out, &parleyv1.Receipt{
			Topic: h.topic, Epoch: h.epoch, Delivered: seq, Read: seq,
			DeliveredBy: atLeast(delivered, seq), ReadBy: atLeast(read, seq),
		})
	}
	return out
}

// atLeast counts those of sorted that are at least seq.
func atLeast(sorted []uint64, seq uint64) uint32 {
	i, _ := slices.BinarySearch(sorted, seq)
	return uint32(len(sorted) - i)
}
