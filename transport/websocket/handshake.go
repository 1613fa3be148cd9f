package websocket

import (
	"bufio"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/protocol"
)

// handshakeTimeout bounds the writing of the handshake's answer.
const handshakeTimeout = 5 * time.Second

// check tells what is wrong with a handshake (RFC 6455 §4.2.1), before
// anything is written.
func check(r *http.Request, w http.ResponseWriter) *protocol.Error {
	if bad := checkUpgrade(r, w); bad != nil {
		return bad
	}
	_, bad := choose(r.Header)
	return bad
}

// checkUpgrade is check without the subprotocol.
func checkUpgrade(r *http.Request, w http.ResponseWriter) *protocol.Error {
	h := r.Header
	switch {
	case r.Method != http.MethodGet:
		return protocol.NotAllowed.Errorf("a WebSocket is opened with GET, not with %s", r.Method)
	case !token(h, "Connection", "upgrade") || !token(h, "Upgrade", "websocket"):
		return protocol.BadRequest.Errorf("this address speaks WebSocket: open it with a WebSocket client " +
			"(the Upgrade and Connection headers are missing; a proxy in front must pass them on)")
	case h.Get("Sec-WebSocket-Version") != "13":
		return protocol.NeedsUpgrade.Errorf("WebSocket version %.16q is not supported: use 13", h.Get("Sec-WebSocket-Version"))
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1:
		return protocol.BadRequest.Errorf("a WebSocket is opened over HTTP/1.1, this request came over %s", r.Proto)
	case !goodKey(h.Get("Sec-WebSocket-Key")):
		return protocol.BadRequest.Errorf("Sec-WebSocket-Key must be 16 bytes in base64")
	case !hijackable(w):
		return protocol.Internal.Errorf("the connection cannot be taken over: a middleware in front hides http.Hijacker " +
			"(http.TimeoutHandler does); mount the WebSocket route without it")
	}
	return nil
}

func goodKey(key string) bool {
	raw, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(raw) == 16
}

// token reports whether a comma-separated header holds a word.
func token(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
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
func choose(h http.Header) (protocol.Codec, *protocol.Error) {
	offered := h.Values("Sec-WebSocket-Protocol")
	for _, line := range offered {
		for part := range strings.SplitSeq(line, ",") {
			if name := strings.TrimSpace(part); name != "" {
				if codec, ok := protocol.ByName(name); ok {
					return codec, nil
				}
			}
		}
	}
	if len(offered) > 0 {
		return nil, protocol.BadRequest.Errorf("none of the offered subprotocols is spoken here: offer %s or %s", protocol.NameJSON, protocol.NameProtobuf)
	}
	codec, _ := protocol.ByName("")
	return codec, nil
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

// upgrade answers a handshake that check found right. early holds what the
// client has sent behind it; extensions is what was agreed on, or "".
func upgrade(r *http.Request, w http.ResponseWriter, extensions string) (nc net.Conn, codec protocol.Codec, early []byte, err error) {
	codec, bad := choose(r.Header)
	if bad != nil {
		return nil, nil, nil, bad
	}
	u := ws.HTTPUpgrader{Timeout: handshakeTimeout}
	if len(r.Header.Values("Sec-WebSocket-Protocol")) > 0 {
		u.Protocol = func(name string) bool { return name == codec.Name() }
	}
	if extensions != "" {
		u.Header = http.Header{"Sec-Websocket-Extensions": {extensions}}
	}
	nc, rw, _, err := u.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			_ = nc.Close() // the handshake has failed already
		}
		return nil, nil, nil, err
	}
	return nc, codec, buffered(rw.Reader), nil
}

// buffered returns a copy of what was read already.
func buffered(r *bufio.Reader) []byte {
	n := r.Buffered()
	if n == 0 {
		return nil
	}
	peeked, _ := r.Peek(n) // n bytes are there
	return append([]byte(nil), peeked...)
}
