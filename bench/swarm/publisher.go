package swarm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parleyhq/parley/bench/record"
)

// Publisher is one connection that publishes. Say may be called by one
// goroutine at a time.
type Publisher struct {
	swarm   *Swarm
	conn    *handshaken
	size    int
	reading sync.WaitGroup
	frame   []byte
	payload []byte

	mu      sync.Mutex // writes; and what follows
	closing bool
	err     error // why reading ended
}

// Publisher connects a client that sends payloads of size bytes.
func (s *Swarm) Publisher(ctx context.Context, size int) (*Publisher, error) {
	p := s.Peer("")
	conn, err := s.dial(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("the connection that publishes: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	pub := &Publisher{swarm: s, conn: conn, size: size}
	// It answers pings as a peer does, and what it is sent counts for nothing.
	p.shard = &shard{swarm: s, latency: record.NewHistogram()}
	p.wire = pub
	pub.reading.Go(func() { pub.read(p) })
	return pub, nil
}

// Say publishes number to topic as if at the given time. An error says that
// nothing more can be published.
func (p *Publisher) Say(topic string, number uint64, at time.Time) error {
	p.swarm.begun.Store(true)
	p.payload = p.swarm.marker.appendTo(p.payload[:0], number, at, p.size)
	text := p.payload
	if p.swarm.target.Protocol == Parley {
		text = publishing(topic, p.payload)
	}
	p.frame = appendFrame(p.frame[:0], opText, text)
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err := errors.Join(err, p.swarm.Refusal()); err != nil {
		return err
	}
	return p.write(p.frame)
}

// Echo makes a peer say number to an echo server.
func (s *Swarm) Echo(p *Peer, number uint64, at time.Time, size int) error {
	s.begun.Store(true)
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if p.wire == nil {
		return errLeft
	}
	return p.say(opText, s.marker.appendTo(nil, number, at, size))
}

// Close ends the connection.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	err := p.conn.Close()
	p.reading.Wait()
	return err
}

func (p *Publisher) read(peer *Peer) {
	buf := make([]byte, 4096)
	err := peer.frames.feed(p.conn.rest, p.hear(peer))
	for err == nil {
		var n int
		if n, err = p.conn.Read(buf); n > 0 {
			err = errors.Join(err, peer.frames.feed(buf[:n], p.hear(peer)))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.err = fmt.Errorf("the connection that publishes: %w", err)
	}
}

// hear takes what the server says to the publisher: pings, refusals, its end.
func (p *Publisher) hear(peer *Peer) func(op byte, payload []byte) error {
	return func(op byte, payload []byte) error {
		if op == opText && p.swarm.target.Protocol != Parley {
			return nil // its own words
		}
		return peer.understand(op, payload)
	}
}

func (p *Publisher) write(frame []byte) error {
	const patience = 10 * time.Second
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := p.conn.Write(frame)
	return err
}

func (p *Publisher) close(Ending) { _ = p.conn.Close() }
