package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/community"
	"github.com/parleyhq/parley/server/datadir"
	"github.com/parleyhq/parley/store/pebblestore"
	"github.com/parleyhq/parley/store/pebblestore/cutlog"
)

// Findings are what Check or Repair found, in lines for people.
type Findings struct {
	Sound, Damage []string
}

func (f *Findings) soundf(format string, args ...any) {
	f.Sound = append(f.Sound, fmt.Sprintf(format, args...))
}

func (f *Findings) damagef(format string, args ...any) {
	f.Damage = append(f.Damage, fmt.Sprintf(format, args...))
}

// Check reads everything in a data folder that no server uses, or in a backup,
// and changes nothing.
func Check(ctx context.Context, folder string, log *slog.Logger) (f Findings, err error) {
	release, err := take(folder)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if exists(filepath.Join(folder, listFile)) {
		if list, err := Verify(folder); err != nil {
			f.damagef("%v", err)
		} else {
			f.soundf("backup: %d files as they were written on %s", len(list.Files), list.Made.Format("2006-01-02 15:04:05 MST"))
		}
	}
	if file := filepath.Join(folder, communityFile); exists(file) {
		if err := community.Check(ctx, file); err != nil {
			f.damagef("community: %v", err)
		} else {
			f.soundf("community: sound")
		}
	}
	if dir := filepath.Join(folder, storeFolder); exists(dir) {
		err = checkStore(ctx, dir, &f, log)
	}
	return f, err
}

// take keeps servers out of a data folder while it is looked at.
func take(folder string) (release func() error, err error) {
	if _, err := os.Stat(folder); err != nil {
		return nil, err
	}
	if exists(filepath.Join(folder, listFile)) {
		return func() error { return nil }, nil // no server uses a backup
	}
	dir, err := datadir.Open(folder)
	if err != nil {
		return nil, err
	}
	lock, err := dir.Lock()
	if err != nil {
		return nil, err
	}
	return lock.Release, nil
}

func checkStore(ctx context.Context, dir string, f *Findings, log *slog.Logger) (err error) {
	db, err := pebblestore.Open(dir, pebblestore.Options{Log: log, ReadOnly: true})
	if err != nil {
		f.damagef("store: it cannot be opened: %v", err)
		return nil // that was the question
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	if err := db.Whole(); err != nil {
		f.damagef("store: %v", err)
	}
	report, err := db.Inspect(ctx, nil)
	f.take(report)
	return err
}

// take adds what was found in a store.
func (f *Findings) take(r pebblestore.Report) {
	f.soundf("store: %d topics, %d messages, %d sessions", r.Topics, r.Messages, r.Sessions)
	for _, line := range r.Damage {
		f.damagef("store: %s", line)
	}
}

// Repair puts what can be read in a damaged data folder into the new folder to.
// Topics begin new epochs in it, as in a folder made from a backup.
func Repair(ctx context.Context, folder, to string, log *slog.Logger) (f Findings, err error) {
	release, err := take(folder)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, release()) }()
	err = whole(to, func(saved string) error {
		s := Source{Folder: folder}
		if err := s.gather(ctx, saved); err != nil { // the keys
			return err
		}
		if file := filepath.Join(folder, communityFile); exists(file) {
			if err := community.Backup(ctx, file, filepath.Join(saved, communityFile)); err != nil {
				f.damagef("community: left out, restore it from a backup: %v", err)
			}
		}
		if dir := filepath.Join(folder, storeFolder); exists(dir) {
			return salvage(ctx, dir, saved, &f, log)
		}
		return nil
	})
	return f, err
}

// salvage saves a store, from a copy with a shorter log if need be.
func salvage(ctx context.Context, dir, saved string, f *Findings, log *slog.Logger) (err error) {
	o := pebblestore.Options{Log: log, ReadOnly: true}
	db, err := pebblestore.Open(dir, o)
	if err != nil {
		copied := filepath.Join(saved, ".copy")
		left, copyErr := cutlog.Copy(dir, copied)
		if copyErr != nil {
			return errors.Join(err, copyErr)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
		var again error
		if db, again = pebblestore.Open(copied, o); again != nil {
			return fmt.Errorf("too much of the store is damaged to save the rest, only a backup helps: %w", err)
		}
		for _, line := range left {
			f.damagef("store: %s", line)
		}
	} else if err := db.Whole(); err != nil {
		f.damagef("store: %v", err)
	}
	o.ReadOnly = false
	report, err := db.Salvage(ctx, filepath.Join(saved, storeFolder), o)
	f.take(report)
	return errors.Join(err, db.Close(context.WithoutCancel(ctx)))
}
