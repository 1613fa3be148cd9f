package pebblestore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

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
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) { f(p, int(n.Add(1))) })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
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
// which waits until its message is on the disk, numbered as the SDKs do.
func BenchmarkDurablePublish(b *testing.B) {
	for _, topics := range []int{1, writers} {
		for _, sync := range []broker.Durability{broker.SyncAlways, broker.SyncInterval} {
			b.Run(fmt.Sprintf("topics=%d/sync=%v", topics, sync == broker.SyncAlways), func(b *testing.B) {
				e, _ := durable(b)
				o := broker.Options{History: 1_000_000, HistoryAge: 1 << 50, Durability: sync}
				b.ReportAllocs()
				parallel(b, func(p *testing.PB, writer int) {
					name, producer, payload := fmt.Sprint("t/", writer%topics), fmt.Sprint("p", writer), make([]byte, size)
					answer := make(chan error, 1)
					done := func(_ broker.Result, err error) { answer <- err }
					for n := uint64(1); p.Next(); n++ {
						e.Publish(&message.Message{
							ID: "01JD0000000000000000000000", Topic: name, Type: "t", From: "ada", Payload: payload,
							Producer: producer, ProducerEpoch: 1, N: n, Time: 1_800_000_000_000,
						}, o, done)
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
