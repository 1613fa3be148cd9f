// Package device is Parley for small programs that have a socket and little
// else: the native protocol in binary frames over TCP. The connection comes back
// by itself, goes on with its session, and hands out every message that the
// server keeps for it.
//
//	c, err := device.Dial(ctx, "example.org:7070", device.WithToken(token), device.WithName("meter-4"))
//	if err != nil { … }
//	defer c.Close()
//	err = c.Subscribe(ctx, "meter/4/+", func(m client.Message) { … })
//	_, err = c.Publish(ctx, "meter/4/reading", "reading", Reading{KWh: 1.5})
//
// It does one thing after the other and keeps nothing that it need not: for
// handlers, queues and histories use package client.
package device

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/protocol/frame"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Option sets up a Client.
type Option func(*config)

type config struct {
	token func(context.Context) (string, error)
	name  string
	form  frame.Form
	limit int
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	onGap func(filter string)
	first time.Duration // wait after the first failure
}

// WithToken gives the bearer token.
func WithToken(token string) Option {
	return func(c *config) { c.token = func(context.Context) (string, error) { return token, nil } }
}

// WithTokenFunc gives a function that fetches a token, for every connection.
func WithTokenFunc(f func(context.Context) (string, error)) Option {
	return func(c *config) { c.token = f }
}

// WithName names this device among those of its user. Its session is then kept
// while it is away, and found again after it was switched off: a subscription
// that it has again goes on behind the last message that was handled.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithJSON puts JSON into the frames, which is easier to watch, and larger.
func WithJSON() Option { return func(c *config) { c.form = frame.JSON } }

// WithLimit is the most bytes that one frame of the server may have; 4 MiB
// unless set.
func WithLimit(n int) Option { return func(c *config) { c.limit = n } }

// WithDial replaces how the connection is made: for TLS, or another way out.
func WithDial(f func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(c *config) { c.dial = f }
}

// OnGap is told when messages of a subscription were lost and cannot be had
// again. It is called as handlers are.
func OnGap(f func(filter string)) Option { return func(c *config) { c.onGap = f } }

// Client is a connection that comes back. Its methods may be called
// concurrently.
type Client struct {
	config config
	addr   string
	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	work   chan delivery // for the goroutine that calls handlers

	running sync.WaitGroup
	busy    sync.Mutex // held while a message is handled

	mu      sync.Mutex // guards what follows; never held during I/O
	link    *link      // nil while there is none that has answered connect
	changed chan struct{}
	err     error // why it is closed for good
	trouble error // why there is no connection at the moment
	session string
	lastID  uint64
	subs    map[string]func(client.Message)

	// Of the goroutine that reads: topics with messages that nobody wanted yet.
	unwanted map[string]bool
}

// queued is how many messages may wait for a handler. One that does not keep
// up loses its connection, and gets the rest afterwards.
const queued = 512

