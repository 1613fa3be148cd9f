// Package record keeps what a load test sees: how long things took, and
// whether every receiver got every message once and in order.
package record

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Durations from a microsecond to Longest are kept with three significant
// digits: a percentile is off by 0.1 % at most.
const (
	Longest = 5 * time.Minute
	digits  = 3
)

// Histogram counts durations. It is not safe for concurrent use: give each
// goroutine one and merge them.
type Histogram struct{ h *hdr.Histogram }

// NewHistogram returns an empty histogram.
func NewHistogram() *Histogram {
	return &Histogram{hdr.New(1, Longest.Microseconds(), digits)}
}

// Add counts d. What is longer than Longest counts as Longest, so that it
// still weighs on the percentiles.
func (h *Histogram) Add(d time.Duration) {
	_ = h.h.RecordValue(min(max(d.Microseconds(), 0), Longest.Microseconds())) // always in range
}

// Merge adds all of other.
func (h *Histogram) Merge(other *Histogram) { h.h.Merge(other.h) }

// Reset forgets everything.
func (h *Histogram) Reset() { h.h.Reset() }

// Count returns how many durations were added.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// At returns the duration that the given percentage of all did not exceed.
func (h *Histogram) At(percent float64) time.Duration {
	return time.Duration(h.h.ValueAtPercentile(percent)) * time.Microsecond
}

// Percentiles is what of a histogram goes into a report, in milliseconds.
type Percentiles struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Percentiles sums the histogram up.
func (h *Histogram) Percentiles() Percentiles {
	const perMilli = 1000
	at := func(percent float64) float64 { return float64(h.h.ValueAtPercentile(percent)) / perMilli }
	if h.Count() == 0 {
		return Percentiles{}
	}
	return Percentiles{
		Count: h.Count(), Mean: h.h.Mean() / perMilli,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.h.Max()) / perMilli,
	}
}
