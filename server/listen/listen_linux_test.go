package listen

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A client that is gone without a word is noticed within a minute.
func TestSilentPeersAreNoticed(t *testing.T) {
	t.Parallel()
	l, err := Config().Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	tcp, ok := far.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", far)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if err := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || got != unanswered {
		t.Errorf("%d, %v", got, err)
	}
}
