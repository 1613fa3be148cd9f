// Package pebblestore keeps what must outlast the process in one Pebble
// database: the log of durable topics and, beside it, sessions, receipts,
// groups and producers. One write-ahead log serves them all, so that one sync of the
// disk makes everything durable that waits for it.
//
// Keys of the log part begin with a lower-case letter, those of the state part
// with an upper-case one.
package pebblestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore/frames"
	"github.com/parleyhq/parley/store/pebblestore/walfs"
)

// Options are how a database is opened; zero values take the defaults.
type Options struct {
	// Log receives what goes wrong; nil means slog.Default.
	Log *slog.Logger
	// CacheBytes is how much of what was read stays in memory: 64 MiB.
	CacheBytes int64
	// MemTableBytes is how much is written before it is sorted into files:
	// 64 MiB. Up to four of them are in memory while the disk cannot keep up.
	MemTableBytes uint64
	// SyncEvery is how soon a write is on the disk for which nobody waits: a
	// second.
	SyncEvery time.Duration
	// ReadOnly opens a database to look at it. Nothing is written, not even
	// what a recovery would.
	ReadOnly bool

	fs vfs.FS // of tests
}

// DB is one database. Methods may be called concurrently.
type DB struct {
	dir      string
	readOnly bool
	log      *slog.Logger
	pebble   *pebble.DB
	watch    io.Closer // of the disk's health
	every    time.Duration
	failure  atomic.Pointer[error]
	// corrupted counts what Pebble found damaged.
	corrupted atomic.Int64
	// vain counts how often tables could not be written, one after the other.
	vain     atomic.Int64
	hopeless chan error // while it is being opened: tables can still not be written

	mu     sync.RWMutex // held for writing to close, for reading around every use of pebble
	closed bool
	topics *topicLog
	locks  *locks
	epochs *epochs
	stamps stamps

	rotated chan struct{} // a new write-ahead log was begun
	dirty   atomic.Bool   // something was written since the last stamp
	syncs   chan waiting
	closing atomic.Bool
	stop    chan struct{}
	ticking sync.WaitGroup
	running sync.WaitGroup
}

// waiting is a batch that is on its way to the disk.
type waiting struct {
	batch *pebble.Batch
	done  func(error)
	sync  bool  // the disk has to be waited for
	err   error // it is not
}

// slowDisk is how long an operation may take before it is worth a line in the log.
const slowDisk = 5 * time.Second

// maxSyncs bounds the batches on their way to the disk.
const maxSyncs = 64

// Open opens the database in dir, made if need be. One process at a time can.
func Open(dir string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 64 << 20
	}
	db := &DB{
		dir: dir, readOnly: o.ReadOnly, log: o.Log, every: o.SyncEvery, locks: newLocks(),
		syncs: make(chan waiting, maxSyncs), rotated: make(chan struct{}, 1), hopeless: make(chan error, 1), stop: make(chan struct{}),
	}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref() // the database holds it
	po := db.options(o, cache)
	po.FS, db.watch = vfs.WithDiskHealthChecks(cmp.Or(o.fs, vfs.Default), slowDisk, nil, func(info vfs.DiskSlowInfo) {
		db.log.Warn("the disk is slow", "info", info.String())
	})
	po.FS = walfs.Wrap(po.FS, func() bool { return db.failed() != nil }, db.fail, db.pace)
	if !o.ReadOnly {
		if err := examine(po.FS, dir, po); err != nil {
			return nil, errors.Join(fmt.Errorf("open the store %s: %w", dir, err), db.watch.Close())
		}
	}
	opened, err := db.openPebble(po)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store %s: %w", dir, err), db.watch.Close())
	}
	db.pebble = opened
	if err := db.failed(); err != nil {
		return nil, errors.Join(err, db.giveUp())
	}
	if err := db.openParts(po.FS); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store %s: %w", dir, err), db.giveUp())
	}
	db.running.Go(db.syncLoop)
	db.ticking.Go(db.intervalLoop)
	return db, nil
}

// maxVain is how often writing tables may fail before a database that is being
// opened is given up: Pebble would try for ever.
const maxVain = 6

