package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/client/internal/socket"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	firstWait   = 500 * time.Millisecond
	longestWait = 30 * time.Second
	stable      = 10 * time.Second // a connection that lasted so long starts the backoff anew

	codeTokenExpired = 4100
	codeTooBig       = 1009
	codeAbnormal     = 1006
	stayAway         = 4500 // close codes from here to 4999 do not come back
)

// ending is how a connection, or an attempt at one, ended.
type ending struct {
	err        error
	code       int
	reason     string
	retryAfter time.Duration
	lasted     time.Duration
}

// run connects, again and again.
func (c *Client) run() {
	for attempt := 0; ; {
		e := c.connection()
		if c.ctx.Err() != nil {
			e.reason, e.code = "closed here", int(ws.StatusNormalClosure)
		}
		if c.ctx.Err() != nil || c.over(&e) {
			c.finish(e)
			return
		}
		if e.lasted > stable {
			attempt = 0
		}
		attempt++
		wait := e.retryAfter + backoff(attempt, c.config.random())
		c.mu.Lock()
		c.become(State{Status: Reconnecting, Attempt: attempt, RetryIn: wait, Reason: e.reason})
		c.mu.Unlock()
		c.pause(wait)
	}
}

// backoff is anything from nothing to a bound that doubles with every attempt:
// full jitter, so that a crowd spreads out. r is from 0 up to 1.
func backoff(attempt int, r float64) time.Duration {
	bound := longestWait
	if shift := attempt - 1; shift < 6 {
		bound = min(bound, firstWait<<shift)
	}
	return time.Duration(r * float64(bound)).Round(time.Millisecond)
}

// over reports whether there is no coming back from e.
func (c *Client) over(e *ending) bool {
	if e.code == codeTokenExpired || errors.Is(e.err, &Error{Code: "token_expired"}) {
		c.mu.Lock()
		c.token = ""
		c.mu.Unlock()
		return !c.config.fresh
	}
	return retryOf(e.code) == protocol.RetryNever || never(e.err)
}

func (c *Client) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.kick:
	case <-c.ctx.Done():
	}
}

// connection makes one connection and lives it to its end.
func (c *Client) connection() ending {
	ctx, cancel := context.WithTimeout(c.ctx, connectTimeout)
	defer cancel()
	token, err := c.credentials(ctx)
	if err != nil {
		return ending{err: err, reason: err.Error()}
	}
	line, codec, err := c.dial(ctx)
	if err != nil {
		e := ending{err: err, reason: err.Error()}
		if refused, ok := errors.AsType[*Error](err); ok {
			e.retryAfter = refused.RetryAfter
		}
		return e
	}
	l := newLink(c.ctx, line, codec, c.expire)
	c.mu.Lock()
	c.link = l
	c.hello(l, token)
	c.mu.Unlock()
	err = c.listen(l)
	return c.lose(l, err)
}

// credentials returns the token or ticket for this attempt.
func (c *Client) credentials(ctx context.Context) (string, error) {
	if c.config.token == nil {
		return "", nil
	}
	c.mu.Lock()
	token := c.token
	c.mu.Unlock()
	if token != "" && !c.config.ticket {
		return token, nil
	}
	token, err := c.config.token(ctx)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
	return token, nil
}

// dial returns a connection whose handshake is done, and what it agreed on.
func (c *Client) dial(ctx context.Context) (line socket.Config, codec protocol.ClientCodec, err error) {
	names := []string{protocol.NameProtobuf, protocol.NameJSON}
	if c.config.json {
		names = names[1:]
	}
	var refused *Error
	d := ws.Dialer{
		Protocols: names, Header: ws.HandshakeHeaderHTTP(c.config.headers),
		TLSConfig: c.config.tls, NetDial: c.config.dial,
		OnStatusError: func(_ int, _ []byte, r io.Reader) { refused = readRefusal(r) },
	}
	if c.config.compress {
		d.Extensions = socket.Offer()
	}
	conn, r, handshake, err := d.Dial(ctx, c.url)
	if refused != nil {
		return line, nil, refused
	}
	if err != nil {
		return line, nil, err
	}
	deflate, err := socket.Agreed(handshake.Extensions)
	if err != nil {
		return line, nil, errors.Join(err, conn.Close())
	}
	line = socket.Config{Conn: conn, Reader: r, Deflate: deflate}
	if handshake.Protocol == protocol.NameProtobuf {
		return line, protocol.Protobuf{}, nil
	}
	return line, protocol.JSON{}, nil
}

// readRefusal reads why the server refused a handshake; nil when it does not
// say so in Parley's words.
func readRefusal(r io.Reader) *Error {
	response, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var body struct {
		Error struct {
			Code         string         `json:"code"`
			Number       int            `json:"number"`
			Message      string         `json:"message"`
			Retry        protocol.Retry `json:"retry"`
			RetryAfterMs uint64         `json:"retry_after_ms"`
		} `json:"error"`
	}
	const most = 4096
	if json.NewDecoder(io.LimitReader(response.Body, most)).Decode(&body) != nil || body.Error.Code == "" {
		return nil
	}
	e := body.Error
	return &Error{Code: e.Code, Status: e.Number, Message: e.Message, Retry: e.Retry, RetryAfter: milliseconds(e.RetryAfterMs)}
}

// listen reads until the connection ends. It never returns nil.
func (c *Client) listen(l *link) error {
	for {
		replies, err := l.read()
		if err != nil {
			return err
		}
		c.mu.Lock()
		for _, r := range replies {
			c.receive(l, r)
		}
		c.mu.Unlock()
	}
}

