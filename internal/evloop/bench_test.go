package evloop

import (
	"io"
	"net"
	"testing"
	"time"
)

// BenchmarkFanout sends one shared frame to 200 connections at a time; an
// operation is one delivery, its read by the peer included.
func BenchmarkFanout(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := New(Config{})
	peers, clients := make([]*peer, 200), make([]net.Conn, 200)
	for i := range peers {
		if clients[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
		_ = clients[i].SetDeadline(time.Now().Add(time.Minute))
		server, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		peers[i] = &peer{data: echo, closed: make(chan error, 1)}
		if err := g.Attach(&peers[i].Conn, server, peers[i]); err != nil {
			b.Fatal(err)
		}
		peers[i].Start(nil)
	}
	frame, buf := make([]byte, 128), make([]byte, 128)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % len(peers)
		if i == 0 {
			for _, p := range peers {
				p.Send(&frame, 1<<20)
			}
		}
		if _, err := io.ReadFull(clients[i], buf); err != nil {
			b.Fatal(err)
		}
	}
	for i, p := range peers {
		_ = clients[i].Close()
		if err := <-p.closed; err != nil {
			b.Log(err)
		}
	}
	_ = ln.Close()
	g.Close()
}
