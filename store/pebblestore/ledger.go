package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// ErrDamaged tells that a database cannot be opened without losing something
// that was acknowledged. Nothing is changed by finding that out.
var ErrDamaged = errors.New("the store is damaged: see what is left with parley check, and restore a backup or save the rest with parley check --repair")

// The ledger is a small file beside the database with the number of the last
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
const (
	ledgerFile = "LEDGER"
	keyLedger  = "gledger"
	keyAnchors = "ganchor" // and a number; the value is the number of the one before
)

type ledger struct {
	file         vfs.File
	last, anchor uint64
}

func anchorKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte(keyAnchors), n) }

func ledgerPath(fs vfs.FS, dir string) string { return fs.PathJoin(dir, ledgerFile) }

// readLedger returns the number in the ledger; 0 when there is none that can be
// read.
func readLedger(files vfs.FS, dir string) (uint64, error) {
	f, err := files.Open(ledgerPath(files, dir))
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

// examine looks at a database before it is opened for writing, which could
// destroy what a damaged one still has.
func examine(files vfs.FS, dir string, po *pebble.Options) error {
	names, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	noted, err := readLedger(files, dir)
	if err != nil {
		return err
	}
	desc, err := pebble.Peek(dir, files)
	if err != nil {
		return err
	}
	if !desc.Exists {
		for _, name := range names {
			if name == ledgerFile || strings.HasSuffix(name, ".sst") {
				return fmt.Errorf("%w: it has tables, and nothing names them (its marker.manifest file is gone)", ErrDamaged)
			}
		}
		return nil
	}
	return compare(dir, noted, po)
}

// compare opens a database to read and looks whether its stamps are there.
func compare(dir string, noted uint64, po *pebble.Options) error {
	looking := po.Clone()
	looking.ReadOnly = true
	p, err := pebble.Open(dir, looking)
	if err != nil {
		return err
	}
	db := &DB{pebble: p}
	return errors.Join(db.compare(noted), p.Close())
}

// Whole returns nil, or ErrDamaged when the database knows less than its ledger.
// A database that is opened for writing was found whole before.
func (db *DB) Whole() error {
	if !db.use() {
		return store.ErrClosed
	}
	defer db.unuse()
	noted, err := readLedger(vfs.Default, db.dir)
	if err != nil || noted == 0 {
		return err
	}
	return db.compare(noted)
}

func (db *DB) compare(noted uint64) error {
	known, err := db.number(keyLedger)
	if err == nil {
		_, err = db.anchored()
	}
	if err != nil {
		return err
	}
	if known < noted {
		return fmt.Errorf("%w: it had got to stamp %d and knows of %d: its newest log was cut off or removed", ErrDamaged, noted, known)
	}
	return nil
}

// anchored returns the last anchor, and an error when the one before is lost.
func (db *DB) anchored() (last uint64, err error) {
	lower := []byte(keyAnchors)
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: behind(lower)})
	if err != nil {
		return 0, err
	}
	before := uint64(0)
	if it.Last() {
		last = binary.BigEndian.Uint64(it.Key()[len(lower):])
		body, ok := wire.Verified(it.Value())
		if !ok || len(body) != 8 {
			err = wire.ErrDamaged
		} else {
			before = binary.LittleEndian.Uint64(body)
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil || before == 0 {
		return last, err
	}
	_, found, err := db.get(anchorKey(before))
	if err == nil && !found {
		err = fmt.Errorf("%w: its list of tables (MANIFEST) was cut off: what came before stamp %d is not in it", ErrDamaged, last)
	}
	return last, err
}

// openLedger begins to note. The database is as new as its ledger.
func openLedger(db *DB, files vfs.FS) (l ledger, err error) {
	if l.last, err = db.number(keyLedger); err != nil {
		return ledger{}, err
	}
	if l.anchor, err = db.anchored(); err != nil {
		return ledger{}, err
	}
	if l.file, err = files.OpenReadWrite(ledgerPath(files, db.dir), vfs.WriteCategoryUnspecified); err != nil {
		return ledger{}, err
	}
	return l, nil
}

// stamp syncs the write-ahead log, with the next stamp in it, and notes that. It
// is called by one goroutine.
func (db *DB) stamp(anchor bool) {
	b := db.batch()
	if b == nil {
		return
	}
	l := &db.ledger
	n := l.last + 1
	value := numberValue(n)
	_ = b.Set([]byte(keyLedger), value, nil)
	if anchor {
		_ = b.DeleteRange([]byte(keyAnchors), anchorKey(l.anchor), nil)
		_ = b.Set(anchorKey(n), numberValue(l.anchor), nil)
	}
	written := make(chan error, 1)
	db.commit(b, stamping, func(err error) { written <- err })
	if <-written != nil {
		return
	}
	l.last = n
	if anchor {
		l.anchor = n
	}
	if _, err := l.file.WriteAt(value, 0); err != nil {
		db.log.Warn("the ledger of the store cannot be written: the loss of its newest files would not be noticed", "error", err)
	}
}
