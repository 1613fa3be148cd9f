package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/parleyhq/parley/bench/proc"
	"github.com/parleyhq/parley/bench/swarm"
)

// feeder publishes, over one connection, to the topics in turn.
type feeder struct {
	r         *run
	publisher *swarm.Publisher // nil: peers speak for themselves, to an echo
	receivers []int64          // of each topic, now
	members   []bool           // peers that are to get everything
	published int64
	expected  int64   // deliveries of what was published
	marks     []int64 // expected after each of the last messages in flight
}

func (r *run) feeder(ctx context.Context) (*feeder, error) {
	f := &feeder{
		r: r, receivers: make([]int64, len(r.topics)), members: make([]bool, len(r.peers)),
		marks: make([]int64, r.o.InFlight), expected: r.swarm.Arrived(),
	}
	for i := range f.marks {
		f.marks[i] = f.expected
	}
	for i, p := range r.peers {
		if f.members[i] = r.swarm.Attached(p); f.members[i] {
			f.receivers[i%len(r.topics)]++
		}
	}
	if r.o.Protocol == swarm.Echo {
		return f, nil
	}
	var err error
	f.publisher, err = r.swarm.Publisher(ctx, r.o.Size)
	return f, err
}

func (f *feeder) close() {
	if f.publisher != nil {
		_ = f.publisher.Close() // it has said what it had to
	}
}

// say publishes the next message.
func (f *feeder) say(at time.Time) error {
	topic := int(f.published % int64(len(f.r.topics)))
	number := f.r.numbers[topic] + 1
	var err error
	if f.publisher == nil {
		err = f.r.swarm.Echo(f.r.peers[topic], number, at, f.r.o.Size)
	} else {
		err = f.publisher.Say(f.r.topics[topic], number, at)
	}
	if err != nil {
		return err
	}
	f.r.numbers[topic] = number
	f.expected += f.receivers[topic]
	f.marks[f.published%int64(len(f.marks))] = f.expected
	f.published++
	return nil
}

// send publishes n messages: at the rate, or as fast as those in flight arrive.
// With a rate, latency counts from when a message was due, so that a server
// that holds the sender up does not look the better for it.
func (f *feeder) send(ctx context.Context, n int) error {
	began := time.Now()
	for i := range n {
		var at time.Time
		if f.r.o.Rate > 0 {
			at = began.Add(time.Duration(float64(i) / f.r.o.Rate * float64(time.Second)))
			wait(ctx, time.Until(at))
		} else if err := f.r.swarm.Await(ctx, f.marks[f.published%int64(len(f.marks))], f.r.o.Timeout); err != nil {
			return err
		} else {
			at = time.Now()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f.say(at); err != nil {
			return err
		}
	}
	return nil
}

// all publishes n messages and waits until they have arrived. What is under way
// when ctx ends is still waited for.
func (f *feeder) all(ctx context.Context, n int) error {
	if err := f.send(ctx, n); err != nil && ctx.Err() == nil {
		return err
	}
	return f.rest(ctx)
}

// rest waits for what is under way, for a moment even after ctx has ended.
func (f *feeder) rest(ctx context.Context) error {
	err := f.r.swarm.Await(ctx, f.expected, f.r.o.Timeout)
	if ctx.Err() != nil {
		err = f.r.swarm.Await(context.WithoutCancel(ctx), f.expected, time.Second)
	}
	return err
}

// finish counts what has not come as lost, and tells why the sending ended if
// it was not the end of it.
func (f *feeder) finish(ctx context.Context, failed error) {
	for i, p := range f.r.peers {
		if f.members[i] {
			f.r.swarm.End(p, f.r.numbers[i%len(f.r.topics)])
		}
	}
	if failed != nil && !errors.Is(failed, ctx.Err()) {
		f.r.problemf("%v", failed)
	}
}

// traffic publishes to the connected peers and measures.
func (r *run) traffic(ctx context.Context) error {
	f, err := r.feeder(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	const most, part = 20, 10
	warm := min(most, r.o.Messages/part)
	if err := f.all(ctx, warm); err != nil {
		f.finish(ctx, fmt.Errorf("warming up: %w", err))
		return nil // it is in the report
	}
	r.swarm.Restart()
	from, err := r.watcher.look()
	if err != nil {
		return err
	}
	own, _ := proc.Read(os.Getpid()) // zero where it cannot be known
	published, arrived, expected, began := f.published, r.swarm.Arrived(), f.expected, time.Now()

	stop := r.progress.watch("delivered", f.due(r.o.Messages), func() int64 { return r.swarm.Arrived() - arrived })
	failed := f.all(ctx, r.o.Messages)
	stop()

	took := time.Since(began)
	to, err := r.watcher.look()
	if err != nil {
		r.problemf("the server's process: %v", err)
	}
	ownEnd, _ := proc.Read(os.Getpid()) // as above
	f.finish(ctx, failed)
	m := r.measured(took, f.published-published, r.swarm.Arrived()-arrived)
	m.Expected = f.expected - expected
	m.CPUDelivery, m.CPUMessage = perEach(from, to, m.Deliveries), perEach(from, to, m.Published)
	if to.CPU > 0 {
		m.Cores = rounded((to.CPU - from.CPU).Seconds() / took.Seconds())
	}
	m.LoadCores = rounded((ownEnd.CPU - own.CPU).Seconds() / took.Seconds())
	return nil
}

// due is how many deliveries n more messages will be.
func (f *feeder) due(n int) (total int64) {
	for i := range int64(n) {
		total += f.receivers[int((f.published+i)%int64(len(f.receivers)))]
	}
	return total
}

// measured puts what the peers have seen since the last restart into the report.
func (r *run) measured(took time.Duration, published, deliveries int64) *Messages {
	seen := r.swarm.Seen()
	r.report.Messages = &Messages{
		Published: published, Deliveries: deliveries, Rate: r.o.Rate, Size: r.o.Size,
		Seconds: seconds(took), PerSecond: rate(deliveries, took), Latency: seen.Latency.Percentiles(),
		Bytes: rounded(float64(seen.Bytes) / float64(max(deliveries, 1))),
	}
	if r.o.Rate == 0 {
		r.report.Messages.InFlight = r.o.InFlight
	}
	return r.report.Messages
}
