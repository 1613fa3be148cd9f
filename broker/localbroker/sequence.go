package localbroker

import (
	"cmp"
	"slices"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

// sequence decides about the messages of one topic: what their numbers are, and
// what repeats an earlier one. It is the same for topics in memory and on the
// disk, has no lock, no clock and no input or output, and is tested against a
// model that forgets nothing.
type sequence struct {
	epoch string
	seq   uint64 // of the newest message

	keys      map[string]uint64 // publisher and key → seq
	keyOrder  []keyUse          // oldest first
	producers map[string]*producer
}

type keyUse struct {
	key   string
	until time.Time
}

// producer is how far a producer has got.
type producer struct {
	epoch, n uint64
	seqs     []uint64 // of its newest messages, n last; 0 where it is not known
}

// maxProducerSeqs is for how many of a producer's messages a repeat is told the
// position of the first.
const maxProducerSeqs = 16

// verdict is the decision about a message.
type verdict struct {
	repeated bool
	seq      uint64 // of the first, when it is known
	err      error
}

// judge decides about a message and changes nothing.
func (s *sequence) judge(m *message.Message) verdict {
	if m.Producer != "" {
		if v := s.judgeProducer(m); v.repeated || v.err != nil {
			return v
		}
	}
	if m.Key == "" {
		return verdict{}
	}
	if seq, seen := s.keys[keyOf(m)]; seen {
		return verdict{repeated: true, seq: seq}
	}
	return verdict{}
}

func (s *sequence) judgeProducer(m *message.Message) verdict {
	p := s.producers[m.Producer]
	if p == nil {
		p = &producer{}
	}
	switch {
	case m.ProducerEpoch < p.epoch:
		return verdict{err: broker.ErrFenced}
	case m.N > p.n+1, m.N == 0:
		return verdict{err: &broker.SequenceError{Next: p.n + 1}}
	case m.N <= p.n:
		v := verdict{repeated: true}
		if back := p.n - m.N; back < uint64(len(p.seqs)) {
			v.seq = p.seqs[uint64(len(p.seqs))-1-back]
		}
		return v
	}
	return verdict{}
}

// place gives m the next position. judge has let it pass.
func (s *sequence) place(m *message.Message) {
	m.Epoch, m.Prev = s.epoch, s.seq
	s.seq++
	m.Seq = s.seq
	if m.Producer != "" {
		s.advance(m, m.Seq)
	}
}

// advance notes that m's number is used up, for the message at seq. It also
// adopts a newer epoch of the producer.
func (s *sequence) advance(m *message.Message, seq uint64) {
	p := s.producers[m.Producer]
	if p == nil {
		p = &producer{}
		if s.producers == nil {
			s.producers = make(map[string]*producer)
		}
		s.producers[m.Producer] = p
	}
	p.epoch = max(p.epoch, m.ProducerEpoch)
	if m.N != p.n+1 {
		return
	}
	p.n = m.N
	if len(p.seqs) == maxProducerSeqs {
		copy(p.seqs, p.seqs[1:])
		p.seqs = p.seqs[:maxProducerSeqs-1]
	}
	p.seqs = append(p.seqs, seq)
}

func keyOf(m *message.Message) string { return m.From + "\x00" + m.Key }

// remember keeps the key of a placed message, and returns how many bytes
// that takes.
func (s *sequence) remember(key string, seq uint64, until time.Time) int64 {
	if s.keys == nil {
		s.keys = make(map[string]uint64)
	}
	s.keys[key] = seq
	s.keyOrder = append(s.keyOrder, keyUse{key, until})
	return sizeOfKey(key)
}

// forgetKeys forgets the keys whose time is up and the oldest above keep, and
// returns how many bytes they took.
func (s *sequence) forgetKeys(now time.Time, keep int) (freed int64) {
	n := 0
	for n < len(s.keyOrder) && (len(s.keyOrder)-n > keep || !now.Before(s.keyOrder[n].until)) {
		delete(s.keys, s.keyOrder[n].key)
		freed += sizeOfKey(s.keyOrder[n].key)
		n++
	}
	clear(s.keyOrder[:n])
	s.keyOrder = s.keyOrder[n:]
	return freed
}

func sizeOfKey(key string) int64 { return int64(len(key)) + 96 }

// oldestKey returns the seq below which no key is remembered.
func (s *sequence) oldestKey() uint64 {
	if len(s.keyOrder) == 0 {
		return s.seq + 1
	}
	return s.keys[s.keyOrder[0].key]
}

// forgetProducers forgets those that have published longest ago when there are
// more than keep, and returns them. It makes room for some more, so that this
// is rare.
func (s *sequence) forgetProducers(keep int) []string {
	if len(s.producers) <= keep {
		return nil
	}
	names := make([]string, 0, len(s.producers))
	for name := range s.producers {
		names = append(names, name)
	}
	newest := func(name string) uint64 {
		seqs := s.producers[name].seqs
		if len(seqs) == 0 {
			return 0
		}
		return seqs[len(seqs)-1]
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(newest(a), newest(b)) })
	names = names[:len(names)-keep+keep/8]
	for _, name := range names {
		delete(s.producers, name)
	}
	return names
}
