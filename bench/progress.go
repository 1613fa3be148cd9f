package bench

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person what is being waited for.
type progress struct {
	out      io.Writer
	terminal bool
}

// watch writes count of total until stop is called. A total of 0 is unknown.
func (p progress) watch(what string, total int64, count func() int64) (stop func()) {
	if p.out == nil {
		return func() {}
	}
	every := 5 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		again := time.NewTicker(every)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				p.line(what, count(), total, false)
			case <-done:
				p.line(what, count(), total, true)
				return
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

func (p progress) line(what string, count, total int64, last bool) {
	text := fmt.Sprintf("%s: %d", what, count)
	if total > 0 {
		text = fmt.Sprintf("%s: %d of %d (%d %%)", what, count, total, 100*count/total)
	}
	before, after := "", "\n"
	if p.terminal { // the same line again, cleared
		before, after = "\r\x1b[K", ""
		if last {
			after = "\n"
		}
	}
	_, _ = fmt.Fprint(p.out, before+text+after) // nobody watches any more
}
