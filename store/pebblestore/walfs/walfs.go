// Package walfs stands between Pebble and the files of its write-ahead logs.
package walfs

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Wrap returns a file system that notices the first error of a write-ahead log,
// before Pebble does, and keeps it from Pebble: that would end the process with a
// panic at the next change of logs. After the error, nothing is written to these
// logs any more, and Pebble is told that all went well. Nobody else may be:
// fail has been called before, and failed says so from then on, to whoever answers for
// what is committed. So a log on the disk ends where the disk failed, as after a
// crash.
//
// pace is called before a table is begun, and may wait.
func Wrap(inner vfs.FS, failed func() bool, fail func(error), pace func()) vfs.FS {
	return &walFS{FS: inner, failed: failed, fail: fail, pace: pace}
}

type walFS struct {
	vfs.FS

	failed func() bool
	fail   func(error)
	pace   func()
}

// Unwrap is described at vfs.FS.
func (w *walFS) Unwrap() vfs.FS { return w.FS }

// Create is described at vfs.FS.
func (w *walFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !isWAL(name) {
		if strings.HasSuffix(name, ".sst") {
			w.pace()
		}
		return w.FS.Create(name, category)
	}
	f, err := w.FS.Create(name, category)
	return w.watch(f, name, err)
}

// ReuseForWrite is described at vfs.FS.
func (w *walFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(oldname, newname, category)
	if !isWAL(newname) {
		return f, err
	}
	return w.watch(f, newname, err)
}

func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

func (w *walFS) watch(f vfs.File, name string, err error) (vfs.File, error) {
	if err == nil {
		return &walFile{File: f, fs: w, name: name}, nil
	}
	w.fail(fmt.Errorf("begin the log %s: %w", name, err))
	return &walFile{File: vfs.NewMemFile(nil), fs: w, name: name}, nil
}

// walFile is one write-ahead log.
type walFile struct {
	vfs.File

	fs   *walFS
	name string
}

// try does something with the file, unless one of the logs has failed.
func (f *walFile) try(what string, do func() error) {
	if f.fs.failed() {
		return
	}
	if err := do(); err != nil {
		f.fs.fail(fmt.Errorf("%s the log %s: %w", what, f.name, err))
	}
}

// Write is described at vfs.File.
func (f *walFile) Write(p []byte) (int, error) {
	f.try("write", func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

// Sync is described at vfs.File.
func (f *walFile) Sync() error {
	f.try("sync", f.File.Sync)
	return nil
}

// SyncData is described at vfs.File.
func (f *walFile) SyncData() error {
	f.try("sync", f.File.SyncData)
	return nil
}

// SyncTo is described at vfs.File.
func (f *walFile) SyncTo(length int64) (fullSync bool, err error) {
	f.try("sync", func() error { fullSync, err = f.File.SyncTo(length); return err })
	return fullSync, nil
}

// Close is described at vfs.File. What was synced is safe whatever it returns.
func (f *walFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.fs.fail(fmt.Errorf("close the log %s: %w", f.name, err))
	}
	return nil
}
