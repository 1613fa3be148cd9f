package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/community"
	"github.com/parleyhq/parley/server/datadir"
	"github.com/parleyhq/parley/store/pebblestore"
)

// Verify compares the files of a backup with its list.
func Verify(folder string) (*List, error) {
	text, err := os.ReadFile(filepath.Join(folder, listFile)) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no backup, or a part of one: %s, which is written last, is not in it", folder, listFile)
	}
	if err != nil {
		return nil, err
	}
	var list List
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the list of the backup, %s: %w", listFile, err)
	}
	if list.Format != format {
		return nil, fmt.Errorf("the backup has the format %d, this version reads %d", list.Format, format)
	}
	for _, f := range list.Files {
		if !filepath.IsLocal(f.Path) {
			return nil, fmt.Errorf("the backup lists %q, which is no file of a backup", f.Path)
		}
		if err := compare(filepath.Join(folder, filepath.FromSlash(f.Path)), f); err != nil {
			return nil, err
		}
	}
	return &list, nil
}

func compare(path string, f File) error {
	in, err := os.Open(path) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("the backup is damaged: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	if n != f.Bytes || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("the backup is damaged: %s is not what was written", f.Path)
	}
	return nil
}

// Restore makes the data folder to, which must not be there or be empty, from
// the backup in from. Topics begin new epochs in it: whoever has seen messages
// that were published after the backup is told that the history is another.
func Restore(ctx context.Context, from, to string, log *slog.Logger) (*List, error) {
	list, err := Verify(from)
	if err != nil {
		return nil, err
	}
	return list, whole(to, func(folder string) error {
		for _, f := range list.Files {
			name := filepath.FromSlash(f.Path)
			if err := copyFile(filepath.Join(from, name), filepath.Join(folder, name)); err != nil {
				return err
			}
		}
		store := filepath.Join(folder, storeFolder)
		if _, err := os.Stat(store); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return renew(ctx, store, log)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(create(to, in), in.Close())
}

func renew(ctx context.Context, dir string, log *slog.Logger) error {
	db, err := pebblestore.Open(dir, pebblestore.Options{Log: log})
	if err != nil {
		return err
	}
	err = db.Renew(ctx)
	return errors.Join(err, db.Close(context.WithoutCancel(ctx)))
}

// WriteStopped writes a backup of a data folder that no server uses.
func WriteStopped(ctx context.Context, w io.Writer, folder, server string, log *slog.Logger) (err error) {
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("the data folder: %w", err)
	}
	dir, err := datadir.Open(folder)
	if err != nil {
		return err
	}
	lock, err := dir.Lock()
	if held := (*datadir.HeldError)(nil); errors.As(err, &held) {
		return fmt.Errorf("%w; a running server is asked for a backup with --url", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	s := Source{Folder: folder, Server: server}
	if file := dir.File(communityFile); exists(file) {
		s.Community = func(ctx context.Context, to string) error { return community.Backup(ctx, file, to) }
	}
	if store := dir.File(storeFolder); exists(store) {
		db, err := pebblestore.Open(store, pebblestore.Options{Log: log})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
		s.Store = db.Backup
	}
	return Write(ctx, w, s)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
