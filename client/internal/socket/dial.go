package socket

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/gobwas/ws"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Address is where to connect, and how.
type Address struct {
	URL       string
	Protocols []string // those preferred first
	Header    http.Header
	TLS       *tls.Config
	NetDial   func(ctx context.Context, network, addr string) (net.Conn, error)
	Compress  bool
}

// RefusedError is a handshake that the server refused in Parley's words.
type RefusedError struct{ Reason *parleyv1.Error }

func (e *RefusedError) Error() string { return e.Reason.GetCode() + ": " + e.Reason.GetMessage() }

// Dial returns a connection whose handshake is done, and which of the protocols
// the server speaks: "" when it named none.
func Dial(ctx context.Context, a Address) (c Config, protocol string, err error) {
	var refused *RefusedError
	d := ws.Dialer{
		Protocols: a.Protocols, Header: ws.HandshakeHeaderHTTP(a.Header), TLSConfig: a.TLS, NetDial: a.NetDial,
		OnStatusError: func(_ int, _ []byte, r io.Reader) { refused = readRefusal(r) },
	}
	if a.Compress {
		d.Extensions = Offer()
	}
	conn, r, handshake, err := d.Dial(ctx, a.URL)
	if refused != nil {
		return c, "", refused
	}
	if err != nil {
		return c, "", err
	}
	deflate, err := Agreed(handshake.Extensions)
	if err != nil {
		return c, "", errors.Join(err, conn.Close())
	}
	return Config{Conn: conn, Reader: r, Deflate: deflate}, handshake.Protocol, nil
}

// readRefusal reads why the server refused a handshake; nil when it does not
// say so in Parley's words.
func readRefusal(r io.Reader) *RefusedError {
	response, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var body struct {
		Error struct {
			Code         string `json:"code"`
			Number       uint32 `json:"number"`
			Message      string `json:"message"`
			Retry        string `json:"retry"`
			RetryAfterMs uint64 `json:"retry_after_ms"`
		} `json:"error"`
	}
	const most = 4096
	if json.NewDecoder(io.LimitReader(response.Body, most)).Decode(&body) != nil || body.Error.Code == "" {
		return nil
	}
	e := body.Error
	return &RefusedError{&parleyv1.Error{Code: e.Code, Number: e.Number, Message: e.Message, Retry: e.Retry, RetryAfterMs: e.RetryAfterMs}}
}
