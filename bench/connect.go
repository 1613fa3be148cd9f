package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/record"
	"github.com/parleyhq/parley/bench/swarm"
)

// opened is how a number of connects went.
type opened struct {
	took    time.Duration
	latency *record.Histogram
	failed  int
	first   error // what the first that failed said
}

// add counts one connect. What fails because ctx has ended does not count.
func (o *opened) add(ctx context.Context, took time.Duration, err error) {
	switch {
	case err == nil:
		o.latency.Add(took)
	case ctx.Err() == nil:
		o.failed++
		if o.first == nil {
			o.first = err
		}
	}
}

// open connects peers, some at once. Those that fail are not tried again.
func (r *run) open(ctx context.Context, peers []*swarm.Peer) opened {
	var (
		next    atomic.Int64
		mu      sync.Mutex
		working sync.WaitGroup
	)
	all := opened{latency: record.NewHistogram()}
	began := time.Now()
	for range min(r.o.Workers, len(peers)) {
		working.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(peers) {
					return
				}
				start := time.Now()
				err := r.swarm.Connect(ctx, peers[i])
				took := time.Since(start)
				mu.Lock()
				all.add(ctx, took, err)
				mu.Unlock()
			}
		})
	}
	working.Wait()
	all.took = time.Since(began)
	return all
}

// connect brings all peers up for the first time. It is an error when none
// comes up.
func (r *run) connect(ctx context.Context, before proc.Sample) error {
	stop := r.progress.watch("connecting", int64(len(r.peers)), r.swarm.Connected)
	all := r.open(ctx, r.peers)
	stop()
	n := r.swarm.Connected()
	if n == 0 {
		return fmt.Errorf("no connection came up: %w", errors.Join(all.first, ctx.Err()))
	}
	after, err := r.watcher.look()
	if err != nil {
		return err
	}
	if all.failed > 0 {
		r.problemf("%d of %d connections failed, the first because: %v", all.failed, len(r.peers), all.first)
	}
	r.report.Connect = &Connect{
		Connections: int(n), Failed: all.failed, Topics: len(r.topics), PerSecond: rate(n, all.took),
		Latency: all.latency.Percentiles(), CPU: perEach(before, after, n),
	}
	return nil
}

func (r *run) problemf(format string, args ...any) {
	r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
}
