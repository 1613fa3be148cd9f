package evloop

import (
	"bytes"
	"sync"
	"testing"
)

// What is sent in parts arrives in one piece, whoever else sends at the time;
// and all of it waits, or nothing.
func TestPartsStayTogether(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		head, body, tail := []byte("<"), []byte("0123456789"), []byte(">")
		const senders, each = 4, 200
		var sending sync.WaitGroup
		for range senders {
			sending.Go(func() {
				for range each {
					p.SendParts(Parts{&head, &body, &tail}, 1<<30)
				}
			})
		}
		got := read(b, c, senders*each*12)
		sending.Wait()
		if want := bytes.Repeat([]byte("<0123456789>"), senders*each); !bytes.Equal(got, want) {
			b.Fatal("something came between")
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}

func TestPartsThatDoNotFit(t *testing.T) {
	both(t, Config{}, func(b *bench) {
		c, p := b.dial("", echo)
		large, small := make([]byte, 16<<10), make([]byte, 10)
		n := 0
		for p.SendParts(Parts{&large, &small}, 1<<20) { // until the peer, which reads nothing, is behind
			n += len(large) + len(small)
		}
		if !p.SendParts(Parts{&small}, 1<<30) {
			b.Error("there was room")
		}
		if p.Keeps(10, 64<<10) {
			b.Error("the peer does not keep up")
		}
		if got := len(read(b, c, n+10)); got != n+10 {
			b.Errorf("%d bytes, not %d", got, n+10)
		}
		_ = c.Close()
		_ = b.ended(p)
	})
}
