package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/parleyhq/parley/community/store"
)

// A data folder that somebody made by hand may be open to everybody on the machine; what lies in
// the database must not be.
func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "community.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %v", f.Name(), mode)
		}
	}
}
