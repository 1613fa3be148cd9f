package client

import "time"

// WithRandom replaces the dice.
func WithRandom(f func() float64) Option { return func(c *config) { c.random = f } }

// Backoff is the wait before an attempt.
func Backoff(attempt int, r float64) time.Duration { return backoff(attempt, r) }
