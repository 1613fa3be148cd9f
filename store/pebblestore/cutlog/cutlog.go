// Package cutlog makes a database readable whose write-ahead log is damaged
// before its end.
package cutlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Copy copies the database in dir into the new folder to, with its write-ahead
// logs up to the first damage in them, and tells what was left out. Nothing
// after the damage can be kept: it may build on what was lost.
func Copy(dir, to string) (left []string, err error) {
	logs, err := wal.Scan(wal.Dir{FS: vfs.Default, Dirname: dir})
	if err != nil {
		return nil, err
	}
	lengths := map[string]int64{} // of logs that are not copied as a whole
	cut := false
	for _, log := range logs {
		_, path := log.SegmentLocation(0)
		name := filepath.Base(path)
		if cut {
			lengths[name] = 0
			left = append(left, fmt.Sprintf("all of the log %s, which comes behind", name))
			continue
		}
		sound, err := read(log)
		if err != nil {
			cut = true
			lengths[name] = sound
			left = append(left, fmt.Sprintf("the log %s from byte %d on: %v", name, sound, err))
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return nil, err
	}
	for _, name := range names {
		length, short := lengths[name.Name()]
		if name.IsDir() || short && length == 0 && strings.HasSuffix(name.Name(), ".log") {
			continue
		}
		if !short {
			length = -1
		}
		if err := copyFile(filepath.Join(dir, name.Name()), filepath.Join(to, name.Name()), length); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// read reads a log and returns where its first damaged record begins.
func read(log wal.LogicalLog) (sound int64, err error) {
	r := log.OpenForRead()
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		_, at, err := r.NextRecord()
		if errors.Is(err, io.EOF) {
			return at.Physical, nil
		}
		if err != nil {
			return at.Physical, err
		}
	}
}

// copyFile copies the first n bytes of a file, all with n below 0.
func copyFile(from, to string, n int64) error {
	in, err := os.Open(from) //nolint:gosec // a file of the database
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // as above
	if err != nil {
		return errors.Join(err, in.Close())
	}
	part := io.Reader(in)
	if n >= 0 {
		part = io.LimitReader(in, n)
	}
	_, err = io.Copy(out, part)
	return errors.Join(err, in.Close(), out.Close())
}
