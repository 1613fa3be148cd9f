// Package backup copies everything a server keeps, while it runs, and puts it
// back. A backup is a folder, or on its way a tar archive of it, that holds the
// community's database, the store, the keys, and a list of all that with
// checksums. The list is written last, so that a backup without it is known to
// be a part of one.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	listFile      = "backup.json"
	communityFile = "community.db"
	storeFolder   = "store"
	keysFolder    = "keys"
	format        = 1
)

// List is what a backup holds.
type List struct {
	Format int       `json:"format"`
	Made   time.Time `json:"made"`
	// Server is the version that made it.
	Server string `json:"server"`
	Files  []File `json:"files"`
}

// File is one file of a backup.
type File struct {
	Path   string `json:"path"` // with slashes, within the folder
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Bytes is how much the backup holds.
func (l *List) Bytes() (n int64) {
	for _, f := range l.Files {
		n += f.Bytes
	}
	return n
}

// Source is what a backup is made of.
type Source struct {
	// Folder is the data folder. Copies are gathered in it first.
	Folder string
	// Community copies the community's database into a file that is there and
	// empty, and Store the store into a folder that is not. nil where there is none.
	Community func(ctx context.Context, file string) error
	Store     func(dir string) error
	// Server is the version that goes into the list.
	Server string
}

// Write copies everything as it is now and writes it to w as a tar archive. What
// was acknowledged before the call is in it. w may be slow: only the copying
// takes a part of the server's time.
func Write(ctx context.Context, w io.Writer, s Source) (err error) {
	folder, err := os.MkdirTemp(s.Folder, ".backup-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := s.gather(ctx, folder); err != nil {
		return err
	}
	return archive(ctx, w, folder, s.Server)
}

// gather makes the copies. The community's database comes first: what it has
// still to publish may then be in the store already, and is known by its key;
// the other way round it could be missing in both.
func (s *Source) gather(ctx context.Context, folder string) error {
	if s.Community != nil {
		file := filepath.Join(folder, communityFile)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return err
		}
		if err := s.Community(ctx, file); err != nil {
			return err
		}
	}
	if s.Store != nil {
		if err := s.Store(filepath.Join(folder, storeFolder)); err != nil {
			return err
		}
	}
	keys, err := os.ReadDir(filepath.Join(s.Folder, keysFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, key := range keys {
		name := filepath.Join(keysFolder, key.Name())
		if err := copyFile(filepath.Join(s.Folder, name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// archive writes the files of a folder, and the list of them.
func archive(ctx context.Context, w io.Writer, folder, server string) error {
	list := List{Format: format, Made: time.Now().UTC().Truncate(time.Second), Server: server}
	out := tar.NewWriter(w)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		f, err := pack(out, path, filepath.ToSlash(name))
		list.Files = append(list.Files, f)
		return errors.Join(err, ctx.Err())
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: listFile, Mode: 0o600, Size: int64(len(text)), ModTime: list.Made}); err != nil {
		return err
	}
	_, err = out.Write(text)
	return errors.Join(err, out.Close())
}

// pack writes one file.
func pack(out *tar.Writer, path, name string) (_ File, err error) {
	in, err := os.Open(path) //nolint:gosec // found in a folder of our own
	if err != nil {
		return File{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return File{}, err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return File{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, info.Size()))
	return File{name, n, hex.EncodeToString(sum.Sum(nil))}, err
}

// Extract reads what Write wrote into the folder to, which must not be there or
// be empty. It is there as a whole afterwards, or not at all.
func Extract(r io.Reader, to string) (*List, error) {
	var list *List
	err := whole(to, func(folder string) (err error) {
		in := tar.NewReader(r)
		for {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("the backup ends early: %w", err)
			}
			if err := unpack(in, h, folder); err != nil {
				return err
			}
		}
		list, err = Verify(folder)
		return err
	})
	return list, err
}

func unpack(in io.Reader, h *tar.Header, folder string) error {
	if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) || strings.Contains(h.Name, `\`) {
		return fmt.Errorf("the backup holds %q, which is no file of a backup", h.Name)
	}
	return create(filepath.Join(folder, filepath.FromSlash(h.Name)), in)
}

// create writes a file that survives a power cut.
func create(path string, in io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // within a folder of our own
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Sync(), f.Close())
}

// whole makes a folder under another name and gives it its own when it is
// complete.
func whole(to string, fill func(folder string) error) error {
	to = filepath.Clean(to)
	switch names, err := os.ReadDir(to); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(names) > 0:
		return fmt.Errorf("%s is not empty: name a new folder", to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	folder, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+"-*")
	if err != nil {
		return err
	}
	err = fill(folder)
	if err == nil {
		if err = os.Remove(to); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(folder, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	return nil
}
