package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/record"
	"github.com/parleyhq/parley/bench/swarm"
)

// stored is in how much time a server has written what it keeps of sessions.
const stored = 500 * time.Millisecond

// resume measures what it costs to catch up. The same number of messages is
// delivered twice to sessions that acknowledge them: once while all are there,
// and once after they were away and come back at a steady rate. In between they
// come back to nothing new, which tells what coming back alone costs. One
// session of each topic stays, and tells by what it gets that the messages are kept.
func (r *run) resume(ctx context.Context) error {
	f, err := r.feeder(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	rep := &ResumeReport{PerSecond: r.o.Returns}
	r.report.Resume = rep
	failed := f.all(ctx, len(r.topics)) // the first of each topic makes it
	if failed == nil {
		failed = r.present(ctx, f, rep)
	}
	var gone []*swarm.Peer
	if failed == nil {
		gone = r.depart(ctx, f)
		failed = r.nothingMissed(ctx, gone, rep)
	}
	if failed == nil {
		r.drop(ctx, gone)
		failed = r.absent(ctx, f, gone)
	}
	if failed == nil {
		failed = r.returned(ctx, f, gone, rep)
	}
	f.finish(ctx, failed)
	return nil
}

// present delivers the messages live.
func (r *run) present(ctx context.Context, f *feeder, rep *ResumeReport) error {
	r.swarm.Restart()
	arrived, began := r.swarm.Arrived(), time.Now()
	n := r.o.Messages * len(r.topics)
	stop := r.progress.watch("delivered live", f.due(n), func() int64 { return r.swarm.Arrived() - arrived })
	defer stop()
	used, err := r.spent(ctx, func() error { return f.all(ctx, n) })
	rep.Delivered, rep.LiveSeconds = r.swarm.Arrived()-arrived, seconds(time.Since(began))
	rep.CPULive = perEach(proc.Sample{}, proc.Sample{CPU: used}, rep.Delivered)
	return err
}

// spent returns the CPU time that the server takes for what f does and for the
// acknowledgements of all that has come, with what they leave to be stored.
func (r *run) spent(ctx context.Context, f func() error) (time.Duration, error) {
	from, err := r.watcher.look()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	for _, p := range r.peers {
		r.swarm.Acknowledge(p)
	}
	wait(ctx, stored)
	to, err := r.watcher.look()
	return to.CPU - from.CPU, err
}

// depart ends the connections of all but one session of each topic, and
// returns who is gone.
func (r *run) depart(ctx context.Context, f *feeder) (gone []*swarm.Peer) {
	stays := make([]bool, len(r.topics))
	for i, p := range r.peers {
		topic := i % len(r.topics)
		switch {
		case !f.members[i]:
		case !stays[topic]:
			stays[topic], f.receivers[topic] = true, 1
		default:
			p.Returns = true
			gone = append(gone, p)
		}
	}
	r.drop(ctx, gone)
	return gone
}

// drop ends connections, and gives the server time to notice.
func (r *run) drop(ctx context.Context, peers []*swarm.Peer) {
	for _, p := range peers {
		r.swarm.Drop(p, swarm.Abort)
	}
	wait(ctx, stored)
}

// nothingMissed lets all come back while nothing was said.
func (r *run) nothingMissed(ctx context.Context, gone []*swarm.Peer, rep *ResumeReport) error {
	var all opened
	stop := r.progress.watch("back, with nothing missed", int64(len(r.peers)), r.swarm.Connected)
	defer stop()
	used, err := r.spent(ctx, func() error {
		all = r.reopen(ctx, gone, 0)
		return ctx.Err()
	})
	rep.CPUReturn = perEach(proc.Sample{}, proc.Sample{CPU: used}, all.latency.Count())
	if all.failed > 0 {
		r.problemf("%d of %d did not come back, the first because: %v", all.failed, len(gone), all.first)
	}
	return err
}

// absent publishes while they are gone, and says what each is to catch up with.
func (r *run) absent(ctx context.Context, f *feeder, gone []*swarm.Peer) error {
	if err := f.all(ctx, r.o.Messages*len(r.topics)); err != nil {
		return err
	}
	f.expected += int64(r.o.Messages) * int64(len(gone))
	return nil
}

// returned lets all come back and waits until they have what they missed.
func (r *run) returned(ctx context.Context, f *feeder, gone []*swarm.Peer, rep *ResumeReport) error {
	var all opened
	arrived, began := r.swarm.Arrived(), time.Now()
	stop := r.progress.watch("caught up", int64(len(gone)*r.o.Messages), func() int64 { return r.swarm.Arrived() - arrived })
	defer stop()
	used, err := r.spent(ctx, func() error {
		all = r.reopen(ctx, gone, r.o.Messages)
		err := f.rest(ctx)
		rep.CaughtUpSeconds = seconds(time.Since(began))
		return err
	})
	rep.Sessions, rep.Returned, rep.Missed = len(gone), all.latency.Count(), r.swarm.Arrived()-arrived
	rep.Latency, rep.CaughtUp = all.latency.Percentiles(), r.swarm.CaughtUp().Percentiles()
	rep.CPUCatchUp = perEach(proc.Sample{}, proc.Sample{CPU: used}, rep.Missed)
	if rep.CPULive > 0 {
		rep.Ratio = rounded(rep.CPUCatchUp / rep.CPULive)
		messages := rep.CPUCatchUp - rep.CPUReturn*float64(rep.Returned)/float64(max(rep.Missed, 1))
		rep.RatioMessages = rounded(max(messages, 0) / rep.CPULive)
	}
	if all.failed > 0 {
		r.problemf("%d of %d did not come back, the first because: %v", all.failed, len(gone), all.first)
	}
	if n := r.swarm.CaughtUp().Count(); err == nil && n != all.latency.Count() {
		return fmt.Errorf("%d came back and %d got their last message", all.latency.Count(), n)
	}
	return err
}

// reopen connects peers at the rate of the options, each of which has missed
// some messages. Times count from when each
// was due, so that a server that holds the load up does not look the better.
func (r *run) reopen(ctx context.Context, peers []*swarm.Peer, missed int) opened {
	var (
		next    atomic.Int64
		mu      sync.Mutex
		working sync.WaitGroup
	)
	all := opened{latency: record.NewHistogram()}
	began := time.Now()
	for range min(r.o.Workers, len(peers)) {
		working.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(peers) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				due := began.Add(time.Duration(float64(i) / r.o.Returns * float64(time.Second)))
				wait(ctx, time.Until(due))
				if missed > 0 {
					r.swarm.Expect(peers[i], uint64(missed), due)
				}
				err := r.swarm.Connect(ctx, peers[i])
				mu.Lock()
				all.add(ctx, time.Since(due), err)
				mu.Unlock()
			}
		})
	}
	working.Wait()
	all.took = time.Since(began)
	return all
}
