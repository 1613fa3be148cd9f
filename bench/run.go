package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/swarm"
)

// run is one scenario under way.
type run struct {
	o        Options
	swarm    *swarm.Swarm
	peers    []*swarm.Peer
	laggards []*swarm.Laggard
	topics   []string
	numbers  []uint64 // of the last message on each topic
	progress progress
	watcher  *watcher
	report   *Report
}

// Run does what the options say and reports. When ctx ends it stops, and
// reports what was measured until then. An error says that nothing could be
// measured; faults of the server are in the report.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	u, err := o.target()
	if err != nil {
		return nil, err
	}
	if err := proc.EnoughDescriptors(o.Connections); err != nil {
		return nil, err
	}
	r := &run{o: o, progress: progress{o.Progress, o.Terminal}, watcher: newWatcher(u, o)}
	defer r.watcher.close()
	r.report = &Report{Scenario: o.Scenario, URL: u.String(), Protocol: string(o.Protocol), Started: time.Now().UTC().Truncate(time.Second), Machine: machine()}
	r.swarm, err = swarm.New(swarm.Target{URL: u, Protocol: o.Protocol, Token: o.token, Timeout: o.Timeout, Portable: o.Portable, QoS: o.qos()})
	if err != nil {
		return nil, err
	}
	defer func() {
		r.leave()
		err = errors.Join(err, r.swarm.Close())
	}()
	r.populate()
	began := time.Now()
	if err := r.scenario(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	r.report.Seconds = seconds(time.Since(began))
	r.report.Interrupted = ctx.Err() != nil
	return r.report, nil
}

// populate makes the peers: peer i is on topic i modulo topics.
func (r *run) populate() {
	name := strings.ToLower(rand.Text()[:8])
	for i := range r.o.Topics {
		r.topics = append(r.topics, strings.TrimSuffix(r.o.Prefix, "/")+"/"+name+"/"+strconv.Itoa(i))
	}
	r.numbers = make([]uint64, r.o.Topics)
	for i := range r.o.Connections - r.o.Slow {
		r.peers = append(r.peers, r.swarm.Peer(r.topics[i%r.o.Topics]))
	}
}

func (r *run) scenario(ctx context.Context) error {
	goroutines := r.watcher.figures(ctx).goroutines
	before, err := r.watcher.look()
	if err != nil {
		return err
	}
	if err := r.connect(ctx, before); err != nil {
		return err
	}
	r.settle(ctx, before, goroutines)
	switch r.o.Scenario {
	case Idle:
		err = r.idle(ctx)
	case Storm:
		err = r.storm(ctx)
	case Slow:
		err = r.slow(ctx)
	case Resume:
		err = r.resume(ctx)
	case Soak:
		err = r.soak(ctx)
	case Fanout, OneToOne:
		err = r.traffic(ctx)
	default:
		return fmt.Errorf("there is no scenario %q", r.o.Scenario)
	}
	r.report.Faults.Add(r.swarm.Seen().Faults)
	if end, lookErr := r.watcher.look(); lookErr == nil && r.report.Server != nil {
		r.report.Server.RSSEnd = end.RSS >> 10
	}
	return err
}

// settle gives the server time to come to rest and looks at what it holds.
func (r *run) settle(ctx context.Context, before proc.Sample, goroutines int) {
	stop := r.progress.watch("settling, connected", int64(len(r.peers)), r.swarm.Connected)
	wait(ctx, r.o.Settle)
	stop()
	idle, err := r.watcher.look()
	if err != nil || idle.RSS == 0 {
		return
	}
	const kilo = 1024
	r.report.Server = &Server{
		PID: r.o.PID, RSSStart: before.RSS / kilo, RSSIdle: idle.RSS / kilo,
		RSSConn:         rounded(float64(idle.RSS-before.RSS) / kilo / float64(max(r.swarm.Connected(), 1))),
		GoroutinesStart: goroutines, GoroutinesIdle: r.watcher.figures(ctx).goroutines,
		Descriptors: idle.Descriptors, Threads: idle.Threads,
	}
}

// idle leaves the connections alone.
func (r *run) idle(ctx context.Context) error {
	from, err := r.watcher.look()
	if err != nil {
		return err
	}
	began := time.Now()
	stop := r.progress.watch("idle, connected", int64(len(r.peers)), r.swarm.Connected)
	wait(ctx, r.o.Hold)
	stop()
	took := time.Since(began)
	to, err := r.watcher.look()
	if err != nil {
		return err
	}
	r.report.Idle = &IdleReport{Seconds: seconds(took), Cores: -1}
	if to.CPU > 0 {
		r.report.Idle.Cores = rounded((to.CPU - from.CPU).Seconds() / took.Seconds())
	}
	return nil
}

// leave says goodbye for all.
func (r *run) leave() {
	for _, p := range r.peers {
		if how := swarm.Goodbye; r.o.Protocol == swarm.Parley {
			r.swarm.Drop(p, how)
		} else {
			r.swarm.Drop(p, swarm.Hangup) // a raw server might pass the frame on
		}
	}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
