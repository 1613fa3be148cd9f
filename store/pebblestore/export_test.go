package pebblestore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenOn opens a database on a file system of a test.
func OpenOn(tb testing.TB, fs vfs.FS) *DB {
	tb.Helper()
	db, err := Open("db", Options{fs: fs, Log: quiet(), MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	return db
}
