package localbroker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
)

// sequenceModel remembers all there was, and looks through it for each answer.
type sequenceModel struct {
	sent  []*message.Message // by seq, from 1
	uses  []modelUse
	state map[string]modelProducer
}

type modelUse struct {
	key   string
	seq   uint64
	until time.Time
}

type modelProducer struct {
	epoch, n uint64
	seqs     map[uint64]uint64 // by number
}

const (
	modelWindow = 10 * time.Second
	modelKeys   = 5
)

// judge is what sequence has to answer.
func (s *sequenceModel) judge(m *message.Message, now time.Time) verdict {
	if m.Producer != "" {
		p := s.state[m.Producer]
		switch {
		case m.ProducerEpoch < p.epoch:
			return verdict{err: broker.ErrFenced}
		case m.N == 0 || m.N > p.n+1:
			return verdict{err: &broker.SequenceError{Next: p.n + 1}}
		case m.N <= p.n:
			return verdict{repeated: true, seq: p.seqs[m.N]}
		}
	}
	for i, u := range s.uses {
		if m.Key != "" && u.key == keyOf(m) && now.Before(u.until) && len(s.uses)-i <= modelKeys {
			return verdict{repeated: true, seq: u.seq}
		}
	}
	return verdict{}
}

// publish does to the model what publish does to a stream.
func (s *sequenceModel) publish(m *message.Message, now time.Time) verdict {
	v := s.judge(m, now)
	if v.err != nil {
		return v
	}
	if !v.repeated {
		s.sent = append(s.sent, m)
		if m.Key != "" {
			s.uses = append(s.uses, modelUse{keyOf(m), uint64(len(s.sent)), now.Add(modelWindow)})
		}
		v.seq = uint64(len(s.sent))
	}
	if m.Producer != "" {
		p := s.state[m.Producer]
		if p.seqs == nil {
			p.seqs = map[uint64]uint64{}
		}
		p.epoch = max(p.epoch, m.ProducerEpoch)
		if m.N == p.n+1 {
			p.n, p.seqs[m.N] = m.N, v.seq
		}
		s.state[m.Producer] = p
	}
	return v
}

// through publishes to a sequence as a stream does.
func through(s *sequence, m *message.Message, now time.Time) verdict {
	s.forgetKeys(now, modelKeys)
	v := s.judge(m)
	switch {
	case v.err != nil:
	case v.repeated:
		if m.Producer != "" {
			s.advance(m, v.seq)
		}
	default:
		s.place(m)
		if m.Key != "" {
			s.forgetKeys(now, modelKeys-1)
			s.remember(keyOf(m), m.Seq, now.Add(modelWindow))
		}
		v.seq = m.Seq
	}
	return v
}

func TestSequenceAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &sequence{epoch: "e"}
		model := &sequenceModel{state: map[string]modelProducer{}}
		now := time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
			m := drawMessage(t, model)
			want := model.publish(m, now)
			seq := s.seq
			got := through(s, m, now)
			if old := want.repeated && got.seq == 0; got.repeated != want.repeated || got.seq != want.seq && !old || !sameError(got.err, want.err) {
				t.Fatalf("%s by %q, producer %q %d.%d: %+v, want %+v", m.Key, m.From, m.Producer, m.ProducerEpoch, m.N, got, want)
			}
			if fresh := want.err == nil && !want.repeated; fresh && (m.Prev != seq || m.Seq != seq+1 || m.Epoch != "e") || !fresh && s.seq != seq {
				t.Fatalf("after %d the message is %d behind %d in %q, the newest %d", seq, m.Seq, m.Prev, m.Epoch, s.seq)
			}
			if len(s.keys) > modelKeys || len(s.keys) != len(s.keyOrder) {
				t.Fatalf("%d keys in %d places", len(s.keys), len(s.keyOrder))
			}
		}
	})
}

// drawMessage draws a message that fits what was before in most cases.
func drawMessage(t *rapid.T, model *sequenceModel) *message.Message {
	m := &message.Message{From: rapid.SampledFrom([]string{"", "ada", "ben"}).Draw(t, "from")}
	if rapid.Bool().Draw(t, "keyed") {
		m.Key = fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "key"))
	}
	if rapid.Bool().Draw(t, "numbered") {
		m.Producer = rapid.SampledFrom([]string{"p", "q"}).Draw(t, "producer")
		p := model.state[m.Producer]
		m.ProducerEpoch = uint64(max(0, int(p.epoch)+rapid.SampledFrom([]int{0, 0, 0, 0, -1, 1}).Draw(t, "epoch")))
		m.N = uint64(max(0, int(p.n)+rapid.SampledFrom([]int{1, 1, 1, 1, 0, -1, -3, -20, 2}).Draw(t, "n")))
	}
	return m
}

func sameError(a, b error) bool {
	var x, y *broker.SequenceError
	if errors.As(a, &x) && errors.As(b, &y) {
		return x.Next == y.Next
	}
	return errors.Is(a, b)
}

func TestProducersAreBounded(t *testing.T) {
	s := &sequence{}
	for i := range 100 {
		s.place(&message.Message{Producer: fmt.Sprint(i), N: 1})
		for _, gone := range s.forgetProducers(20) {
			if s.producers[gone] != nil {
				t.Errorf("%s is told to be forgotten and is not", gone)
			}
		}
		if s.producers[fmt.Sprint(i)] == nil || len(s.producers) > 20 {
			t.Fatalf("after %d: %d producers, the newest is there: %v", i, len(s.producers), s.producers[fmt.Sprint(i)] != nil)
		}
	}
}
