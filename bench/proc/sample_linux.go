package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Read returns what the process spends.
func Read(pid int) (Sample, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return Sample{}, fmt.Errorf("there is no process %d", pid)
	}
	if err != nil {
		return Sample{}, err
	}
	s := Sample{RSS: field(status, "VmRSS:") << 10, Threads: int(field(status, "Threads:"))}
	// The rollup counts pages exactly, the status lags behind by some per thread.
	if rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); err == nil {
		s.RSS = field(rollup, "Rss:") << 10
	}
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		s.Descriptors = len(open)
	}
	s.CPU, err = spent(pid)
	return s, err
}

// SocketMemory returns the bytes that the system holds in the buffers of all
// TCP connections, of every process.
func SocketMemory() (int64, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if _, after, ok := bytes.Cut(line, []byte(" mem ")); ok && bytes.HasPrefix(line, []byte("TCP:")) {
			pages, err := strconv.ParseInt(strings.TrimSpace(string(after)), 10, 64)
			return pages * int64(os.Getpagesize()), err
		}
	}
	return 0, ErrUnknown
}

// field returns the number after name at the start of a line, or 0.
func field(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			words := strings.Fields(string(rest))
			if len(words) > 0 {
				n, _ := strconv.ParseInt(words[0], 10, 64) // 0 is the answer for what cannot be read
				return n
			}
		}
	}
	return 0
}

// spent reads the CPU clock of the process, in nanoseconds where the kernel
// shows it and else in the ticks of /proc, which are a hundredth of a second.
func spent(pid int) (time.Duration, error) {
	const wholeProcess = 2 // CPUCLOCK_SCHED; clock_getcpuclockid(3) builds the number like this
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|wholeProcess), &t); err == nil {
		return time.Duration(t.Nano()), nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program stands in parentheses and may hold any character.
	after := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 11, 12
	if len(after) <= system {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	u, userErr := strconv.ParseInt(after[user], 10, 64)
	k, systemErr := strconv.ParseInt(after[system], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	return time.Duration(u+k) * tick, errors.Join(userErr, systemErr)
}
