package proc

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string) []string {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	return []string{path, "-c", script}
}

func address() *regexp.Regexp { return regexp.MustCompile(`at (\S+)`) }

func TestServer(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), shell(t, `trap 'exit 0' TERM; printf 'listening at ht'; echo tp://x; while :; do sleep 0.05; done`), nil, address())
	if err != nil {
		t.Fatal(err)
	}
	if s.URL != "http://x" || s.PID() <= 0 {
		t.Errorf("%q, process %d", s.URL, s.PID())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), shell(t, `echo the port is taken >&2; exit 3`), nil, address())
	if err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("%v", err)
	}
	if _, err := Start(t.Context(), []string{"/nowhere/at/all"}, nil, address()); err == nil {
		t.Error("nothing was started, and no error")
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	_, err = Start(ctx, shell(t, `trap 'exit 0' TERM; while :; do sleep 0.05; done`), nil, address())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent server: %v", err)
	}
}

func TestServerThatEndsBadly(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), shell(t, `trap 'echo on fire; exit 4' TERM; echo at x; while :; do sleep 0.05; done`), nil, address())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "on fire") {
		t.Errorf("%v", err)
	}
}

// What nobody reads is held by the system.
func TestSocketMemory(t *testing.T) {
	before, err := SocketMemory()
	if runtime.GOOS != "linux" {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		return
	}
	l, listenErr := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, listenErr); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	n, _ := conn.Write(make([]byte, 16<<20)) // as much as fits
	after, err := SocketMemory()
	if err != nil || after-before < int64(n)/2 {
		t.Errorf("from %d to %d, with %d bytes unread, %v", before, after, n, err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		if _, err := Read(os.Getpid()); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		return
	}
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	held := make([]byte, 32<<20)
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
		for i := 0; i < len(held); i += 4096 {
			held[i]++
		}
	}
	after, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(held)
	if spent := after.CPU - before.CPU; spent < 5*time.Millisecond || spent > 10*time.Second {
		t.Errorf("30 ms of work cost %v", spent)
	}
	if after.RSS < 32<<20 || after.Threads < 2 || after.Descriptors < 3 {
		t.Errorf("%+v", after)
	}
	if _, err := Read(1 << 30); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("%v", err)
	}
}
