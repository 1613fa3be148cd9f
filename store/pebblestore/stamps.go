package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/ledger"
	"github.com/parleyhq/parley/store/pebblestore/wire"
)

// Stamps are in the database, and the number of the last in its ledger.
const (
	keyLedger  = "gledger"
	keyAnchors = "ganchor" // and a number; the value is the number of the one before
)

type stamps struct {
	file         vfs.File
	last, anchor uint64
}

func anchorKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte(keyAnchors), n) }

// examine looks at a database before it is opened for writing, which could
// destroy what a damaged one still has.
func examine(files vfs.FS, dir string, po *pebble.Options) error {
	exists, noted, err := ledger.Find(files, dir)
	if err != nil || !exists {
		return err
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

// Whole returns nil, or ledger.ErrDamaged when the database knows less than its ledger.
// A database that is opened for writing was found whole before.
func (db *DB) Whole() error {
	if !db.use() {
		return store.ErrClosed
	}
	defer db.unuse()
	noted, err := ledger.Read(vfs.Default, db.dir)
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
		return fmt.Errorf("%w: it had got to stamp %d and knows of %d: its newest log was cut off or removed", ledger.ErrDamaged, noted, known)
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
		err = fmt.Errorf("%w: its list of tables (MANIFEST) was cut off: what came before stamp %d is not in it", ledger.ErrDamaged, last)
	}
	return last, err
}

// openLedger begins to note. The database is as new as its ledger.
func openLedger(db *DB, files vfs.FS) (l stamps, err error) {
	if l.last, err = db.number(keyLedger); err != nil {
		return stamps{}, err
	}
	if l.anchor, err = db.anchored(); err != nil {
		return stamps{}, err
	}
	if l.file, err = ledger.Open(files, db.dir); err != nil {
		return stamps{}, err
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
	l := &db.stamps
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
