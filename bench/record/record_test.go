package record

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Percentiles are compared with those of the sorted values.
func TestHistogram(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	one, two := NewHistogram(), NewHistogram()
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			one.Add(d)
		} else {
			two.Add(d)
		}
	}
	one.Merge(two)
	slices.Sort(all)
	if one.Count() != int64(len(all)) {
		t.Errorf("%d of %d", one.Count(), len(all))
	}
	for _, percent := range []float64{10, 50, 90, 99, 99.9} {
		want := all[int(percent/100*float64(len(all)))-1]
		if got := one.At(percent); (got - want).Abs() > want/500+2*time.Microsecond {
			t.Errorf("p%v: %v, sorted %v", percent, got, want)
		}
	}
	p := one.Percentiles()
	if p.Count != 20_000 || p.P50 > p.P90 || p.P90 > p.P99 || p.P99 > p.P999 || p.P999 > p.Max || p.Mean < 2.8 || p.Mean > 3.2 {
		t.Errorf("%+v", p)
	}
	one.Reset()
	if got := one.Percentiles(); got != (Percentiles{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestHistogramBounds(t *testing.T) {
	t.Parallel()
	h := NewHistogram()
	h.Add(-time.Second)
	h.Add(time.Hour)
	if h.Count() != 2 || h.At(50) != 0 || h.At(100) < Longest-Longest/1000 {
		t.Errorf("%d %v %v", h.Count(), h.At(50), h.At(100))
	}
}

func TestTrack(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		numbers []uint64
		last    uint64
		want    Faults
	}{
		{"in order", []uint64{1, 2, 3}, 3, Faults{}},
		{"nothing", nil, 2, Faults{Lost: 2}},
		{"the first is missing", []uint64{2}, 2, Faults{Lost: 1}},
		{"a hole", []uint64{1, 4}, 4, Faults{Lost: 2}},
		{"the end is missing", []uint64{1, 2}, 5, Faults{Lost: 3}},
		{"twice", []uint64{1, 1, 2, 2}, 2, Faults{Doubled: 2}},
		{"an old one again", []uint64{1, 2, 3, 1}, 3, Faults{Doubled: 1}},
		{"late", []uint64{1, 3, 2}, 3, Faults{Disordered: 1}},
		{"late and twice", []uint64{1, 3, 2, 2}, 3, Faults{Disordered: 1, Doubled: 1}},
		{"backwards", []uint64{3, 2, 1}, 3, Faults{Disordered: 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var track Track
			var got Faults
			for _, n := range c.numbers {
				track.Arrived(n, &got)
			}
			if track.End(c.last, &got); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got.Any() != (c.want != Faults{}) {
				t.Error("Any lies")
			}
		})
	}
}

func TestTrackAnew(t *testing.T) {
	t.Parallel()
	var track Track
	var f Faults
	track.Arrived(1, &f)
	track.Anew()
	if track.End(9, &f); f.Any() {
		t.Errorf("nothing was due: %+v", f)
	}
	track.Arrived(7, &f)
	track.Arrived(8, &f)
	if track.End(9, &f); f != (Faults{Lost: 1}) || track.Number() != 8 {
		t.Errorf("%+v", f)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	type link struct{ seq, prev uint64 }
	cases := []struct {
		name  string
		place uint64
		links []link
		want  int64
	}{
		{"unbroken", 4, []link{{5, 4}, {6, 5}, {9, 6}}, 0},
		{"the first does not follow", 4, []link{{6, 5}, {7, 6}}, 1},
		{"a hole", 0, []link{{1, 0}, {3, 2}}, 1},
		{"again", 0, []link{{1, 0}, {1, 0}, {2, 1}}, 1},
		{"unnumbered", 0, []link{{0, 0}, {0, 0}}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var track Track
			var f Faults
			track.Place(c.place)
			for _, l := range c.links {
				track.Chain(l.seq, l.prev, &f)
			}
			if f.Chain != c.want {
				t.Errorf("%d breaks, want %d", f.Chain, c.want)
			}
		})
	}
}

// A gap wider than what is remembered is lost in full and takes no more memory.
func TestTrackWideGap(t *testing.T) {
	t.Parallel()
	var track Track
	var f Faults
	track.Arrived(1_000_000, &f)
	if f.Lost != 999_999 || len(track.missing) != maxMissing {
		t.Errorf("%+v, %d remembered", f, len(track.missing))
	}
}
