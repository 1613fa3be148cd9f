package server

import "testing"

func TestMemoryIsGivenBackAfterAStorm(t *testing.T) {
	var tr trimmer
	for i, step := range []struct {
		count uint64
		want  bool
	}{
		{0, false}, {400, false}, {420, false}, // too few so far
		{2000, false}, {4000, false}, // the storm
		{4010, true}, {4010, false}, // over, and told once
		{4400, false}, {4510, false}, {4515, true}, // many small ones add up
	} {
		if got := tr.due(step.count); got != step.want {
			t.Errorf("step %d, %d so far: %v", i, step.count, got)
		}
	}
}
