package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parleyhq/parley/bench/swarm"
)

// storm publishes some messages, drops every connection at once, goes on
// publishing, and lets all come back: how long until the last is back and has
// what it missed, and did each get everything once? A raw server remembers
// nothing, so nothing is said while its clients are away.
func (r *run) storm(ctx context.Context) error {
	f, err := r.feeder(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	const fifth = 5
	before := max(r.o.Messages/fifth, 1)
	away := r.o.Messages - 2*before
	if r.o.Protocol != swarm.Parley {
		away = 0
	}
	failed := f.all(ctx, before)
	if failed == nil {
		failed = r.blow(ctx, f, away)
	}
	if failed == nil && ctx.Err() == nil {
		failed = f.all(ctx, before)
	}
	f.finish(ctx, failed)
	return nil
}

// blow is the storm itself. It publishes away messages: half while nobody is
// there, half while they come back.
func (r *run) blow(ctx context.Context, f *feeder, away int) error {
	seen, began := f.expected, time.Now()
	s := &StormReport{}
	r.report.Storm = s
	var gone []*swarm.Peer
	for i, p := range r.peers {
		if f.members[i] {
			p.Returns = true
			r.swarm.Drop(p, swarm.Abort)
			gone = append(gone, p)
		}
	}
	s.Dropped = len(gone)
	// Nobody is there to be waited for.
	early := f.many(away / 2)
	from, err := r.watcher.look()
	if err != nil {
		return err
	}
	var late error
	var speaking sync.WaitGroup
	speaking.Go(func() { late = f.many(away - away/2) })
	stop := r.progress.watch("back", int64(len(gone)), r.swarm.Connected)
	all := r.open(ctx, gone)
	stop()
	back := time.Since(began)
	speaking.Wait()
	caught := f.rest(ctx)
	took := time.Since(began)
	to, err := r.watcher.look()
	if err != nil {
		return err
	}
	s.Returned, s.Missed = all.latency.Count(), f.expected-seen
	s.BackSeconds, s.CaughtUpSeconds, s.PerSecond = seconds(back), seconds(took), rate(s.Returned, all.took)
	s.Latency, s.CPU = all.latency.Percentiles(), perEach(from, to, s.Returned)
	if all.failed > 0 {
		r.problemf("%d of %d did not come back, the first because: %v", all.failed, len(gone), all.first)
	}
	return errors.Join(early, late, caught)
}

// many publishes n messages without waiting for anybody.
func (f *feeder) many(n int) error {
	for range n {
		if err := f.say(time.Now()); err != nil {
			return err
		}
	}
	return nil
}
