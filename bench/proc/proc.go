// Package proc starts a server for a load test and reads what a server
// process spends, from outside.
package proc

import (
	"errors"
	"time"
)

// ErrUnknown says that this system does not tell what another process spends.
var ErrUnknown = errors.New("what another process spends can be read on Linux only")

// Sample is what a process has spent so far and holds now.
type Sample struct {
	CPU         time.Duration // user and system, all threads, since its start
	RSS         int64         // resident bytes
	Threads     int
	Descriptors int // 0: not allowed to know
}
