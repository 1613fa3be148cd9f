//go:build unix

package datadir

import (
	"os"
	"syscall"
)

// tryLock fails at once when somebody else holds the file.
func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
