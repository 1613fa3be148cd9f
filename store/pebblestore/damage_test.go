package pebblestore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/ledger"
)

// filled makes a folder as a process leaves it that was killed: topic a with
// 3,000 messages in tables and 500 in the write-ahead log.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "live")
	db, err := Open(dir, Options{Log: quiet(), SyncEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, db)
	for seq := uint64(1); seq <= 3500; seq++ {
		if err := publish(db.Log(), seq%50 == 0, entry("a", seq, strings.Repeat("x", 100)+fmt.Sprint(seq*7919))); err != nil {
			t.Fatal(err)
		}
		if seq == 3000 {
			stamped(t, db)
			if err := db.pebble.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	stamped(t, db)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.Mkdir(image, 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(dir, "LEDGER"), filepath.Join(image, "LEDGER"))
	if err := publish(db.Log(), false, entry("a", 3501, "nobody waited for the last")); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := db.pebble.Checkpoint(log, pebble.WithFlushedWAL()); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		copyFile(t, filepath.Join(log, name.Name()), filepath.Join(image, name.Name()))
	}
	return image
}

// stamped waits until the ledger has noted what was written.
func stamped(t *testing.T, db *DB) {
	t.Helper()
	noted := func() uint64 {
		n, err := ledger.Read(vfs.Default, db.dir)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for first := noted(); noted() < first+2; db.dirty.Store(true) { // one may have been under way
		<-again.C
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// file is the newest file of a kind in a folder.
func file(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return found[len(found)-1]
}

// edit changes the contents of a file.
func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// written is the length of a log without the zeros behind it.
func written(b []byte) int { return len(strings.TrimRight(string(b), "\x00")) }

func flip(at func(n int) int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at(written(b))] ^= 4
		return b
	}
}

func cut(at func(n int) int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:at(written(b))] }
}

// Whatever happens to a file, what is missing is told: by a refusal to start or
// with the messages around it. Only the newest writes, which a crash can tear,
// are left out without a word.
func TestDamageIsTold(t *testing.T) {
	middle := func(n int) int { return n / 2 }
	beforeEnd := func(n int) int { return n - 5 }
	for _, c := range []struct {
		name, file string
		change     func([]byte) []byte // nil removes the file
		refused    string              // part of the error; empty when it opens
		read       int                 // messages, at least
		damaged    bool
	}{
		{"a flipped bit in the log", "*.log", flip(middle), "invalid chunk", 0, false},
		{"a flipped bit at the end of the log", "*.log", flip(beforeEnd), "", 3500, false},
		{"a torn log", "*.log", cut(beforeEnd), "", 3500, false},
		{"half a log", "*.log", cut(middle), ledger.ErrDamaged.Error(), 0, false},
		{"no log", "*.log", nil, ledger.ErrDamaged.Error(), 0, false},
		{"a flipped bit in a table", "*.sst", flip(middle), "", 3400, true},
		{"a flipped bit at the end of a table", "*.sst", flip(beforeEnd), "invalid table", 0, false},
		{"half a table", "*.sst", cut(middle), "size mismatch", 0, false},
		{"no table", "*.sst", nil, "file does not exist", 0, false},
		{"a flipped bit in the list of tables", "MANIFEST*", flip(middle), ledger.ErrDamaged.Error(), 0, false},
		{"half a list of tables", "MANIFEST*", cut(middle), ledger.ErrDamaged.Error(), 0, false},
		{"no list of tables", "MANIFEST*", nil, "no such file", 0, false},
		{"nothing that names the list of tables", "marker.manifest*", nil, ledger.ErrDamaged.Error(), 0, false},
		{"no ledger", "LEDGER", nil, "", 3500, false},
		{"a flipped bit in the ledger", "LEDGER", flip(func(int) int { return 1 }), "", 3500, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filled(t)
			if name := file(t, dir, c.file); c.change == nil {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			} else {
				edit(t, name, c.change)
			}
			tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			if err != nil {
				t.Fatal(err)
			}
			db, err := Open(dir, Options{Log: quiet()})
			if c.refused != "" {
				left, globErr := filepath.Glob(filepath.Join(dir, "*.sst"))
				if err == nil || !strings.Contains(err.Error(), c.refused) || globErr != nil || len(left) < len(tables) {
					t.Fatalf("%v; want %q; %d of %d tables are left", err, c.refused, len(left), len(tables))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer shut(t, db)
			r, err := db.Log().Read(t.Context(), "a", store.Range{})
			if err != nil || len(r.Messages) < c.read || r.Damaged != c.damaged {
				t.Errorf("%d messages, damaged %v, %v", len(r.Messages), r.Damaged, err)
			}
			if err := publish(db.Log(), true, entry("a", head(t, db.Log(), "a").Last+1, "goes on")); err != nil {
				t.Error(err)
			}
		})
	}
}

// A session that is damaged is not taken for one there is not, and does not
// come up for ever as one to forget.
func TestADamagedSession(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "store"), Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, db)
	s := &store.Session{ID: "s1", User: "ada", Seen: time.UnixMilli(5), Subscriptions: []store.Subscription{{Filter: "a"}}}
	db.Sessions().Save(s, nil)
	row, _, err := db.read(sessionKey("s1"))
	if err != nil {
		t.Fatal(err)
	}
	row[5] ^= 1
	if err := db.pebble.Set(sessionKey("s1"), row, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	db.Sessions().Acked([]store.Ack{{Session: "s1", Filter: "a", Topic: "a"}})
	if _, err := db.Sessions().Load(t.Context(), "s1"); !damaged(err) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if ids, err := db.Sessions().Expired(t.Context(), time.UnixMilli(9), 9); err != nil || len(ids) != 0 {
			t.Errorf("%q, %v", ids, err)
		}
	}
	db.Sessions().Save(s, nil)
	if got, err := db.Sessions().Load(t.Context(), "s1"); err != nil || got.User != "ada" {
		t.Errorf("saved anew: %+v, %v", got, err)
	}
}
