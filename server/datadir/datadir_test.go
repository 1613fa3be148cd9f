package datadir_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/server/datadir"
)

func open(t *testing.T, path string) datadir.Dir {
	t.Helper()
	d, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(d.Path()); err != nil || len(left) != 0 {
		t.Errorf("opening leaves %v behind, %v", left, err)
	}
	file := d.File("x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file in place of the folder: %v", err)
	}
}

// However many processes ask first, all get the same secret and one made it.
func TestSecretIsMadeOnce(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	const n = 20
	secrets, made := make([][]byte, n), make([]bool, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			var err error
			if secrets[i], made[i], err = d.Secret("token"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	count := 0
	for i := range n {
		if !bytes.Equal(secrets[i], secrets[0]) || len(secrets[i]) != 32 {
			t.Errorf("%x and %x", secrets[i], secrets[0])
		}
		if made[i] {
			count++
		}
	}
	if count != 1 {
		t.Errorf("made %d times", count)
	}
	if other, _, err := d.Secret("ticket"); err != nil || bytes.Equal(other, secrets[0]) {
		t.Errorf("two names, one secret: %v", err)
	}
	left, err := os.ReadDir(d.File("keys"))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	if info, err := os.Stat(d.File("keys/token.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSecretThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if _, _, err := d.Secret("token"); err != nil {
		t.Fatal(err)
	}
	path := d.File("keys/token.key")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Secret("token"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by all: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("abc"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Secret("token"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
}

const childFolder = "PARLEY_TEST_LOCK_FOLDER"

// TestChild is the other process of the test below: it takes the lock, says so,
// and holds it until its input ends.
func TestChild(t *testing.T) {
	path := os.Getenv(childFolder)
	if path == "" {
		t.Skip("runs as a process of its own")
	}
	if _, err := open(t, path).Lock(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("locked\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // the end of the input is the signal
}

func TestLockNamesTheProcess(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), childFolder+"="+d.Path())
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 7)
	if _, err := out.Read(said); err != nil || string(said) != "locked\n" {
		t.Fatalf("%q, %v", said, err)
	}
	var held *datadir.HeldError
	if _, err := d.Lock(); !errors.As(err, &held) || held.PID != child.Process.Pid {
		t.Errorf("%v, want the process %d to be named", err, child.Process.Pid)
	}
	// Killed without a chance to clean up, it holds nothing any more.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if err := in.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	lock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("twice in one process: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	again, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}
