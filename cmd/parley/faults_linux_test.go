package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// disk mounts a small file system of its own, which root may.
func disk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("NOT TESTED: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// A full disk: nothing is acknowledged that is not on it, reads go on, the
// server says that it is not ready, and with space and a restart all is well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	data := filepath.Join(disk(t, "size=12m"), "data")
	server, url := serveIn(t, data)
	accepted := 0
	for {
		ok, answer := bulky(t, url, accepted, 20_000)
		if !ok {
			if !strings.Contains(answer, `"error"`) {
				t.Errorf("refused with %s", answer)
			}
			break
		}
		if accepted++; accepted > 2000 {
			t.Fatal("the disk does not fill")
		}
	}
	if ok, answer := bulky(t, url, -1, 10); ok {
		t.Errorf("accepted after the failure: %s", answer)
	}
	if text := curl(t, url+"/readyz", ""); !strings.Contains(text, `"status":"failing"`) || !strings.Contains(text, "disk failed") {
		t.Errorf("ready: %s", text)
	}
	if _, list := payloads(t, url, orders); len(list) != accepted {
		t.Errorf("%d are read of %d", len(list), accepted)
	}
	kill(t, server)

	// There is no room for the new log either.
	if said := refused(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data); !strings.Contains(said, "no space left") {
		t.Error(said)
	}
	if err := syscall.Mount("tmpfs", filepath.Dir(data), "tmpfs", syscall.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatal(err)
	}
	_, url = serveIn(t, data)
	_, list := payloads(t, url, orders)
	if len(list) < accepted || len(list) > accepted+1 { // the one that was refused may have got there
		t.Errorf("%d messages, %d were accepted", len(list), accepted)
	}
	if ok, answer := bulky(t, url, accepted, 20_000); !ok {
		t.Error(answer)
	}
}

// A folder that cannot be written to is said to be so.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	dir := disk(t, "size=8m")
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if said := refused(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data); !strings.Contains(said, "cannot be written to") || !strings.Contains(said, "--data") {
		t.Error(said)
	}
}
