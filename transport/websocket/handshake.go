package websocket

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 §1.3 demands it; it protects nothing
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/protocol"
)

// Headers of a handshake, spelt as net/http keeps them.
const (
	headerKey        = "Sec-Websocket-Key"
	headerVersion    = "Sec-Websocket-Version"
	headerProtocol   = "Sec-Websocket-Protocol"
	headerExtensions = "Sec-Websocket-Extensions"
)

const keyLength = 24 // of 16 bytes in base64

// terms are what a handshake has agreed on.
type terms struct {
	deal

	codec    protocol.Codec
	protocol string // Sec-WebSocket-Protocol; "" when the client named none
}

// request is what a handshake says, whoever read it.
type request struct {
	connection, upgrade, protocols, extensions []string // the lines of these headers
	version, key                               string
}

func requestOf(h http.Header) request {
	return request{
		connection: h["Connection"], upgrade: h["Upgrade"], protocols: h[headerProtocol], extensions: h[headerExtensions],
		version: h.Get(headerVersion), key: h.Get(headerKey),
	}
}

// check tells what is wrong with a handshake (RFC 6455 §4.2.1).
func (q *request) check() *protocol.Error {
	switch {
	case !token(q.connection, "upgrade") || !token(q.upgrade, "websocket"):
		return protocol.BadRequest.Errorf("this address speaks WebSocket: open it with a WebSocket client " +
			"(the Upgrade and Connection headers are missing; a proxy in front must pass them on)")
	case q.version != "13":
		return protocol.NeedsUpgrade.Errorf("WebSocket version %.16q is not supported: use 13", q.version)
	case !goodKey(q.key):
		return protocol.BadRequest.Errorf("Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

// checkUpgrade is check for a request of net/http, before anything is written.
func checkUpgrade(r *http.Request, q *request, w http.ResponseWriter) *protocol.Error {
	if r.Method != http.MethodGet {
		return protocol.NotAllowed.Errorf("a WebSocket is opened with GET, not with %s", r.Method)
	}
	if bad := q.check(); bad != nil {
		return bad
	}
	switch {
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1:
		return protocol.BadRequest.Errorf("a WebSocket is opened over HTTP/1.1, this request came over %s", r.Proto)
	case !hijackable(w):
		return protocol.Internal.Errorf("the connection cannot be taken over: a middleware in front hides http.Hijacker " +
			"(http.TimeoutHandler does); mount the WebSocket route without it")
	}
	return nil
}

func goodKey(key string) bool {
	var raw [keyLength / 4 * 3]byte
	if len(key) != keyLength {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], []byte(key))
	return err == nil && n == 16
}

// token reports whether a comma-separated header holds a word.
func token(lines []string, word string) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), word) {
				return true
			}
		}
	}
	return false
}

// choose picks the first subprotocol the client offers that we speak. A
// client that offers none gets JSON; one that offers only others is refused,
// for a browser would close the connection without saying why.
func choose(offered []string) (terms, *protocol.Error) {
	for _, line := range offered {
		for part := range strings.SplitSeq(line, ",") {
			if name := strings.TrimSpace(part); name != "" {
				if codec, ok := protocol.ByName(name); ok {
					return terms{codec: codec, protocol: name}, nil
				}
			}
		}
	}
	if len(offered) > 0 {
		return terms{}, protocol.BadRequest.Errorf("none of the offered subprotocols is spoken here: offer %s or %s", protocol.NameJSON, protocol.NameProtobuf)
	}
	codec, _ := protocol.ByName("")
	return terms{codec: codec}, nil
}

// hijackable looks behind wrappers, some of which claim to be a Hijacker and
// panic when it is used.
func hijackable(w http.ResponseWriter) bool {
	for {
		inner, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			_, ok := w.(http.Hijacker)
			return ok
		}
		w = inner.Unwrap()
	}
}

// takeOver takes a connection out of net/http's hands. early holds what the
// client has sent behind its handshake. Once the reader is let go, so are the
// buffers of net/http.
func takeOver(w http.ResponseWriter) (nc net.Conn, early []byte, err error) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take the connection over: %w", err)
	}
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, _ := rw.Peek(n) // n bytes are there
		early = append([]byte(nil), peeked...)
	}
	nc, early = bare(nc, early)
	return nc, early, nil
}

// answer is what the server says to a good handshake (RFC 6455 §4.2.2).
func answer(key string, t terms) []byte {
	const usual = 192 // bytes, without compression
	out := make([]byte, 0, usual+len(t.answer))
	out = append(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	out = appendAccept(out, key)
	if t.protocol != "" {
		out = append(append(out, "\r\nSec-WebSocket-Protocol: "...), t.protocol...)
	}
	if t.answer != "" {
		out = append(append(out, "\r\nSec-WebSocket-Extensions: "...), t.answer...)
	}
	return append(out, "\r\n\r\n"...)
}

// appendAccept proves that the server has read key as a WebSocket server does.
func appendAccept(dst []byte, key string) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var proof [keyLength + len(guid)]byte
	copy(proof[copy(proof[:], key):], guid)
	sum := sha1.Sum(proof[:]) //nolint:gosec // RFC 6455 §1.3
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}
