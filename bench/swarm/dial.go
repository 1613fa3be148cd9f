package swarm

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/parleyhq/parley/bench/record"
)

// The same key for every handshake, and the answer to it (RFC 6455, section
// 4.2.2): the key is there to find out whether the other side speaks
// WebSocket, and for that one is as good as another.
const (
	handshakeKey    = "cGFybGV5IGJlbmNoIDAwMQ=="
	handshakeAccept = "Bz1XEKA7KSYNgCNsrqWHd7CptNI="
)

// handshaken is a connection on which the first answer has come.
type handshaken struct {
	net.Conn

	rest []byte // read beyond the answer
}

// Connect opens a peer's connection, tells who it is, and subscribes. On a nil
// error the peer is connected.
func (s *Swarm) Connect(ctx context.Context, p *Peer) error {
	s.prepare(p)
	conn, err := s.dial(ctx, p)
	if err != nil {
		return err
	}
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	if err := s.driver.adopt(p, conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	s.connected.Add(1)
	if len(conn.rest) > 0 && !p.take(conn.rest) {
		p.fell()
	}
	p.shard.publish()
	return nil
}

// prepare makes a peer ready for a new connection.
func (s *Swarm) prepare(p *Peer) {
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	p.frames = frames{}
	if p.Returns && s.target.Protocol == Parley {
		return
	}
	p.session, p.epoch = "", ""
	if p.track = (record.Track{}); s.begun.Load() {
		p.track.Anew()
	}
}

// dial returns a connection that was welcomed.
func (s *Swarm) dial(ctx context.Context, p *Peer) (_ *handshaken, err error) {
	ctx, stop := context.WithTimeout(ctx, s.target.Timeout)
	defer stop()
	conn, err := connect(ctx, s.target.URL, p.Number)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	// The deadline is not all: whoever waits for the load wants it to end at once.
	cut := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer cut()
	if err := narrow(conn, p.buffer); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 1024)
	if err := upgrade(conn, r, s.target.URL); err != nil {
		return nil, err
	}
	if s.target.Protocol == Parley {
		if err := s.introduce(conn, r, p); err != nil {
			return nil, err
		}
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	if !cut() {
		return nil, ctx.Err()
	}
	return &handshaken{conn, append([]byte(nil), rest...)}, nil
}

// connect opens the TCP connection.
func connect(ctx context.Context, u *url.URL, number int) (net.Conn, error) {
	secure := u.Scheme == "wss"
	port := "80"
	if secure {
		port = "443"
	}
	host := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	d := net.Dialer{LocalAddr: localAddress(u.Hostname(), number)}
	if secure {
		return (&tls.Dialer{NetDialer: &d, Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", host)
	}
	return d.DialContext(ctx, "tcp", host)
}

// narrow makes a connection's receive buffer small, unless buffer is 0.
func narrow(conn net.Conn, buffer int) error {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if buffer == 0 || !ok {
		return nil
	}
	return tcp.SetReadBuffer(buffer)
}

// localAddress spreads connections to this machine over its many loopback
// addresses: one has some 28,000 ports to call from. Nil leaves it to the system.
func localAddress(host string, number int) net.Addr {
	const perAddress = 20_000
	to, err := netip.ParseAddr(host)
	if err != nil || number < perAddress || !to.Is4() || !to.IsLoopback() {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+number/perAddress%250))}
}

// upgrade asks for a WebSocket.
func upgrade(w io.Writer, r *bufio.Reader, u *url.URL) error {
	_, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nUser-Agent: parley-bench\r\n\r\n", u.RequestURI(), u.Host, handshakeKey)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 400)) // as much as there is
		return fmt.Errorf("the server refused the handshake: %s %s", resp.Status, said)
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != handshakeAccept {
		return fmt.Errorf("%s speaks no WebSocket: it accepted the handshake with %q", u, got)
	}
	return nil
}

// introduce says hello and waits for the answer.
func (s *Swarm) introduce(conn net.Conn, r *bufio.Reader, p *Peer) error {
	token := ""
	if s.target.Token != nil {
		token = s.target.Token(p.Number)
	}
	if _, err := conn.Write(appendFrame(nil, opText, hello(p, token))); err != nil {
		return err
	}
	answer, err := first(r)
	if err != nil {
		return fmt.Errorf("waiting for the answer to connect: %w", err)
	}
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	return p.welcomed(answer)
}

// first reads one frame and nothing beyond it.
func first(r *bufio.Reader) ([]byte, error) {
	var data []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		data = append(data, b)
		op, final, payload, size, err := cut(data)
		switch {
		case err != nil:
			return nil, err
		case size == 0:
			continue
		case op == opClose:
			return nil, fmt.Errorf("%w: %.120q", errLeft, payload)
		case op != opText || !final:
			return nil, fmt.Errorf("a frame with opcode %#x", op)
		}
		return payload, nil
	}
}
