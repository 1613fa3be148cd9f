// Package ledger keeps a small file beside the database with the number of the last
// stamp: a write of that number that was on the disk before it was noted here. A
// database that knows of a lower one only has lost its newest log. The first
// stamp in each log is an anchor, which names the anchor in the log before. An
// anchor that is named and not there was lost, and with it what that log became.
//
// Pebble notices a bad block, a missing table, and damage within its
// write-ahead log. It cannot notice a list of tables that ends too early or is
// gone, nor a missing log: it takes these for the traces of a crash, opens what
// is left, perhaps nothing, and deletes tables that nothing names.
//
// A stamp is made once a second while something is written. The file is not
// synced: after a power cut it may say less than it could, never more.
package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// ErrDamaged tells that a database cannot be opened without losing something
// that was acknowledged. Nothing is changed by finding that out.
var ErrDamaged = errors.New("the store is damaged: see what is left with parley check, and restore a backup or save the rest with parley check --repair")

const file = "LEDGER"

// Open opens the file for writing, made if need be.
func Open(files vfs.FS, dir string) (vfs.File, error) {
	return files.OpenReadWrite(files.PathJoin(dir, file), vfs.WriteCategoryUnspecified)
}

// Read returns the number in the ledger; 0 when there is none that can be
// read.
func Read(files vfs.FS, dir string) (uint64, error) {
	f, err := files.Open(files.PathJoin(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	b := make([]byte, 12)
	_, readErr := f.ReadAt(b, 0)
	if body, ok := wire.Verified(b); ok && readErr == nil {
		return binary.LittleEndian.Uint64(body), f.Close()
	}
	return 0, f.Close()
}

// Find returns whether there is a database in dir, and what its ledger has
// noted. Tables that nothing names, which Pebble would delete, are ErrDamaged.
func Find(files vfs.FS, dir string) (exists bool, noted uint64, _ error) {
	names, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	if noted, err = Read(files, dir); err != nil {
		return false, 0, err
	}
	desc, err := pebble.Peek(dir, files)
	if err != nil || desc.Exists {
		return err == nil, noted, err
	}
	for _, name := range names {
		if name == file || strings.HasSuffix(name, ".sst") {
			return false, 0, fmt.Errorf("%w: it has tables, and nothing names them (its marker.manifest file is gone)", ErrDamaged)
		}
	}
	return false, 0, nil
}
