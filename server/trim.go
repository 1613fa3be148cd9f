package server

import (
	"context"
	"runtime/debug"
	"time"
)

// Every connection that comes leaves twenty kilobytes behind, of its handshake
// and its token, which the collector would keep room for until the next storm.
// An idle connection is to cost nearly nothing, so the room is given back.
const (
	trimEvery = time.Second
	trimAfter = 500 // connections that came or went
	trimQuiet = 50  // at most as many in the last period
)

// trimmer decides when memory is given back. It is pure.
type trimmer struct{ came, since uint64 }

// due is told how many connections have come and gone so far.
func (t *trimmer) due(count uint64) bool {
	lately := count - t.came
	t.came = count
	t.since += lately
	if t.since < trimAfter || lately > trimQuiet {
		return false
	}
	t.since = 0
	return true
}

// trim gives memory back after the start and after every storm of connections,
// until ctx ends.
func (s *Server) trim(ctx context.Context) {
	t := trimmer{since: trimAfter} // the first start leaves more than any storm
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		st := s.live.Stats()
		gone := st.Accepted - min(st.Accepted, uint64(st.Open))
		if t.due(st.Accepted + gone) {
			debug.FreeOSMemory()
		}
	}
}
