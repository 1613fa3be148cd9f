//go:build !unix

package proc

import (
	"os"
	"os/exec"
)

func apart(*exec.Cmd) {}

func terminate(p *os.Process) error { return p.Kill() }
