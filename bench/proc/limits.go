//go:build linux || darwin

package proc

import (
	"fmt"
	"syscall"
)

// EnoughDescriptors tells in time that the system would not allow so many
// connections.
func EnoughDescriptors(connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil //nolint:nilerr // then the connections themselves will tell
	}
	const own = 128 // dials under way and what the program holds
	if need := uint64(connections + own); limit.Cur < need {
		return fmt.Errorf("--connections %d: this process may open %d files only; raise it to %d for the load and the server alike, with: ulimit -n %d",
			connections, limit.Cur, need, need)
	}
	return nil
}