// openPebble opens Pebble, unless the disk does not take what its log holds.
func (db *DB) openPebble(po *pebble.Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		p, err := pebble.Open(db.dir, po)
		done <- result{p, err}
	}()
	select {
	case r := <-done:
		return r.db, r.err
	case err := <-db.hopeless: // the goroutine stays, as a process does that nobody can help
		return nil, err
	}
}

func (db *DB) openParts(files vfs.FS) (err error) {
	if db.topics, err = openLog(db); err != nil {
		return err
	}
	if db.epochs, err = openEpochs(db); err != nil || db.readOnly {
		return err
	}
	db.stamps, err = openLedger(db, files)
	return err
}

// options are Pebble's. What they do not say is as Pebble thinks best.
func (db *DB) options(o Options, cache *pebble.Cache) *pebble.Options {
	po := &pebble.Options{
		Cache: cache,
		// Its write-ahead log says in every chunk up to where it was synced, so
		// that a torn end, which a crash leaves, is told from damage before it.
		FormatMajorVersion: pebble.FormatWALSyncChunks,
		// A larger table is sorted into files less often: the log of a topic is
		// written once and rarely read from the disk.
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		// Topics write everywhere at once, so that each table overlaps all others:
		// it is worth it to sort several of them together.
		L0CompactionThreshold: 12,
		L0StopWritesThreshold: 40,
		LBaseMaxBytes:         256 << 20,
		MaxOpenFiles:          1000,
		// What was written is handed to the disk early, so that no sync has to
		// wait for megabytes.
		BytesPerSync:    1 << 20,
		WALBytesPerSync: 0, // every group is synced anyway
		// Half of the processors belong to those who publish and receive.
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 2 },
		Merger:                     frames.Merger(),
		Logger:                     pebbleLogger{log: o.Log, fail: db.fail},
		EventListener:              db.listener(),
		ReadOnly:                   o.ReadOnly,
		ErrorIfNotExists:           o.ReadOnly,
	}
	// Fast compression: JSON shrinks to a half or a third, at a cost that is small beside
	// that of the write itself. Every block has a checksum and it is verified
	// with each read; records have one of their own, see record.go.
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range po.Levels {
		// Most topics that are asked for are not there: those of memory.
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return po
}

func (db *DB) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			n := db.vain.Add(1)
			if n&(n-1) == 0 {
				db.log.Error("tables of the store cannot be written", "error", err, "times", n)
			}
			if n == maxVain {
				select {
				case db.hopeless <- err:
				default: // it was opened long ago
				}
			}
		},
		FlushEnd: func(info pebble.FlushInfo) {
			if info.Err == nil {
				db.vain.Store(0)
			}
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			if info.Err == nil {
				db.vain.Store(0)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if n := db.corrupted.Add(1); n&(n-1) == 0 {
				db.log.Error("the store is damaged: run parley check", "damage", info.String(), "times", n)
			}
		},
		WALCreated: func(pebble.WALCreateInfo) {
			select {
			case db.rotated <- struct{}{}:
			default:
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			db.log.Warn("the disk cannot keep up: writers wait", "reason", info.Reason)
		},
		WriteStallEnd: func() { db.log.Info("the disk has caught up") },
	}
}

// pace slows Pebble down, which tries again at once what failed, for ever. When
// the database is being closed it tries a last few times.
func (db *DB) pace() {
	const shortest, longest = 10 * time.Millisecond, 10 * time.Second
	n := db.vain.Load()
	if n == 0 {
		return
	}
	wait := time.NewTimer(min(shortest<<min(n, 12), longest))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-db.stop:
		wait.Reset(shortest)
		<-wait.C
	}
}

