// Package datadir is the folder in which a server keeps what must outlast it:
// its signing secrets, its database, and the lock that keeps a second server
// out.
package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	secretBytes = 32
	keysFolder  = "keys"
)

// Dir is an existing data folder. Its methods may be called concurrently, and
// from several processes.
type Dir struct{ path string }

// Open makes the folder if it is not there and makes sure that files can be
// written in it. Only its owner can read what it makes.
func Open(path string) (Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return Dir{}, fmt.Errorf("the data folder %s cannot be made: this user may not write there; name another with --data: %w", path, err)
		}
		return Dir{}, fmt.Errorf("the data folder %s cannot be made: %w", path, err)
	}
	probe, err := os.CreateTemp(path, ".probe-*")
	if err != nil {
		return Dir{}, fmt.Errorf("the data folder %s cannot be written to: make it writable for this user, or name another with --data: %w", path, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return Dir{}, fmt.Errorf("the data folder %s: %w", path, err)
	}
	return Dir{path}, nil
}

// Path returns the folder.
func (d Dir) Path() string { return d.path }

// File returns the path of a file in the folder.
func (d Dir) File(name string) string { return filepath.Join(d.path, name) }

// Secret returns the secret of the given name. The first call, in whichever
// process, makes it from random bytes and reports created.
func (d Dir) Secret(name string) (secret []byte, created bool, err error) {
	path := filepath.Join(d.path, keysFolder, name+".key")
	secret, err = readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	created, err = makeSecret(path)
	if err != nil {
		return nil, false, fmt.Errorf("make the key %s: %w", path, err)
	}
	secret, err = readSecret(path)
	return secret, created, err
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key %s can be read by other users (%v): run chmod 600 on it, and replace it if they may have", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) < secretBytes {
		return nil, fmt.Errorf("the key %s is damaged: it must hold %d bytes in hexadecimal; restore it, or remove it to make a new one, "+
			"which ends all tokens signed so far", path, secretBytes)
	}
	return secret, nil
}

// makeSecret puts a whole file in place or none. Of several processes one wins.
func makeSecret(path string) (won bool, err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, err
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	f, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, writeErr := f.WriteString(hex.EncodeToString(secret) + "\n")
	if err := errors.Join(writeErr, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	switch err = os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, syncFolder(folder)
}

// syncFolder makes the name of a new file survive a power cut.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
