package flow

// seqs is a queue of sequence numbers that takes little while it is short.
type seqs struct {
	ring    []uint64
	head, n int
}

// smallSeqs is how much an empty queue may keep for the next time.
const smallSeqs = 8

func (q *seqs) len() int { return q.n }

func (q *seqs) push(seq uint64) {
	if q.n == len(q.ring) {
		ring := make([]uint64, max(2, 2*q.n))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)%q.n]
		}
		q.ring, q.head = ring, 0
	}
	at := q.head + q.n
	if at >= len(q.ring) {
		at -= len(q.ring)
	}
	q.ring[at] = seq
	q.n++
}

// popTo removes the numbers up to seq and returns how many they were.
func (q *seqs) popTo(seq uint64) int {
	before := q.n
	for q.n > 0 && q.ring[q.head] <= seq {
		if q.head++; q.head == len(q.ring) {
			q.head = 0
		}
		q.n--
	}
	if q.n == 0 && len(q.ring) > smallSeqs {
		q.ring = nil
	}
	return before - q.n
}
