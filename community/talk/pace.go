package talk

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/parleyhq/parley/community/fault"
)

// mostPaced bounds the memory of the pace. When it is full, all start afresh.
const mostPaced = 50_000

// pace bounds what each person says. Safe for concurrent use.
type pace struct {
	limit rate.Limit
	burst int
	now   func() time.Time

	mu     sync.Mutex
	people map[string]*rate.Limiter
}

func newPace(perSecond float64, burst int, now func() time.Time) *pace {
	return &pace{limit: rate.Limit(perSecond), burst: burst, now: now, people: make(map[string]*rate.Limiter)}
}

// step takes one from the person's allowance, or answers how long to wait.
func (p *pace) step(handle string) error {
	p.mu.Lock()
	l, ok := p.people[handle]
	if !ok {
		if len(p.people) >= mostPaced {
			clear(p.people)
		}
		l = rate.NewLimiter(p.limit, p.burst)
		p.people[handle] = l
	}
	p.mu.Unlock()
	now := p.now()
	if l.AllowN(now, 1) {
		return nil
	}
	missing := 1 - l.TokensAt(now)
	return fault.Wait(fault.TooFast, time.Duration(missing/float64(p.limit)*float64(time.Second)))
}
