package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/record"
	"github.com/parleyhq/parley/bench/swarm"
)

// slow publishes at a steady rate, in turns to receivers that all keep up and
// with a few among them that do not. What the healthy see must be the same, and
// what the server holds for the slow must be what its settings say. Turns, and
// not one half after the other: what changes on the machine meanwhile is then
// in both.
func (r *run) slow(ctx context.Context) error {
	f, err := r.feeder(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	for i := range r.o.Slow {
		r.laggards = append(r.laggards, r.swarm.Laggard(r.topics[i%len(r.topics)]))
	}
	const warm = 20
	if err := f.all(ctx, min(warm, r.o.Messages)); err != nil {
		f.finish(ctx, fmt.Errorf("warming up: %w", err))
		return nil // it is in the report
	}
	without, with := newSide(), newSide()
	published, expected, arrived, began := f.published, f.expected, r.swarm.Arrived(), time.Now()
	var failed error
	for range r.o.Rounds {
		if failed = r.round(ctx, f, without, 0); failed != nil {
			break
		}
		if failed = r.round(ctx, f, with, r.o.SlowRate); failed != nil {
			break
		}
	}
	f.finish(ctx, failed)
	m := r.measured(time.Since(began), f.published-published, r.swarm.Arrived()-arrived)
	m.Expected, m.Bytes = f.expected-expected, rounded(float64(without.bytes+with.bytes)/float64(max(m.Deliveries, 1)))
	both := record.NewHistogram()
	both.Merge(without.latency)
	both.Merge(with.latency)
	m.Latency = both.Percentiles()
	r.report.Slow = r.compared(without, with)
	return nil
}

// side is what was seen in the rounds of one kind.
type side struct {
	latency *record.Histogram // of all rounds
	p50s    []float64         // of each round, in milliseconds
	p99s    []float64
	bytes   int64
	lag     swarm.Lag
	took    time.Duration
	rss     int64 // the most, in bytes
	sockets int64 // the most that the system held for connections
	ended   map[string]int64
	skipped int64
}

func newSide() *side { return &side{latency: record.NewHistogram(), ended: map[string]int64{}} }

// round publishes once through, while the laggards take pace bytes a second, or
// keep up when pace is 0.
func (r *run) round(ctx context.Context, f *feeder, s *side, pace int) error {
	during, end := context.WithCancel(ctx)
	var lagging sync.WaitGroup
	defer func() {
		end()
		lagging.Wait()
		for _, l := range r.laggards {
			s.lag.Add(l.Take())
		}
	}()
	for _, l := range r.laggards {
		if err := l.Connect(ctx, false); err != nil {
			return fmt.Errorf("a slow receiver: %w", err)
		}
		lagging.Go(func() { r.lag(during, l, pace) })
	}
	r.swarm.Restart()
	before := r.watcher.figures(ctx)
	what := "delivered, all keep up"
	if pace > 0 {
		what = "delivered, some are slow"
	}
	arrived := r.swarm.Arrived()
	stop := r.progress.watch(what, f.due(r.o.Messages), func() int64 { return r.swarm.Arrived() - arrived })
	lagging.Go(func() { r.most(during, s) })
	began := time.Now()
	err := f.all(ctx, r.o.Messages)
	s.took += time.Since(began)
	stop()
	seen := r.swarm.Seen()
	s.latency.Merge(seen.Latency)
	s.bytes += seen.Bytes
	p := seen.Latency.Percentiles()
	s.p50s, s.p99s = append(s.p50s, p.P50), append(s.p99s, p.P99)
	s.account(before, r.watcher.figures(ctx))
	return err
}

// lag is the life of a slow receiver: when the server has had enough of it, it
// comes back and goes on where it was, as clients do.
func (r *run) lag(ctx context.Context, l *swarm.Laggard, pace int) {
	const pause = 200 * time.Millisecond
	for {
		l.Read(ctx, pace)
		for {
			if ctx.Err() != nil {
				return
			}
			if l.Connect(ctx, true) == nil {
				break
			}
			wait(ctx, pause)
		}
	}
}

// most notes the most memory that the server's process and the system's sockets
// had until ctx ends.
func (r *run) most(ctx context.Context, s *side) {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		if seen, err := r.watcher.look(); err == nil {
			s.rss = max(s.rss, seen.RSS)
		}
		if held, err := proc.SocketMemory(); err == nil && r.o.PID != 0 {
			s.sockets = max(s.sockets, held)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// account takes what the server says of itself: whom it cut and why, what it
// left out. Connections that the load ended, or opened anew, are no news.
func (s *side) account(before, after figures) {
	for reason, n := range after.ended {
		ours := slices.Contains([]string{"closed", "connection_lost", "taken_over"}, reason)
		if n -= before.ended[reason]; n > 0 && !ours {
			s.ended[reason] += n
		}
	}
	s.skipped += after.skipped - before.skipped
}

// compared sums up and judges.
func (r *run) compared(without, with *side) *SlowReport {
	const kilo = 1024
	s := &SlowReport{
		Receivers: len(r.peers), Slow: r.o.Slow, SlowRate: r.o.SlowRate, Rounds: r.o.Rounds,
		Without: without.latency.Percentiles(), With: with.latency.Percentiles(),
		Closed: with.lag.Ended, ServerEnded: with.ended, Skipped: with.skipped, SkippedTold: with.lag.Skipped,
		SocketsWithout: without.sockets / kilo, SocketsWith: with.sockets / kilo,
		RSSWithout: without.rss / kilo, RSSWith: with.rss / kilo, Configured: int64(r.o.Slow) * int64(r.o.QueueBytes) / kilo,
	}
	if with.took > 0 {
		s.SlowGot = rounded(float64(with.lag.Received) / float64(r.o.Slow) / with.took.Seconds())
	}
	s.RatioP50, s.RatioP99 = ratio(with.p50s, without.p50s), ratio(with.p99s, without.p99s)
	const percent = 100
	if most := 1 + r.o.Tolerance/percent; r.o.Tolerance > 0 && s.RatioP99 > most {
		r.problemf("with the slow ones the p99 of the others is %.2f times what it is without, more than %.2f", s.RatioP99, most)
	}
	// Twice: the garbage collector lets the heap grow to twice what is in use. The rest is noise.
	const noise = 16 << 10
	if s.RSSWithout > 0 && s.RSSWith-s.RSSWithout > 2*s.Configured+noise {
		r.problemf("the slow ones took %d KB of the server's memory, where their queues may hold %d KB (--queue-bytes)", s.RSSWith-s.RSSWithout, s.Configured)
	}
	return s
}

// ratio compares the rounds in the middle, so that one in which the machine was
// busy with something else does not decide. It is 0 when there is none.
func ratio(of, to []float64) float64 {
	if len(of) == 0 || len(to) == 0 || median(to) == 0 {
		return 0
	}
	return rounded(median(of) / median(to))
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
