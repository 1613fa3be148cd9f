package parleytest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Client is one connection of a test. A failure fails the test at once. It is
// for one goroutine.
type Client struct {
	Ticket string // resume ticket of the last connect

	t      testing.TB
	url    string
	header http.Header
	conn   net.Conn
	in     *bufio.Reader
	id     uint64
	unread []*parleyv1.Reply // came while something else was waited for
}

// Open opens a WebSocket to url, which may be any server that runs parley.
func Open(tb testing.TB, url string, header http.Header) *Client {
	tb.Helper()
	c := &Client{t: tb, url: url, header: header}
	c.open()
	tb.Cleanup(func() { _ = c.conn.Close() }) // it may be closed already
	return c
}

func (c *Client) open() {
	c.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	d := ws.Dialer{Header: ws.HandshakeHeaderHTTP(c.header)}
	conn, early, _, err := d.Dial(ctx, c.url)
	if err != nil {
		c.t.Fatalf("parleytest: open %s: %v", c.url, err)
	}
	c.conn, c.in = conn, early
	if c.in == nil {
		c.in = bufio.NewReader(conn)
	}
}

func (c *Client) connect(subs ...*parleyv1.Subscribe) *parleyv1.Connected {
	c.t.Helper()
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Session: c.Ticket, Subscriptions: subs}}})
	if r.GetConnected() == nil {
		c.t.Fatalf("parleytest: connect: %v", r)
	}
	c.Ticket = r.GetConnected().GetSession()
	return r.GetConnected()
}

// Send sends one text frame as it stands.
func (c *Client) Send(frame string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c.conn, []byte(frame)); err != nil {
		c.t.Fatalf("parleytest: send: %v", err)
	}
}

// Raw returns the connection, for sending what no client should.
func (c *Client) Raw() net.Conn { return c.conn }

// Do sends a command and returns its answer.
func (c *Client) Do(cmd *parleyv1.Command) *parleyv1.Reply {
	c.t.Helper()
	c.id++
	cmd.Id = c.id
	c.Send(string(protocol.JSON{}.AppendCommand(nil, cmd)))
	return c.Until(fmt.Sprintf("the answer to command %d", c.id), func(r *parleyv1.Reply) bool { return r.GetId() == cmd.GetId() })
}

// Until returns the first reply that ok accepts. Others are kept for later
// calls; pings are answered.
func (c *Client) Until(what string, ok func(*parleyv1.Reply) bool) *parleyv1.Reply {
	c.t.Helper()
	for i, r := range c.unread {
		if ok(r) {
			c.unread = append(c.unread[:i:i], c.unread[i+1:]...)
			return r
		}
	}
	for {
		r, err := c.read()
		if err != nil {
			c.t.Fatalf("parleytest: waiting for %s: %v; what came: %v", what, err, c.unread)
		}
		if ok(r) {
			return r
		}
		c.unread = append(c.unread, r)
	}
}

// read returns the next reply.
func (c *Client) read() (*parleyv1.Reply, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		frame, err := c.frame()
		if err != nil {
			return nil, err
		}
		replies, err := protocol.JSON{}.DecodeReplies(frame)
		if err != nil {
			return nil, fmt.Errorf("the server sent %q: %w", frame, err)
		}
		c.unread = append(c.unread, replies[1:]...)
		if replies[0].GetPing() == nil {
			return replies[0], nil
		}
		c.Send(`{"pong":{}}`)
	}
}

// frame returns the next data frame. A close frame is an *EndError.
func (c *Client) frame() ([]byte, error) {
	for {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return nil, err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return nil, err
		}
		switch h.OpCode {
		case ws.OpText, ws.OpBinary:
			return payload, nil
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return nil, &EndError{Code: int(code), Reason: reason}
		}
	}
}

// EndError is how the server closed a connection.
type EndError struct {
	Code   int
	Reason string
}