// lose cleans up after a connection and tells how it ended.
func (c *Client) lose(l *link, err error) ending {
	e, goodbye := judge(err)
	if written := l.End(goodbye); e.code == codeAbnormal && written != nil {
		e.err, e.reason = written, written.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.refused != nil {
		e.err, e.reason, e.code = l.refused, l.refused.Code, 0
	} else if l.leaving != "" {
		e.reason = l.leaving
	}
	e.retryAfter = l.retryAfter
	if c.open {
		e.lasted = time.Since(l.since)
	}
	c.link, c.open = nil, false
	for _, ch := range c.channels {
		ch.live, ch.again, ch.resumed = false, false, false
	}
	for _, t := range c.places {
		t.lost()
	}
	for id, a := range l.asks {
		delete(l.asks, id)
		a.answer(nil, ErrDisconnected)
	}
	c.outbox.lost(e.code == codeTooBig)
	return e
}

// judge names what ended the reading, and the close code the server is owed.
func judge(err error) (ending, ws.StatusCode) {
	if closed, ok := errors.AsType[*socket.ClosedError](err); ok {
		e := ending{err: err, code: closed.Code, reason: closed.Error()}
		if retryOf(closed.Code) == protocol.RetryNever {
			e.err = &Error{Code: "closed", Message: closed.Error(), Retry: protocol.RetryNever}
		}
		return e, ws.StatusNormalClosure
	}
	if broken, ok := errors.AsType[*socket.ViolationError](err); ok {
		return ending{err: err, code: int(broken.Code), reason: broken.Error()}, broken.Code
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ending{err: err, code: codeAbnormal, reason: "the server fell silent"}, ws.StatusGoingAway
	}
	return ending{err: err, code: codeAbnormal, reason: err.Error()}, 0
}

// hello says who this is and what it wants, in the first frame.
func (c *Client) hello(l *link, token string) {
	connect := &parleyv1.Connect{
		Token: token, Session: c.session, Device: c.config.device, Producer: c.producer,
		ExpirySeconds: uint64(max(c.config.expiry, 0) / time.Second),
		Clean:         c.config.clean && c.session == "",
	}
	if l.listed = c.config.device == "" || c.session != ""; l.listed { // else the session may want more than is known here
		for _, ch := range c.channels {
			connect.Subscriptions = append(connect.Subscriptions, ch.wire(c.places[ch.filter]))
		}
		for filter, qos := range c.kept {
			connect.Subscriptions = append(connect.Subscriptions, &parleyv1.Subscribe{Topic: filter, Qos: qos})
		}
	}
	command := &parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: connect}}
	c.ask(l, command, func(r *parleyv1.Reply, err error) {
		if refused, ok := errors.AsType[*Error](err); ok {
			l.refused = refused
			l.retryAfter = max(l.retryAfter, refused.RetryAfter)
			l.Stop()
			return
		}
		c.welcome(l, r.GetConnected())
	})
}

// welcome takes the answer to connect.
func (c *Client) welcome(l *link, answer *parleyv1.Connected) {
	c.open, l.since = true, time.Now()
	c.session = answer.GetSession()
	c.outbox.numbered = answer.GetProducer() != nil
	l.silence = 0
	if s := answer.GetPingSeconds(); s > 0 {
		l.silence = time.Duration(s)*time.Second + pingGrace
	}
	clear(c.kept)
	for _, s := range answer.GetSubscriptions() {
		switch ch := c.channels[s.GetTopic()]; {
		case ch != nil && l.listed:
			c.subscribed(ch, s)
		case ch != nil: // the session had it, and was not told yet how it is wanted now
		case c.config.device != "" && s.GetError() == nil && s.GetQos() > 0:
			c.kept[s.GetTopic()] = s.GetQos()
		case s.GetError() == nil:
			c.unsubscribe(l, s.GetTopic())
		}
	}
	c.tellReads(l)
	c.recoverWildcards(l)
	for _, ch := range c.channels {
		if !ch.live {
			c.subscribe(l, ch)
		}
		for _, s := range ch.subs {
			if s.filling {
				c.fill(l, s)
			}
		}
	}
	if in := milliseconds(answer.GetExpiresInMs()); in > 0 && c.config.fresh && !c.config.ticket {
		c.running.Go(func() { c.keepToken(l, in) })
	}
	c.become(State{Status: Connected, User: answer.GetUser(), Resumed: answer.GetResumed()})
	c.pump()
}

// keepToken refreshes the token in time, as long as the link lives.
func (c *Client) keepToken(l *link, in time.Duration) {
	for in > 0 {
		wait := in - min(2*time.Minute, in/2)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.Done():
			timer.Stop()
			return
		}
		next, err := c.refresh(l)
		if err != nil {
			c.trouble(err)
			next = in - wait // try once more, halfway
			if next < time.Second {
				return // the server will say that it expired
			}
		}
		in = next
	}
}

// refresh fetches a token and shows it to the server, which tells how long it
// lasts.
func (c *Client) refresh(l *link) (time.Duration, error) {
	token, err := c.config.token(l.Context())
	if err != nil {
		return 0, err
	}
	type result struct {
		reply *parleyv1.Reply
		err   error
	}
	ch := make(chan result, 1)
	c.mu.Lock()
	if c.link != l {
		c.mu.Unlock()
		return 0, nil
	}
	command := &parleyv1.Command{Command: &parleyv1.Command_Refresh{Refresh: &parleyv1.Refresh{Token: token}}}
	c.ask(l, command, func(r *parleyv1.Reply, err error) { ch <- result{r, err} })
	c.mu.Unlock()
	got := <-ch // the link answers every ask, at its end at the latest
	if got.err != nil {
		return 0, got.err
	}
	c.mu.Lock()
	c.token = token
	c.mu.Unlock()
	return milliseconds(got.reply.GetRefreshed().GetExpiresInMs()), nil
}
