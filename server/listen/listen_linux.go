// Package listen makes listeners for clients that may be gone without a word.
package listen

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unanswered is how long what was sent may stay unacknowledged before the
// connection is given up, in milliseconds. Without it Linux tries for a quarter
// of an hour, and so long a client that only listens could be gone unnoticed.
const unanswered = 60_000

// Config makes listeners whose connections notice that.
func Config() *net.ListenConfig {
	return &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, unanswered) // accepted connections inherit it
		}); err != nil {
			return err
		}
		return failed
	}}
}