func (e *EndError) Error() string { return fmt.Sprintf("closed with %d %s", e.Code, e.Reason) }

// Subscribe subscribes to a topic from now on, and fails if that is refused.
func (c *Client) Subscribe(topic string) *parleyv1.Subscribed {
	c.t.Helper()
	return c.SubscribeSince(topic, nil)
}

// SubscribeSince subscribes to a topic from a position on.
func (c *Client) SubscribeSince(topic string, since *parleyv1.Position) *parleyv1.Subscribed {
	c.t.Helper()
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic, Since: since}}})
	if r.GetSubscribed() == nil {
		c.t.Fatalf("parleytest: subscribe %s: %v", topic, r)
	}
	return r.GetSubscribed()
}

// Publish publishes v, and fails if that is refused.
func (c *Client) Publish(topic, typ string, v any) *parleyv1.Published {
	c.t.Helper()
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{Topic: topic, Type: typ, Payload: c.encode(v)}}})
	if r.GetPublished() == nil {
		c.t.Fatalf("parleytest: publish to %s: %v", topic, r)
	}
	return r.GetPublished()
}

// Call calls a handler and reads its answer into out, unless that is nil. A
// refusal is returned as a *protocol.Error.
func (c *Client) Call(typ string, in, out any) error {
	c.t.Helper()
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Call{Call: &parleyv1.Call{Type: typ, Payload: c.encode(in)}}})
	if e := r.GetError(); e != nil {
		return &protocol.Error{
			Reason:  protocol.Reason{Code: e.GetCode(), HTTP: int(e.GetNumber()), Retry: protocol.Retry(e.GetRetry())},
			Message: e.GetMessage(), RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
		}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.GetResult().GetPayload(), out); err != nil {
		return fmt.Errorf("the answer to %s: %w", typ, err)
	}
	return nil
}

func (c *Client) encode(v any) []byte {
	c.t.Helper()
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		c.t.Fatalf("parleytest: encode %T: %v", v, err)
	}
	return text
}

// Expect returns the next message of a type.
func (c *Client) Expect(typ string) *parleyv1.Message {
	c.t.Helper()
	return c.Until("a message "+typ, func(r *parleyv1.Reply) bool { return r.GetMessage().GetType() == typ }).GetMessage()
}

// ExpectNothing fails if anything is waiting that the server sent before it
// answered a ping of this client.
func (c *Client) ExpectNothing() {
	c.t.Helper()
	c.Do(&parleyv1.Command{Command: &parleyv1.Command_Ping{Ping: &parleyv1.Ping{}}})
	if len(c.unread) > 0 {
		c.t.Fatalf("parleytest: nothing was expected, this came: %v", c.unread)
	}
}

// ExpectEnd waits until the server closes the connection and returns how.
func (c *Client) ExpectEnd() *EndError {
	c.t.Helper()
	for {
		r, err := c.read()
		var end *EndError
		switch {
		case errors.As(err, &end):
			return end
		case err != nil:
			return &EndError{Reason: "without a close frame: " + strings.TrimPrefix(err.Error(), "read tcp ")}
		}
		c.unread = append(c.unread, r)
	}
}

// Unread returns what came and was not asked for yet.
func (c *Client) Unread() []*parleyv1.Reply { return c.unread }

// Drop cuts the cable: the server gets a reset instead of a close frame.
func (c *Client) Drop() {
	c.t.Helper()
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that Close resets
	}
	_ = c.conn.Close()
}

// Reconnect opens a new connection that goes on with the session, with subs
// or, without any, with what the server remembers.
func (c *Client) Reconnect(subs ...*parleyv1.Subscribe) *parleyv1.Connected {
	c.t.Helper()
	_ = c.conn.Close() // it may be closed already
	c.open()
	return c.connect(subs...)
}

// Close closes the connection as a well-behaved client does.
func (c *Client) Close() {
	_ = ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))) // it may be gone
	_ = c.conn.Close()
}
