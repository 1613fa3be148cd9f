package client

import (
	"context"
	"iter"
	"time"
)

// Err returns why the subscription ended, or nil while it has not.
func (s *Subscription) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Done is closed when the subscription has ended; Err then tells why.
func (s *Subscription) Done() <-chan struct{} { return s.ended }

// Messages returns what arrives, one after the other, for a subscription
// without a handler. The sequence ends with ctx or with the subscription; a
// loop that was left can be begun again.
func (s *Subscription) Messages(ctx context.Context) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for {
			select {
			case d := <-s.queue:
				more := yield(d.m)
				s.c.handled(d)
				if !more {
					return
				}
			case <-s.ended:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// start begins the handler's goroutine. The lock is held.
func (s *Subscription) start() {
	if s.handler != nil {
		s.c.running.Go(s.work)
	}
}

func (s *Subscription) work() {
	for {
		select {
		case d := <-s.queue:
			if s.over() || !s.process(d) {
				return
			}
		case <-s.ended:
			return
		}
	}
}

// process handles d until that has succeeded; false when the subscription ended
// before.
func (s *Subscription) process(d delivery) bool {
	for attempt := 1; ; attempt++ {
		err := s.handler(s.ctx, d.m)
		switch {
		case err == nil:
			s.c.handled(d)
			return true
		case s.over():
			return false
		case d.left != nil:
			s.c.failed(d)
			return true
		}
		timer := time.NewTimer(max(leastRetry, backoff(attempt, s.c.config.random())))
		select {
		case <-timer.C:
		case <-s.ended:
			timer.Stop()
			return false
		}
	}
}

func (s *Subscription) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}
