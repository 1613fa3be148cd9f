//go:build !linux

package evloop

// newPoller returns nil: goroutines serve.
func newPoller(*Group) poller { return nil }
