package pebblestore

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
)

// offline saves n sessions that want three topics each.
func offline(b *testing.B, db *DB, n int) {
	b.Helper()
	for i := range n {
		id := fmt.Sprintf("01JD4XKQ8Z%016d", i)
		s := &store.Session{ID: id, User: "user" + strconv.Itoa(i), Seen: time.Now(), Expiry: 7 * 24 * time.Hour}
		for _, topic := range []string{"news", "room/" + strconv.Itoa(i%1000), "user/" + strconv.Itoa(i)} {
			s.Subscriptions = append(s.Subscriptions, store.Subscription{
				Filter: topic, QoS: 1, Acked: map[string]message.Position{topic: {Epoch: "OISI6YMZNMDNYUP3", Seq: uint64(i)}},
			})
		}
		db.Sessions().Save(s, nil)
	}
	done := make(chan error, 1)
	db.Sessions().Note("nobody", "n", nil, func(err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// resident is the memory of this process.
func resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(n) / 1024
}

// BenchmarkOfflineSessions publishes while so many sessions are stored: the cost
// must not depend on them, and the memory only on the cache.
func BenchmarkOfflineSessions(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "store")
			db, err := Open(dir, Options{Log: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			offline(b, db, n)
			if err := db.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			if db, err = Open(dir, Options{Log: quiet()}); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = db.Close(b.Context()) }() // the benchmark is over
			debug.FreeOSMemory()                         // what saving took
			before := resident(b)
			b.ResetTimer()
			for i := range b.N {
				if err := publish(db.Log(), true, entry("news", uint64(i+1), "hello")); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(before, "MiB-resident")
			b.ReportMetric(float64(db.pebble.Metrics().DiskSpaceUsage())/float64(max(n, 1)), "disk-bytes/session")
		})
	}
}

// BenchmarkAcks moves a cursor of each of 10,000 sessions with one flush.
func BenchmarkAcks(b *testing.B) {
	db, err := Open(filepath.Join(b.TempDir(), "store"), Options{Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close(b.Context()) }() // the benchmark is over
	const sessions = 10_000
	offline(b, db, sessions)
	acks := make([]store.Ack, sessions)
	b.ResetTimer()
	for n := range b.N {
		for i := range acks {
			at := message.Position{Epoch: "OISI6YMZNMDNYUP3", Seq: uint64(n)}
			acks[i] = store.Ack{Session: fmt.Sprintf("01JD4XKQ8Z%016d", i), Filter: "news", Topic: "news", Position: at}
		}
		db.Sessions().Acked(acks)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/ack")
	b.StopTimer()
	begin := time.Now()
	for i := range sessions {
		if _, err := db.Sessions().Load(b.Context(), fmt.Sprintf("01JD4XKQ8Z%016d", i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(begin).Nanoseconds())/sessions, "ns/load")
}