// Dial connects, and returns when that has succeeded, was refused for good, or
// ctx has ended. Until then it tries again as after any loss.
func Dial(ctx context.Context, addr string, options ...Option) (*Client, error) {
	c := &Client{
		config: config{form: frame.Protobuf, limit: 4 << 20, dial: (&net.Dialer{}).DialContext, first: 500 * time.Millisecond},
		addr:   addr, changed: make(chan struct{}), work: make(chan delivery, queued), subs: make(map[string]func(client.Message)),
	}
	for _, o := range options {
		o(&c.config)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.running.Go(c.run)
	c.running.Go(c.handle)
	if _, err := c.connected(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection and returns when no handler runs any more; so no
// handler may call it.
func (c *Client) Close() error {
	c.cancel()
	c.busy.Lock() // what is being handled is acknowledged
	c.mu.Lock()
	if c.link != nil {
		c.link.close()
	}
	c.mu.Unlock()
	c.busy.Unlock()
	c.running.Wait()
	return nil
}

// connected waits for a connection.
func (c *Client) connected(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, changed, err := c.link, c.changed, c.err
		c.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case l != nil:
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if trouble := c.why(); trouble != nil {
				return nil, fmt.Errorf("not connected to %s: %w (last attempt: %w)", c.addr, ctx.Err(), trouble)
			}
			return nil, fmt.Errorf("not connected to %s: %w", c.addr, ctx.Err())
		}
	}
}

// why tells why there is no connection, when that is known.
func (c *Client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// ask sends a command when there is a connection, and waits for the answer. It
// asks again after a lost connection when it may be done twice.
func (c *Client) ask(ctx context.Context, command *parleyv1.Command, twice bool) (*parleyv1.Reply, error) {
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.lastID++
		command.Id = c.lastID
		c.mu.Unlock()
		r, err := l.ask(ctx, command)
		switch {
		case !errors.Is(err, errLost):
			return r, err
		case !twice:
			return nil, client.ErrDisconnected
		}
		c.drop(l)
	}
}

// Publish sends payload, as JSON, and returns where it stands in its topic once
// the server has accepted it. A lost connection is waited for; the message is
// stored once, however often it had to be sent.
func (c *Client) Publish(ctx context.Context, topic, typ string, payload any) (client.Position, error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return client.Position{}, fmt.Errorf("publish to %s: %w", topic, err)
	}
	r, err := c.ask(ctx, &parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: &parleyv1.Publish{
		Topic: topic, Type: typ, Payload: text, Key: rand.Text(), Qos: 1,
	}}}, true)
	p := r.GetPublished().GetPosition()
	return client.Position{Epoch: p.GetEpoch(), Seq: p.GetSeq()}, err
}

// Call asks a handler of the application, and reads its answer into out unless
// that is nil. After a lost connection it fails with client.ErrDisconnected:
// whether it was done is not known.
func (c *Client) Call(ctx context.Context, typ string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("call %s: %w", typ, err)
	}
	call := &parleyv1.Call{Type: typ, Payload: text}
	if until, ok := ctx.Deadline(); ok {
		call.TimeoutMs = uint64(max(time.Until(until).Milliseconds(), 1))
	}
	r, err := c.ask(ctx, &parleyv1.Command{Command: &parleyv1.Command_Call{Call: call}}, false)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(r.GetResult().GetPayload(), out); err != nil {
		return fmt.Errorf("the answer of %s: %w", typ, err)
	}
	return nil
}

// Subscribe calls handle with each message on the topics of filter, one at a
// time and in the order of their topic, from now on and after every return of
// the connection. A message is acknowledged when handle has returned; what was
// not comes again. A handler may call the client, but not Close.
func (c *Client) Subscribe(ctx context.Context, filter string, handle func(client.Message)) error {
	c.mu.Lock()
	_, again := c.subs[filter]
	c.subs[filter] = handle
	c.mu.Unlock()
	if again {
		return nil
	}
	_, err := c.ask(ctx, &parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: subscription(filter)}}, true)
	if err != nil {
		c.mu.Lock()
		delete(c.subs, filter)
		c.mu.Unlock()
	}
	return err
}

func subscription(filter string) *parleyv1.Subscribe {
	return &parleyv1.Subscribe{Topic: filter, Qos: 1}
}

// Unsubscribe ends what Subscribe began.
func (c *Client) Unsubscribe(ctx context.Context, filter string) error {
	c.mu.Lock()
	delete(c.subs, filter)
	c.mu.Unlock()
	_, err := c.ask(ctx, &parleyv1.Command{Command: &parleyv1.Command_Unsubscribe{Unsubscribe: &parleyv1.Unsubscribe{Topic: filter}}}, true)
	return err
}

// errorOf returns a refusal in the words of package client.
func errorOf(e *parleyv1.Error) *client.Error {
	return &client.Error{
		Code: e.GetCode(), Message: e.GetMessage(), Status: int(e.GetNumber()),
		Retry: protocol.Retry(e.GetRetry()), RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
	}
}
