package record

// Faults counts what must not happen.
type Faults struct {
	// Lost messages never came; Doubled came more than once; Disordered came
	// after one that was published later.
	Lost       int64 `json:"lost"`
	Doubled    int64 `json:"doubled"`
	Disordered int64 `json:"disordered"`
	// Chain counts messages whose prev was not the seq of the one before.
	Chain int64 `json:"broken_chain"`
	// Gaps counts the times the server said that it cannot recover.
	Gaps int64 `json:"gaps"`
	// Closed counts connections that ended though nobody ended them.
	Closed int64 `json:"closed"`
	// Refused counts error answers.
	Refused int64 `json:"refused"`
}

// Any tells whether anything happened.
func (f *Faults) Any() bool { return *f != Faults{} }

// Add adds what other counted.
func (f *Faults) Add(other Faults) {
	f.Lost += other.Lost
	f.Doubled += other.Doubled
	f.Disordered += other.Disordered
	f.Chain += other.Chain
	f.Gaps += other.Gaps
	f.Closed += other.Closed
	f.Refused += other.Refused
}

// maxMissing bounds the numbers that a Track remembers as skipped. Skipped
// ones beyond it are lost for good: should they come late, they count as
// doubled.
const maxMissing = 4096

// Track follows what one receiver gets of one topic. The load numbers its
// messages from 1 without holes; the server numbers them with seq and prev.
// The zero value expects number 1 and takes the first seq as it comes.
type Track struct {
	number  uint64 // the highest that came
	seq     uint64
	placed  bool // seq is known
	midway  bool // the next number is taken as it comes
	missing map[uint64]struct{}
}

// Place tells the seq of the last message before those that follow.
func (t *Track) Place(seq uint64) { t.seq, t.placed = seq, true }

// Anew forgets everything: the receiver starts in the midst of the topic.
func (t *Track) Anew() { *t = Track{midway: true} }

// Seq returns the highest seq that came or was placed.
func (t *Track) Seq() uint64 { return t.seq }

// Number returns the highest number that came.
func (t *Track) Number() uint64 { return t.number }

// Chain checks the server's numbers of a message, of this load or not. Topics
// that the server does not number have none.
func (t *Track) Chain(seq, prev uint64, f *Faults) {
	if seq == 0 {
		return
	}
	if t.placed && (prev != t.seq || seq <= t.seq) {
		f.Chain++
	}
	t.seq, t.placed = max(t.seq, seq), true
}

// Arrived checks the load's number of a message and reports whether it came
// for the first time.
func (t *Track) Arrived(number uint64, f *Faults) bool {
	switch {
	case number == t.number+1 || t.midway:
		t.midway = false
	case number > t.number:
		t.skip(number, f)
	default:
		if _, ok := t.missing[number]; !ok {
			f.Doubled++
			return false
		}
		delete(t.missing, number)
		f.Lost--
		f.Disordered++
		return true
	}
	t.number = number
	return true
}

// End counts what is still missing when number was the last to be published.
// It may be called once, when nothing comes any more.
func (t *Track) End(number uint64, f *Faults) {
	if !t.midway && number > t.number {
		f.Lost += int64(number - t.number)
	}
}

// skip notes that the numbers between the last and this have not come.
func (t *Track) skip(number uint64, f *Faults) {
	f.Lost += int64(number - t.number - 1)
	if t.missing == nil {
		t.missing = map[uint64]struct{}{}
	}
	for n := t.number + 1; n < number && len(t.missing) < maxMissing; n++ {
		t.missing[n] = struct{}{}
	}
}
