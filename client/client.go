// Package client is Parley for programs in Go: a connection that comes back by
// itself, continues every subscription after the last message that was handed
// out, and keeps what is published meanwhile.
//
//	c, err := client.Dial(ctx, "wss://example.org/ws", client.WithToken(token))
//	if err != nil { … }
//	defer c.Close()
//	sub, err := c.Subscribe(ctx, "room/+", func(m client.Message) { … })
//	_, err = c.Publish(ctx, "room/1", "chat.line", Line{Text: "hello"})
//	post, err := client.Call[Post](ctx, c, "post.create", NewPost{Title: "Hi"})
//
// All methods may be called concurrently. A handler is called with one message
// at a time, in the order of its topic; it may call the client, but not Close,
// which waits for it.
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/gobwas/ws"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Client is a connection that comes back. Make it with Dial or New.
type Client struct {
	config config
	url    string
	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	kick   chan struct{} // skip the wait for the next attempt

	running sync.WaitGroup // the run loop, the handlers, the token's keeper
	events  observer
	watched sync.WaitGroup // the goroutine of events; it outlives the others
	unwatch context.CancelFunc

	mu       sync.Mutex // guards what follows; never held while a handler runs
	state    State
	changed  chan struct{} // closed at the next change of state
	err      error         // why it is closed
	lastID   uint64
	link     *link
	open     bool // the link has answered connect
	session  string
	producer string // who numbers what is published here
	token    string
	channels map[string]*channel
	places   map[string]*place
	kept     map[string]uint32 // the QoS of what the session wants and nobody here does yet
	reads    map[string]uint64
	direct   []*Subscription
	outbox   outbox
}

// New begins to connect and returns at once. It fails only when rawURL is no
// ws, wss, http or https address.
func New(rawURL string, options ...Option) (*Client, error) {
	address, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	c := &Client{
		config: defaults(), url: address, kick: make(chan struct{}, 1),
		state: State{Status: Connecting}, changed: make(chan struct{}),
		channels: make(map[string]*channel), places: make(map[string]*place), kept: make(map[string]uint32),
		reads: make(map[string]uint64), producer: "p-" + rand.Text(),
	}
	for _, o := range options {
		o(&c.config)
	}
	c.outbox = newOutbox(c.config.messages, c.config.bytes)
	c.events.wake = make(chan struct{}, 1)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	watch, unwatch := context.WithCancel(context.Background())
	c.unwatch = unwatch
	c.watched.Go(func() { c.events.run(watch) })
	c.running.Go(c.run)
	return c, nil
}

// Dial connects and returns when that has succeeded, was refused for good, or
// ctx has ended. Until then it tries again as after any loss.
func Dial(ctx context.Context, rawURL string, options ...Option) (*Client, error) {
	c, err := New(rawURL, options...)
	if err != nil {
		return nil, err
	}
	if err := c.Connected(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func parse(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", fmt.Errorf("the server's address: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("the server's address %q must begin with ws://, wss://, http:// or https://", rawURL)
	}
	u.Fragment = ""
	return u.String(), nil
}

// Connected returns nil as soon as the client is connected. The error tells
// why it was closed, or why the last attempt failed when ctx ends first.
func (c *Client) Connected(ctx context.Context) error {
	for {
		c.mu.Lock()
		state, changed, err := c.state, c.changed, c.err
		c.mu.Unlock()
		switch state.Status {
		case Connected:
			return nil
		case Closed:
			return err
		case Connecting, Reconnecting:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if state.Reason != "" {
				return fmt.Errorf("not connected to %s: %w (last attempt: %s)", c.url, ctx.Err(), state.Reason)
			}
			return fmt.Errorf("not connected to %s: %w", c.url, ctx.Err())
		}
	}
}

// State returns where the connection stands.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Reconnect makes the next attempt now instead of after its wait.
func (c *Client) Reconnect() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Close ends the connection, fails what waits in the outbox with ErrClosed and
// ends all subscriptions. It returns when every handler has, so no handler may
// call it. Further calls do nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.link != nil && c.ctx.Err() == nil {
		c.link.Goodbye(ws.StatusNormalClosure)
	}
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.unwatch()
	c.watched.Wait()
	return nil
}

// become is called with the lock held.
func (c *Client) become(s State) {
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
	if f := c.config.onState; f != nil {
		c.events.tell(func() { f(s) })
	}
}

// trouble tells of an error that nobody waits for.
func (c *Client) trouble(err error) {
	if f := c.config.onError; f != nil {
		c.events.tell(func() { f(err) })
	}
}

// finish closes everything for good. Only the run loop calls it.
func (c *Client) finish(e ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = ErrClosed
	if e.err != nil && c.ctx.Err() == nil {
		c.err = errors.Join(ErrClosed, e.err)
	}
	c.outbox.fail(ErrClosed)
	for _, ch := range c.channels {
		for _, s := range ch.subs {
			s.end(c.err)
		}
	}
	for _, s := range c.direct {
		s.end(c.err)
	}
	clear(c.channels)
	c.direct = nil
	c.become(State{Status: Closed, Reason: e.reason, Code: e.code})
	c.cancel()
}

// number returns the next id. The lock is held.
func (c *Client) number() uint64 {
	c.lastID++
	return c.lastID
}

// ask sends a command that ends with its connection. The lock is held, here
// and when the answer comes.
func (c *Client) ask(l *link, command *parleyv1.Command, a answer) {
	command.Id = c.number()
	l.asks[command.GetId()] = &ask{answer: a, until: time.Now().Add(requestTimeout)}
	l.send(command)
	l.Remind(requestTimeout)
}

// expire answers what waited too long for the server.
func (c *Client) expire(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, next := time.Now(), time.Time{}
	for id, a := range l.asks {
		switch {
		case !now.Before(a.until):
			delete(l.asks, id)
			a.answer(nil, ErrTimeout)
		case next.IsZero() || a.until.Before(next):
			next = a.until
		}
	}
	if !next.IsZero() {
		l.Remind(next.Sub(now))
	}
}