// pebbleLogger hands on what Pebble says. Pebble takes it for granted that
// Fatalf ends the process; here it ends the writing, and reads go on.
type pebbleLogger struct {
	log  *slog.Logger
	fail func(error)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "text", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Warn("pebble", "text", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) { l.fail(fmt.Errorf(format, args...)) }

// fail ends all writing for good: after a failed sync the system may have
// dropped what it could not write, and a later sync would succeed without it.
func (db *DB) fail(cause error) {
	err := fmt.Errorf("%w: %w", store.ErrFailed, cause)
	if db.failure.CompareAndSwap(nil, &err) {
		db.log.Error("the disk failed: nothing more is accepted until a restart", "store", db.dir, "error", cause)
	}
}

// failed returns why nothing is written any more, or nil.
func (db *DB) failed() error {
	if err := db.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Check returns nil, or why nothing can be written.
func (db *DB) Check(context.Context) error {
	if !db.use() {
		return store.ErrClosed
	}
	defer db.unuse()
	return db.failed()
}

// use keeps the database open until unuse; false when it is closed.
func (db *DB) use() bool {
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return false
	}
	return true
}

func (db *DB) unuse() { db.mu.RUnlock() }

// How soon a write is on the disk.
type urgency int

const (
	whenever urgency = iota // when the system thinks fit
	soon                    // within Options.SyncEvery
	now                     // before done is called
	stamping                // as now, and there is nothing new to stamp
)

// commit writes a batch, which it owns afterwards. done may be nil; it is called
// once, in the order of the commits that have one, and must neither block nor
// use the database. What was committed is visible when commit returns, before it is on
// the disk.
func (db *DB) commit(b *pebble.Batch, u urgency, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	if !db.use() {
		_ = b.Close()
		done(store.ErrClosed)
		return
	}
	defer db.unuse()
	w := waiting{batch: b, done: done, sync: u >= now}
	if w.err = db.apply(b, w.sync); w.err == nil && (u == soon || u == now) {
		db.dirty.Store(true)
	}
	db.syncs <- w
}

// apply hands a batch to Pebble. With sync, b.SyncWait is owed.
func (db *DB) apply(b *pebble.Batch, sync bool) (err error) {
	if err := db.failed(); err != nil {
		return err
	}
	defer func() { // a log file that cannot be begun panics, as on a full disk
		if r := recover(); r != nil {
			db.fail(fmt.Errorf("write: %v", r))
			err = db.failed()
		}
	}()
	if sync {
		err = db.pebble.ApplyNoSyncWait(b, pebble.Sync)
	} else {
		err = db.pebble.Apply(b, pebble.NoSync)
	}
	if err != nil {
		db.fail(err)
	}
	return db.failed() // Pebble returns nil after it called Fatalf
}

// syncLoop answers those who wait for the disk, in their order.
func (db *DB) syncLoop() {
	for w := range db.syncs {
		if w.err == nil && w.sync {
			if err := w.batch.SyncWait(); err != nil {
				db.fail(err)
			}
		}
		if w.err == nil {
			w.err = db.failed()
		}
		if w.err == nil { // else Pebble may still hold it
			_ = w.batch.Close()
		}
		w.done(w.err)
	}
}

// intervalLoop brings to the disk what nobody waits for.
func (db *DB) intervalLoop() {
	tick := time.NewTicker(db.every)
	defer tick.Stop()
	for {
		select {
		case <-db.stop:
			db.flushWrites()
			return
		case <-tick.C:
			db.flushWrites()
		case <-db.rotated:
			if !db.readOnly && db.failed() == nil {
				db.stamp(true)
			}
		}
	}
}

// flushWrites syncs the write-ahead log when something waits in it.
func (db *DB) flushWrites() {
	if !db.dirty.Swap(false) || db.failed() != nil {
		return
	}
	db.stamp(false)
}

// Close writes what is still to be written and releases everything. It may be called
// more than once.
func (db *DB) Close(ctx context.Context) error {
	if db.closing.Swap(true) {
		return nil
	}
	close(db.stop)
	db.ticking.Wait()
	db.mu.Lock()
	db.closed = true
	db.mu.Unlock()
	close(db.syncs) // commit holds mu while it sends
	db.running.Wait()
	return db.shut(ctx)
}

// giveUp closes Pebble after a failed opening.
func (db *DB) giveUp() error {
	ctx, stop := context.WithTimeout(context.Background(), slowDisk)
	defer stop()
	return db.shut(ctx)
}

// shut closes Pebble. After a failure it may never end, so ctx bounds it.
func (db *DB) shut(ctx context.Context) error {
	shut := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				shut <- fmt.Errorf("close the store: %v", r)
			}
		}()
		err := errors.Join(db.pebble.Close(), db.watch.Close())
		if db.stamps.file != nil {
			err = errors.Join(err, db.stamps.file.Close())
		}
		shut <- err
	}()
	select {
	case err := <-shut:
		if db.failed() == nil { // else it was said when it happened
			return err
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the store: %w", ctx.Err())
	}
}
