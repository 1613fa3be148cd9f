package evloop

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

// Frames of several goroutines, some queued and flushed and some sent: those of
// each come in its order, and none waits for the next.
func TestQueuedAndSent(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		const writers, rounds = 4, 4000
		c, p := b.dial("", func(*peer, []byte) error { return nil })
		put := func(frame []byte, wait bool) {
			if wait {
				p.Send(&frame, 1<<30)
			} else if _, owed := p.Queue(&frame, 1<<30); owed {
				p.Flush()
			}
		}
		var all sync.WaitGroup
		var turns [writers]chan uint32
		for w := range writers {
			turns[w] = make(chan uint32)
			all.Go(func() {
				for i := range turns[w] {
					for _, half := range []uint32{2 * i, 2*i + 1} {
						frame := binary.BigEndian.AppendUint32([]byte{byte(w)}, half)
						put(frame, (uint32(w)+half)%3 == 0)
					}
				}
			})
		}
		var next [writers]uint32
		for i := range uint32(rounds) {
			for _, turn := range turns {
				turn <- i
			}
			for range 2 * writers {
				frame := read(b, c, 5)
				w, got := frame[0], binary.BigEndian.Uint32(frame[1:])
				if got != next[w] {
					b.Fatalf("writer %d: %d came, not %d", w, got, next[w])
				}
				next[w]++
			}
			_ = c.SetDeadline(time.Now().Add(patience))
		}
		for _, turn := range turns {
			close(turn)
		}
		all.Wait()
		_ = c.Close()
		_ = b.ended(p)
	})
}

// What one has queued and owes is not written by others, and a socket that is
// full keeps it until it takes more.
func TestFlushOfABlockedSocket(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", func(*peer, []byte) error { return nil })
		frame := bytes.Repeat([]byte("y"), 64<<10)
		const frames = 400 // more than a socket takes
		for range frames {
			p.Queue(&frame, 1<<30)
			p.Flush()
		}
		last := []byte("!")
		p.End(last)
		for range frames {
			if !bytes.Equal(read(b, c, len(frame)), frame) {
				b.Fatal("a frame differs")
			}
		}
		if got := read(b, c, 1); !bytes.Equal(got, last) {
			b.Errorf("%q came last", got)
		}
		_ = c.Close()
		if err := b.ended(p); err != nil {
			b.Errorf("ended with %v", err)
		}
	})
}

// What is sent while another writes, and the flusher therefore leaves alone,
// is not forgotten.
func TestSentWhileAnotherWrites(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", func(*peer, []byte) error { return nil })
		if _, ok := p.driver.(prompt); !ok { // only its own goroutine writes
			_ = c.Close()
			_ = b.ended(p)
			return
		}
		p.mu.Lock()
		p.flags |= writing // as if another had taken what was queued
		p.mu.Unlock()
		frame := []byte("sent")
		p.Send(&frame, 1<<30)
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for left := false; !left; <-look.C {
			p.mu.Lock()
			left = p.flags&dirty == 0
			p.mu.Unlock()
		}
		p.mu.Lock()
		p.wrote(queue{}, 0, false, nil)
		p.mu.Unlock()
		if got := read(b, c, len(frame)); !bytes.Equal(got, frame) {
			b.Errorf("%q came", got)
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}
