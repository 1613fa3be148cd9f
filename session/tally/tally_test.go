package tally_test

import (
	"sync"
	"testing"

	"github.com/parleyhq/parley/session/tally"
)

func TestCounts(t *testing.T) {
	var c tally.Counts
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 1000 {
				c.Add("a")
				c.Add("b")
			}
		})
	}
	running.Wait()
	if all := c.All(); len(all) != 2 || all["a"] != 8000 || all["b"] != 8000 {
		t.Errorf("%v", all)
	}
}
