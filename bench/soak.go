package bench

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parleyhq/parley/bench/swarm"
)

// soak publishes at a rate while connections leave and come, for long, and
// watches what the server holds.
func (r *run) soak(ctx context.Context) error {
	f, err := r.feeder(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	s := &SoakReport{}
	r.report.Soak = s
	during, end := context.WithTimeout(ctx, r.o.Duration)
	defer end()
	began, arrived := time.Now(), r.swarm.Arrived()
	var working sync.WaitGroup
	var churned error
	working.Go(func() { s.Replaced, churned = r.churn(during) })
	working.Go(func() { s.Samples = r.sample(during, began) })
	stop := r.progress.watch("delivered", 0, func() int64 { return r.swarm.Arrived() - arrived })
	failed := f.send(during, int(r.o.Rate*r.o.Duration.Seconds())+1)
	if failed != nil && !errors.Is(failed, during.Err()) {
		end() // nothing can be published any more
		r.problemf("%v", failed)
	}
	<-during.Done()
	working.Wait()
	if churned != nil {
		r.problemf("a connection that was replaced did not come back: %v", churned)
	}
	r.caughtUp()
	stop()
	r.measured(time.Since(began), f.published, r.swarm.Arrived()-arrived)
	for i, p := range r.peers {
		if r.swarm.Attached(p) {
			r.swarm.End(p, r.numbers[i%len(r.numbers)])
		}
	}
	r.judge(s)
	return nil
}

// churn replaces one connection after the other until ctx ends: one in three
// says goodbye and starts anew, the others vanish and go on where they were.
// The error is the first of those that did not come back.
func (r *run) churn(ctx context.Context) (replaced int64, failed error) {
	if r.o.Churn == 0 {
		return 0, nil
	}
	again := time.NewTicker(time.Second / time.Duration(r.o.Churn))
	defer again.Stop()
	for i := 0; ; i++ {
		select {
		case <-again.C:
		case <-ctx.Done():
			return replaced, failed
		}
		p := r.peers[i%len(r.peers)]
		if !r.swarm.Attached(p) {
			continue
		}
		how := []swarm.Ending{swarm.Goodbye, swarm.Hangup, swarm.Abort}[i%3]
		if r.o.Protocol != swarm.Parley && how == swarm.Goodbye {
			how = swarm.Hangup // a raw server might pass the frame on
		}
		p.Returns = how != swarm.Goodbye
		r.swarm.Drop(p, how)
		// Whoever left comes back even when the time is over meanwhile.
		if err := r.swarm.Connect(context.WithoutCancel(ctx), p); err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		replaced++
	}
}

// sample looks at the server some sixty times.
func (r *run) sample(ctx context.Context, began time.Time) (all []Moment) {
	const looks = 60
	again := time.NewTicker(max(r.o.Duration/looks, 250*time.Millisecond))
	defer again.Stop()
	for {
		seen, err := r.watcher.look()
		said := r.watcher.figures(ctx)
		if ctx.Err() != nil {
			return all
		}
		if err == nil && seen.RSS > 0 {
			all = append(all, Moment{seconds(time.Since(began)), r.swarm.Connected(), seen.RSS >> 10, seen.Descriptors, said.goroutines, said.sessions})
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return all
		}
	}
}

// caughtUp waits until every peer has the last message of its topic, as long
// as a message may take.
func (r *run) caughtUp() {
	late := time.NewTimer(r.o.Timeout)
	defer late.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for i := 0; i < len(r.peers); {
		// A peer that started anew after the last message waits for nothing.
		if number := r.swarm.Number(r.peers[i]); number == 0 || number >= r.numbers[i%len(r.numbers)] || !r.swarm.Attached(r.peers[i]) {
			i++
			continue
		}
		select {
		case <-again.C:
		case <-late.C:
			return
		}
	}
}

// judge compares the second third of the soak with the last: the first is
// there to warm up.
func (r *run) judge(s *SoakReport) {
	const least = 9
	if len(s.Samples) < least {
		return
	}
	third := len(s.Samples) / 3
	middle, last := s.Samples[third:2*third], s.Samples[2*third:]
	flat := true
	grown := func(what string, of func(Moment) float64, slack float64) {
		const share = 1.1
		if from, to := mean(middle, of), mean(last, of); to > from*share+slack {
			flat = false
			r.problemf("the server's %s kept growing: %.0f in the second third, %.0f in the last", what, from, to)
		}
	}
	grown("memory (KB)", func(m Moment) float64 { return float64(m.RSS) }, 8<<10)
	grown("descriptors", func(m Moment) float64 { return float64(m.Descriptors) }, 16)
	grown("goroutines", func(m Moment) float64 { return float64(m.Goroutines) }, 32)
	// Sessions outlive their connections; only then do the oldest go as fast as new ones come.
	if s.Samples[third].Second > r.o.ResumeWindow.Seconds() {
		grown("sessions", func(m Moment) float64 { return float64(m.Sessions) }, 16)
	}
	s.Flat = &flat
}

func mean(samples []Moment, of func(Moment) float64) (sum float64) {
	for _, m := range samples {
		sum += of(m)
	}
	return sum / float64(len(samples))
}
