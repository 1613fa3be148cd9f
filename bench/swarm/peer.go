package swarm

import (
	"time"

	"github.com/parleyhq/parley/bench/record"
)

// Peer is one client of the server under load.
type Peer struct {
	Number int
	// Returns says that a peer that was dropped goes on where it was. Else it
	// starts anew when it connects again.
	Returns bool

	topic  string
	buffer int    // receive buffer in bytes; 0: as the system has it
	shard  *shard // which guards what follows while the peer is connected

	track          record.Track
	frames         frames
	session, epoch string
	wire           wire   // nil while it is not connected
	skipped        uint64 // messages the server said it left out
	acked          uint64 // seq of the last message that was acknowledged

	until uint64    // the number with which it has caught up; 0: it is not behind
	began time.Time // when it began to
}

// ackEvery is how many messages a peer takes before it acknowledges them. It is
// less than what servers hand over without one.
const ackEvery = 50

// wire is a peer's connection, as a driver keeps it. Neither method blocks for
// long; the lock of the peer's shard is held.
type wire interface {
	write(frame []byte) error
	close(how Ending)
}

// Ending is how a connection ends.
type Ending int

// The ways to end a connection: with a close frame, with a FIN alone, or with
// an RST, which is what a server sees of a client that crashed.
const (
	Goodbye Ending = iota
	Hangup
	Abort
)

func (p *Peer) faults() *record.Faults { return &p.shard.faults }

func (p *Peer) say(op byte, payload []byte) error {
	return p.wire.write(appendFrame(nil, op, payload))
}

// take is what a driver calls with bytes of the peer's connection. It reports
// whether the connection is to be kept. The lock of the shard is held.
func (p *Peer) take(data []byte) bool {
	p.shard.bytes += int64(len(data))
	return p.frames.feed(data, p.understand) == nil && p.acknowledge(ackEvery) == nil
}

// acknowledge says how far the peer has got, when that is at least some
// messages further than it has said before.
func (p *Peer) acknowledge(least uint64) error {
	if p.shard.swarm.target.QoS == 0 || p.track.Seq() < p.acked+least {
		return nil
	}
	p.acked = p.track.Seq()
	return p.say(opText, acknowledging(p.topic, p.acked))
}

// fell is what a driver calls when a connection ended that nobody dropped. The
// lock of the shard is held.
func (p *Peer) fell() {
	p.wire.close(Hangup)
	p.wire = nil
	p.faults().Closed++
	if p.shard.swarm.connected.Add(-1) == 0 {
		p.shard.swarm.rouse()
	}
}
