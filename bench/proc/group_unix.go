//go:build unix

package proc

import (
	"os"
	"os/exec"
	"syscall"
)

// apart keeps the terminal's Ctrl+C from the child: whoever started it ends it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
