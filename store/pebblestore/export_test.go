package pebblestore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenOn opens a database on a file system of a test.
func OpenOn(tb testing.TB, fs vfs.FS) *DB {
	tb.Helper()
	return openModel(tb, fs)
}
