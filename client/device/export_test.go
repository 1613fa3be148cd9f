package device

import "time"

// FirstWait shortens the wait after a first failure, for tests.
func FirstWait(d time.Duration) Option { return func(c *config) { c.first = d } }
