package websocket

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/session"
	"github.com/parleyhq/parley/transport"
)

// Tunnel is for a protocol of another transport that is a stream of bytes, and
// travels in the binary messages of a WebSocket. Where it is cut into messages
// means nothing.
type Tunnel struct {
	// Names are the subprotocols that ask for it, one of which a client must
	// offer.
	Names []string
	// Limit is the most bytes of a message.
	Limit int
	// Open begins a connection; its bytes go to what it returns.
	Open func(stream transport.Stream, info session.Info) evloop.Handler
}

// Tunnel answers a handshake as Serve does, and hands the connection to t.
func (s *Server) Tunnel(t *Tunnel) func(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
	return func(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
		name, bad := t.agree(r, w)
		if bad != nil {
			s.sessions.Release(info.Address)
			return bad
		}
		nc, early, ok := s.takeOver(w, info.Address)
		if !ok {
			return nil
		}
		hello := answer(r.Header.Get(headerKey), terms{protocol: name})
		p := &pipe{s: s, limit: t.Limit}
		if s.lines.Attach(&p.line, nc, p) != nil {
			_ = nc.Close() // the server has ended meanwhile
			s.sessions.Release(info.Address)
			return nil //nolint:nilerr // there is nobody left to answer
		}
		p.line.Queue(&hello, s.limits.QueueBytes) // it fits: it is the first
		p.inner = t.Open(p, info)
		p.line.Flush()
		p.line.Start(early)
		return nil
	}
}

// agree tells which of the names a client has offered.
func (t *Tunnel) agree(r *http.Request, w http.ResponseWriter) (string, *protocol.Error) {
	q := requestOf(r.Header)
	if bad := checkUpgrade(r, &q, w); bad != nil {
		return "", bad
	}
	for _, line := range q.protocols {
		for part := range strings.SplitSeq(line, ",") {
			if name := strings.TrimSpace(part); slices.Contains(t.Names, name) {
				return name, nil
			}
		}
	}
	return "", protocol.BadRequest.Errorf("offer the subprotocol %s: this address speaks nothing else", t.Names[0])
}

// pipe is a connection of a tunnel.
type pipe struct {
	line    evloop.Conn // carries the frames; its handler is pipe
	s       *Server
	inner   evloop.Handler
	limit   int
	partial *reader // while a frame or message is incomplete
}

var (
	_ transport.Stream = (*pipe)(nil)
	_ evloop.Handler   = (*pipe)(nil)
)

// headed is up to how many bytes of a message its header is kept ready.
const headed = 4096

// heads are the headers of binary frames by their length, made when first
// wanted: every receiver of a message wants the same.
type heads [headed]atomic.Pointer[[]byte]

func (h *heads) of(length int) *[]byte {
	if length >= headed {
		head := appendHeader(nil, opBinary, length)
		return &head
	}
	if head := h[length].Load(); head != nil {
		return head
	}
	head := appendHeader(nil, opBinary, length)
	h[length].Store(&head)
	return &head
}

// SendParts is described at transport.Stream. All of them are one message; the
// last part must be left free.
func (p *pipe) SendParts(parts evloop.Parts, room int) bool {
	size := parts.Size()
	copy(parts[1:], parts[:])
	parts[0] = p.s.heads.of(size)
	return p.line.SendParts(parts, room)
}

// Keeps is described at transport.Stream.
func (p *pipe) Keeps(size, room int) bool { return p.line.Keeps(size+maxHeader, room) }

// End is described at transport.Stream.
func (p *pipe) End(last []byte) {
	var frame []byte
	if len(last) > 0 {
		frame = frameOf(opBinary, len(last), func(dst []byte) []byte { return append(dst, last...) })
	}
	p.line.End(append(frame, closeFrame(1000, "")...))
}

// Cut is described at transport.Stream. What waits may end in the middle of a
// frame, so nothing can be said behind it.
func (p *pipe) Cut([]byte) { p.line.Cut(nil) }

// Abort is described at transport.Stream.
func (p *pipe) Abort() { p.line.Abort() }

// Data feeds what the client sends to the inner handler.
func (p *pipe) Data(data []byte) error {
	p.s.stats.bytesIn.Add(uint64(len(data)))
	r := reader{limit: p.limit}
	if p.partial != nil {
		r = *p.partial
	}
	err := r.feed(data, p.handle)
	if p.partial = nil; r.incomplete() {
		kept := r // r itself stays on the stack
		p.partial = &kept
	}
	if bad, ok := errors.AsType[*framingError](err); ok {
		p.line.End(closeFrame(bad.Close, bad.text[:min(len(bad.text), maxControl-2)]))
	}
	return err
}

// handle takes one message or control frame.
func (p *pipe) handle(op byte, payload []byte) error {
	switch op {
	case opBinary:
		p.s.stats.framesIn.Add(1)
		return p.inner.Data(payload)
	case opPing:
		pong := frameOf(opPong, len(payload), func(dst []byte) []byte { return append(dst, payload...) })
		p.line.Send(&pong, p.s.limits.QueueBytes)
		return nil
	case opPong:
		return nil
	case opClose:
		code, err := checkClose(payload)
		if err != nil {
			return err
		}
		p.line.End(closeFrame(code, ""))
		return evloop.ErrFinished
	}
	return broken(1003, "this connection speaks binary frames only")
}

// Refill is described at evloop.Handler.
func (p *pipe) Refill() { p.inner.Refill() }

// Closed is described at evloop.Handler.
func (p *pipe) Closed(err error) { p.inner.Closed(err) }
