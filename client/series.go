package client

import (
	"cmp"
	"container/list"
	"slices"
	"time"
)

// series numbers what this client publishes on one topic, so that the server
// stores each message once and in order, however often it is sent: a message
// keeps its number until it is answered, and the server takes a number only
// when it has the one before. It lives as long as the client, because a number
// that another message had before would be taken for a repeat.
//
// When a message is refused, those behind it come back as out of sequence: they
// are not stored. The series then holds until all that is under way was
// answered, and goes on with new numbers from the one that the server wants.
//
// It does no I/O and knows no time; the client's lock guards it.
type series struct {
	last   uint64 // the number given most recently
	flying int    // under way
	held   bool   // nothing more is sent for now
	paused bool   // held until unpause
	kept   list.List
}

// leastRetry is how long a message that was refused for now waits before it is
// sent again, when the server does not say.
const leastRetry = 500 * time.Millisecond

// number gives e its number as it is sent. One beyond the last was taken back
// by the server meanwhile.
func (s *series) number(e *entry) {
	if e.n == 0 || e.n > s.last {
		s.last++
		e.n = s.last
	}
	s.flying++
	p := e.command.GetPublish()
	p.N = e.n
	if !e.keyed {
		p.Key = ""
	}
}

// verdict is what an answer means for a numbered message.
type verdict struct {
	again bool          // it is sent again
	wait  time.Duration // but not before; call unpause then
}

// judge takes the answer to e. An entry that is sent again must be kept.
func (s *series) judge(e *entry, err *Error) verdict {
	s.flying--
	switch {
	case err == nil:
		return verdict{}
	case err.Code == "out_of_sequence" && err.next > 0:
		s.last, s.held = err.next-1, true
		return verdict{again: true}
	case never(err) || err.Retry == "":
		if e.n == s.last {
			s.last--
		}
		s.held = s.held || s.flying > 0 // those behind it come back
		return verdict{}
	}
	// It may even be stored: only the same number makes it safe to send it again.
	s.held, s.paused = true, true
	return verdict{again: true, wait: max(err.RetryAfter, leastRetry)}
}

// withdrawn notes that nobody waits for the answer to e any more, which is
// under way.
func (s *series) withdrawn() { s.flying-- }

func (s *series) unpause() { s.paused = false }

// resume returns what was held once it may go on, in the order in which it was
// published.
func (s *series) resume() []*entry {
	if !s.held || s.paused || s.flying > 0 {
		return nil
	}
	return s.release()
}

// cut forgets what belonged to the connection, and returns what was held.
func (s *series) cut() []*entry {
	s.flying, s.paused = 0, false
	return s.release()
}

func (s *series) release() []*entry {
	s.held = false
	var out []*entry
	for at := s.kept.Front(); at != nil; at = at.Next() {
		e, _ := at.Value.(*entry)
		out = append(out, e)
	}
	byAge(out)
	return out
}

func byAge(entries []*entry) {
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.command.GetId(), b.command.GetId()) })
}
