package datadir

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// HeldError tells that another process uses the folder.
type HeldError struct {
	Path string
	PID  int // 0 when it is not known
}

func (e *HeldError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("the data folder %s is used by %s: stop it first, or name another folder with --data", e.Path, who)
}

// Lock keeps other processes out of a folder. The system takes it back when the
// process ends, however it ends.
type Lock struct{ file *os.File }

// Lock takes the folder for this process, or fails with a *HeldError.
func (d Dir) Lock() (*Lock, error) {
	path := d.File("parley.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := tryLock(f); err != nil {
		held := &HeldError{Path: d.path}
		if text, readErr := os.ReadFile(path); readErr == nil { //nolint:gosec // the operator names the folder
			held.PID, _ = strconv.Atoi(strings.TrimSpace(string(text))) // a torn number is no number
		}
		return nil, errors.Join(held, f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder: %w", err), f.Close())
	}
	return &Lock{f}, nil
}

// Release lets others in. The file stays: removing it would let two processes
// lock two files of one name.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}
