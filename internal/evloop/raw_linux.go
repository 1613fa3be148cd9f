package evloop

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are system calls on a descriptor that never blocks. Go's own tell the
// scheduler that the thread may be gone for a while: it then looks every 20 µs
// whether it is, has another thread take over, and sorts that out when the call
// returns, which costs more than the rest of a small write. The price of these
// is that a worker cannot be preempted during the call.

// writeNow is write(2).
func writeNow(fd int32, b []byte) (int, syscall.Errno) { return transfer(unix.SYS_WRITE, fd, b) }

// readNow is read(2).
func readNow(fd int32, b []byte) (int, syscall.Errno) { return transfer(unix.SYS_READ, fd, b) }

func transfer(trap uintptr, fd int32, b []byte) (int, syscall.Errno) {
	//nolint:gosec // the kernel gets a live slice's memory and length, as in the unix package
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
