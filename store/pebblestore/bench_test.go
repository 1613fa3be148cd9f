package pebblestore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store/pebblestore"
	"github.com/parleyhq/parley/topic"
)

// The benchmarks of durable topics stand here, because what they are measured
// against is the bare engine: compare figures of one run on one disk.

const (
	writers = 64
	size    = 256
)

func parallel(b *testing.B, f func(p *testing.PB, writer int)) {
	b.Helper()
	b.SetParallelism(max(1, writers/runtime.GOMAXPROCS(0)))
	b.SetBytes(size)
	var n atomic.Int64
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) { f(p, int(n.Add(1))) })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the time that the process has spent on processors. Other than elapsed
// time, it hardly depends on who else is on the machine.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkBarePebble writes values of 256 bytes with 64 writers, each of which
// waits for the disk: what the engine can do without anything of ours.
func BenchmarkBarePebble(b *testing.B) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 64 << 20, Logger: pebbleSilent{}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var seq atomic.Uint64
	parallel(b, func(p *testing.PB, _ int) {
		value := make([]byte, size)
		for p.Next() {
			if err := db.Set(binary.BigEndian.AppendUint64(nil, seq.Add(1)), value, pebble.Sync); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

type pebbleSilent struct{}

func (pebbleSilent) Infof(string, ...any)           {}
func (pebbleSilent) Errorf(string, ...any)          {}
func (pebbleSilent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

type handler struct{ n atomic.Int64 }

func (h *handler) HandleMessage(*message.Message) { h.n.Add(1) }

func durable(b *testing.B) (*localbroker.Broker, *handler) {
	b.Helper()
	db, err := pebblestore.Open(b.TempDir(), pebblestore.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	e := localbroker.NewDurable(localbroker.Limits{}, db.Log())
	h := &handler{}
	if err := e.Start(h); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			b.Error(err)
		}
		if err := db.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return e, h
}

// BenchmarkDurablePublish is the same through the broker: 64 publishers, each of
// which waits until its message is on the disk. SDKs number what they publish.
func BenchmarkDurablePublish(b *testing.B) {
	for _, topics := range []int{1, writers} {
		for _, how := range []string{"plain", "numbered", "interval"} {
			b.Run(fmt.Sprintf("topics=%d/%s", topics, how), func(b *testing.B) {
				e, _ := durable(b)
				o := broker.Options{History: 1_000_000, HistoryAge: 1 << 50, Durability: broker.SyncAlways}
				if how == "interval" {
					o.Durability = broker.SyncInterval
				}
				b.ReportAllocs()
				parallel(b, func(p *testing.PB, writer int) {
					name, producer, payload := fmt.Sprint("t/", writer%topics), fmt.Sprint("p", writer), make([]byte, size)
					answer := make(chan error, 1)
					done := func(_ broker.Result, err error) { answer <- err }
					for n := uint64(1); p.Next(); n++ {
						m := &message.Message{
							ID: "01JD0000000000000000000000", Topic: name, Type: "t", From: "ada", Payload: payload, Time: 1_800_000_000_000,
						}
						if how == "numbered" {
							m.Producer, m.ProducerEpoch, m.N = producer, 1, n
						}
						e.Publish(m, o, done)
						if err := <-answer; err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkReadPage reads pages of 200 messages from the disk.
func BenchmarkReadPage(b *testing.B) {
	const kept, page = 20_000, 200
	e, _ := durable(b)
	o := broker.Options{History: kept, HistoryAge: 1 << 50, Durability: broker.SyncNever}
	for range kept {
		m := &message.Message{
			ID: "01JD0000000000000000000000", Topic: "a", Type: "t", From: "ada",
			Time: 1_800_000_000_000, Payload: make([]byte, size),
		}
		if _, err := broker.Publish(b.Context(), e, m, o); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(page * size)
	b.ReportAllocs()
	after := uint64(0)
	for b.Loop() {
		p, err := e.History(b.Context(), topic.Name("a"), broker.Query{After: after, Limit: page})
		if err != nil || len(p.Messages) != page {
			b.Fatalf("%d messages, %v", len(p.Messages), err)
		}
		after = (after + page) % (kept - 2*page)
	}
}

// BenchmarkAgainstBare lets both take turns, so that whatever else happens on the
// machine happens to both, and reports how many messages the broker accepts for
// each value that bare Pebble takes.
func BenchmarkAgainstBare(b *testing.B) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 64 << 20, Logger: pebbleSilent{}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	e, _ := durable(b)
	var bare, ours time.Duration
	var cpuBare, cpuOurs int64
	turn := func(elapsed *time.Duration, used *int64, write func(writer, i int) error) {
		began, before := time.Now(), cpu(b)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range 200 {
					if err := write(w, i); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		*elapsed += time.Since(began)
		*used += cpu(b) - before
	}
	var seq atomic.Uint64
	value := make([]byte, size)
	o := broker.Options{History: 1_000_000, HistoryAge: 1 << 50, Durability: broker.SyncAlways}
	var names [writers]string
	var answers [writers]chan error
	var done [writers]func(broker.Result, error)
	for w := range writers {
		names[w], answers[w] = fmt.Sprint("t/", w), make(chan error, 1)
		done[w] = func(_ broker.Result, err error) { answers[w] <- err }
	}
	for b.Loop() {
		turn(&bare, &cpuBare, func(int, int) error {
			return db.Set(binary.BigEndian.AppendUint64(nil, seq.Add(1)), value, pebble.Sync)
		})
		turn(&ours, &cpuOurs, func(w, _ int) error {
			m := &message.Message{ID: "01JD0000000000000000000000", Topic: names[w], Type: "t", From: "ada", Payload: value, Time: 1_800_000_000_000}
			e.Publish(m, o, done[w])
			return <-answers[w]
		})
	}
	n := float64(b.N) * writers * 200
	b.ReportMetric(n/bare.Seconds(), "bare-msg/s")
	b.ReportMetric(n/ours.Seconds(), "msg/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(cpuBare)/float64(cpuOurs), "cpu-ratio")
}
