package socket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func frames(list ...ws.Frame) []byte {
	var b []byte
	for _, f := range list {
		b = append(b, ws.MustCompileFrame(f)...)
	}
	return b
}

func reader(b []byte) (r *frameReader, pongs *[]string) {
	pongs = new([]string)
	return &frameReader{r: bufio.NewReader(bytes.NewReader(b)), text: true, pong: func(p []byte) {
		*pongs = append(*pongs, string(p))
	}}, pongs
}

func TestReadsMessages(t *testing.T) {
	long := strings.Repeat("ä", 40_000)
	r, pongs := reader(frames(
		ws.NewTextFrame([]byte("one")),
		ws.NewFrame(ws.OpText, false, []byte("t")),
		ws.NewPingFrame([]byte("p")),
		ws.NewFrame(ws.OpContinuation, false, nil),
		ws.NewPongFrame(nil),
		ws.NewFrame(ws.OpContinuation, true, []byte("wo")),
		ws.NewTextFrame([]byte(long)),
		ws.NewTextFrame(nil),
		ws.NewCloseFrame(ws.NewCloseFrameBody(4000, "draining")),
	))
	for _, want := range []string{"one", "two", long, ""} {
		if got, err := r.next(); err != nil || string(got) != want {
			t.Fatalf("got %.20q, %v, want %.20q", got, err, want)
		}
	}
	_, err := r.next()
	closed, ok := errors.AsType[*ClosedError](err)
	if !ok || closed.Code != 4000 || closed.Reason != "draining" {
		t.Errorf("the end is %v", err)
	}
	if len(*pongs) != 1 || (*pongs)[0] != "p" {
		t.Errorf("pongs %q", *pongs)
	}
}

func TestRefusesWhatTheStandardForbids(t *testing.T) {
	reserved := ws.NewTextFrame([]byte("x"))
	reserved.Header.Rsv = 2
	declared := []byte{0x81, 127, 0, 0, 0, 0, 1, 0, 0, 1}
	half := frames(ws.NewFrame(ws.OpText, false, make([]byte, maxMessage-1)), ws.NewFrame(ws.OpContinuation, true, make([]byte, 2)))
	for name, c := range map[string]struct {
		in   []byte
		code ws.StatusCode
	}{
		"reserved bits":          {frames(reserved), ws.StatusProtocolError},
		"a mask":                 {frames(ws.MaskFrame(ws.NewTextFrame(nil))), ws.StatusProtocolError},
		"binary for text":        {frames(ws.NewBinaryFrame(nil)), ws.StatusProtocolError},
		"an unknown opcode":      {frames(ws.NewFrame(0xd, true, nil)), ws.StatusProtocolError},
		"a tail without head":    {frames(ws.NewFrame(ws.OpContinuation, true, nil)), ws.StatusProtocolError},
		"a head within":          {frames(ws.NewFrame(ws.OpText, false, nil), ws.NewTextFrame(nil)), ws.StatusProtocolError},
		"a long control frame":   {frames(ws.NewPingFrame(make([]byte, 126))), ws.StatusProtocolError},
		"a ping in parts":        {frames(ws.NewFrame(ws.OpPing, false, nil)), ws.StatusProtocolError},
		"no UTF-8":               {frames(ws.NewTextFrame([]byte{0xc3, 0x28})), ws.StatusInvalidFramePayloadData},
		"too big by declaration": {declared, ws.StatusMessageTooBig},
		"too big in parts":       {half, ws.StatusMessageTooBig},
	} {
		r, _ := reader(c.in)
		_, err := r.next()
		broken, ok := errors.AsType[*ViolationError](err)
		if !ok || broken.Code != c.code {
			t.Errorf("%s: %v, want a violation with %d", name, err, c.code)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frames(ws.NewTextFrame([]byte("one")), ws.NewPingFrame(nil)))
	f.Add(frames(ws.NewFrame(ws.OpText, false, []byte("t")), ws.NewFrame(ws.OpContinuation, true, []byte("wo"))))
	f.Add([]byte{0x81, 126, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _ := reader(b)
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			if len(m) > len(b) {
				t.Fatalf("%d bytes became a message of %d", len(b), len(m))
			}
		}
	})
}

// pair is a socket and what it talks to.
func pair(t *testing.T, c Config) (*Socket, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	c.Conn = near
	if c.More == nil {
		c.More = func() [][]byte { return nil }
	}
	s := New(t.Context(), c)
	t.Cleanup(func() { _ = far.Close(); _ = s.End(0) })
	return s, far
}

func TestWritesWhatIsQueuedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := pair(t, Config{})
		got := make(chan []string, 1)
		go func() {
			var seen []string
			for {
				h, err := ws.ReadHeader(far)
				if err != nil {
					got <- seen
					return
				}
				p := make([]byte, h.Length)
				_, _ = io.ReadFull(far, p)
				ws.Cipher(p, h.Mask, 0)
				seen = append(seen, string(p))
			}
		}()
		s.Send([]byte("a"))
		s.Send([]byte("b"))
		if err := s.End(ws.StatusNormalClosure); err != nil {
			t.Fatal(err)
		}
		if seen := <-got; strings.Join(seen, " ") != "a b \x03\xe8" {
			t.Errorf("got %q", seen)
		}
	})
}

func TestAServerThatReadsNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := pair(t, Config{})
		begun := time.Now()
		s.Send([]byte("nobody reads this"))
		if _, err := s.Read(0); err == nil {
			t.Error("it lives on")
		}
		if took := time.Since(begun); took != writeTimeout {
			t.Errorf("it took %v", took)
		}
		if err := s.End(0); err == nil {
			t.Error("the reason is not told")
		}
	})
}

func TestWhatIsQueuedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := pair(t, Config{})
		for range 40 { // twice and more: the writer may have taken the first
			s.Send(make([]byte, 1<<20))
		}
		<-s.Done()
		if err := s.End(0); !errors.Is(err, errUnwritten) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestRemindsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rang := make(chan time.Time, 10)
		s, _ := pair(t, Config{Alarm: func() { rang <- time.Now() }})
		begun := time.Now()
		s.Remind(time.Second)
		s.Remind(time.Minute)
		if took := (<-rang).Sub(begun); took != time.Second {
			t.Errorf("after %v", took)
		}
		s.Remind(time.Second)
		if took := (<-rang).Sub(begun); took != 2*time.Second {
			t.Errorf("then after %v", took)
		}
	})
}
