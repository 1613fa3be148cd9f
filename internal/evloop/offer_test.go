package evloop

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A peer that reads nothing is soon offered in vain; when it has read, its
// connection asks for more.
func TestOffersEndWithARefill(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		refilled := make(chan struct{}, 1)
		p.refill = func() { refilled <- struct{}{} }
		frame := make([]byte, 16<<10)
		n := 0
		for p.Offer(&frame, 64<<10) {
			if n += len(frame); n > 1<<28 {
				b.Fatal("offers are never refused")
			}
		}
		read(b, c, n)
		select {
		case <-refilled:
		case <-time.After(patience):
			b.Fatal("no more was asked for")
		}
		if !p.Offer(&frame, 64<<10) {
			b.Error("and nothing taken")
		}
		read(b, c, len(frame))
		_ = c.Close()
		_ = b.ended(p)
	})
}

// Frames that may wait leave together, after the delay, when they are enough,
// or before one that does not wait; and at the end.
func TestFramesThatMayWait(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		later := func(text string, enough int, delay time.Duration) {
			for busyWriting(p) { // what is offered while more is written goes with it
				runtime.Gosched()
			}
			frame := []byte(text)
			if !p.OfferLater(&frame, 1<<20, enough, delay) {
				b.Fatal("not taken")
			}
		}
		expect := func(text string) {
			b.Helper()
			if got := string(read(b, c, len(text))); got != text {
				b.Fatalf("%q, not %q", got, text)
			}
		}
		began := time.Now()
		later("a", 100, 50*time.Millisecond)
		later("b", 100, 50*time.Millisecond)
		expect("ab")
		if took := time.Since(began); took < 40*time.Millisecond {
			b.Errorf("waited %v", took)
		}
		later("c", 3, time.Hour)
		later("d", 3, time.Hour)
		later("e", 3, time.Hour)
		expect("cde")
		later("f", 100, time.Hour)
		now := []byte("g")
		p.Send(&now, 1<<20)
		expect("fg")
		later("h", 100, time.Hour)
		p.End([]byte("bye"))
		if rest, err := io.ReadAll(c); err != nil || string(rest) != "hbye" {
			b.Errorf("the end: %q, %v", rest, err)
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

func busyWriting(p *peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flags&(dirty|writing) != 0
}

// A connection that is cut off while frames wait leaves nothing behind.
func TestFramesThatWaitAreGivenUp(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		frame := []byte("waits")
		p.OfferLater(&frame, 1<<20, 100, time.Hour)
		p.Abort()
		if rest, _ := io.ReadAll(c); bytes.Contains(rest, frame) {
			b.Error("it was sent")
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

// What offering costs beside sending, to peers that keep up.
func BenchmarkOffer(b *testing.B) {
	for _, tc := range []struct {
		name string
		send func(p *peer, frame *[]byte) bool
	}{
		{"send", func(p *peer, frame *[]byte) bool { return p.Send(frame, 1<<20) }},
		{"offer", func(p *peer, frame *[]byte) bool { return p.Offer(frame, 1<<20) }},
	} {
		b.Run(tc.name, func(b *testing.B) { fanOut(b, tc.send) })
	}
}

// fanOut sends frames to many peers, and lets all of them take one before the next.
func fanOut(b *testing.B, send func(p *peer, frame *[]byte) bool) {
	const peers = 64
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := New(Config{})
	var readers sync.WaitGroup
	all := make([]*peer, peers)
	for i := range all {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		p := &peer{data: echo, closed: make(chan error, 1)}
		if err := g.Attach(&p.Conn, server, p); err != nil {
			b.Fatal(err)
		}
		p.Start(nil)
		all[i] = p
		readers.Go(func() {
			_, _ = io.Copy(io.Discard, client)
			_ = client.Close()
		})
	}
	frame := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range all {
			if !send(p, &frame) {
				b.Fatal("a peer is behind")
			}
		}
		for _, p := range all {
			for p.Ready(0) != nil {
				runtime.Gosched()
			}
		}
	}
	for _, p := range all {
		p.End(nil)
		if err := <-p.closed; err != nil {
			b.Log(err)
		}
	}
	readers.Wait()
	_ = ln.Close()
	g.Close()
}
