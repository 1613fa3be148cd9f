package client

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// Option sets up a Client.
type Option func(*config)

type config struct {
	token    func(context.Context) (string, error)
	fresh    bool // token may give a new one each time it is asked
	ticket   bool // token gives one-use tickets: ask for every connection
	device   string
	expiry   time.Duration
	clean    bool
	headers  http.Header
	tls      *tls.Config
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	json     bool
	compress bool
	messages int
	bytes    int
	random   func() float64
	onState  func(State)
	onGap    func(Gap)
	onError  func(error)
}

func defaults() config {
	return config{messages: 5000, bytes: 8 << 20, random: rand.Float64}
}

// WithToken gives the bearer token. When it expires the client is closed.
func WithToken(token string) Option {
	return func(c *config) {
		c.token, c.fresh = func(context.Context) (string, error) { return token, nil }, false
	}
}

// WithTokenFunc gives a function that fetches a token: before the first
// connection, before the server's deadline for the present one, and when the
// server calls it expired. An *Error that says RetryNever closes the client;
// any other is tried again.
func WithTokenFunc(f func(context.Context) (string, error)) Option {
	return func(c *config) { c.token, c.fresh = f, true }
}

// WithTicketFunc gives a function that fetches a one-use ticket for every
// connection.
func WithTicketFunc(f func(context.Context) (string, error)) Option {
	return func(c *config) { c.token, c.fresh, c.ticket = f, true, true }
}

// WithDevice names this device among those of its user. With a name, what is
// subscribed to at QoS 1 or 2 outlives the program: the server keeps it for days
// (WithExpiry), and when a program with the same device of the same user
// subscribes again, it gets what it had not acknowledged. Two programs must not
// use one name: the later takes the session over and the earlier is closed.
func WithDevice(name string) Option { return func(c *config) { c.device = name } }

// WithExpiry is for how long the server keeps the session after the connection;
// it may keep it shorter.
func WithExpiry(d time.Duration) Option { return func(c *config) { c.expiry = d } }

// WithCleanStart forgets what an earlier program with the same device left.
func WithCleanStart() Option { return func(c *config) { c.clean = true } }

// WithHeader adds headers to the handshake.
func WithHeader(h http.Header) Option { return func(c *config) { c.headers = h } }

// WithTLS sets how wss is spoken.
func WithTLS(t *tls.Config) Option { return func(c *config) { c.tls = t } }

// WithNetDial replaces how the TCP connection is made.
func WithNetDial(f func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(c *config) { c.dial = f }
}

// WithJSON speaks JSON only, which is easier to watch on the wire. Otherwise
// the client prefers Protobuf where the server does too.
func WithJSON() Option { return func(c *config) { c.json = true } }

// WithCompression asks the server to compress messages both ways
// (permessage-deflate), which it may decline. Less goes over the network, and
// both sides work more: worth it on slow or metered lines.
func WithCompression() Option { return func(c *config) { c.compress = true } }

// WithOutbox bounds what may wait for an answer: 5,000 publishes and calls of
// 8 MiB together without this option.
func WithOutbox(messages, bytes int) Option {
	return func(c *config) { c.messages, c.bytes = messages, bytes }
}

// OnState is told every change of the connection, OnGap of messages that were
// lost for good, OnError of refusals that nobody waits for. The functions are
// called one after the other; one that blocks misses the oldest events.
func OnState(f func(State)) Option { return func(c *config) { c.onState = f } }

// OnGap is described at OnState.
func OnGap(f func(Gap)) Option { return func(c *config) { c.onGap = f } }

// OnError is described at OnState.
func OnError(f func(error)) Option { return func(c *config) { c.onError = f } }

// SubscribeOption sets up one subscription.
type SubscribeOption func(*interest)

// interest is what one subscription asked for.
type interest struct {
	since    *Position
	qos      uint32
	presence func(Presence)
	receipts func(Receipt)
	gap      func(Gap)
	stored   func(ctx context.Context, topic string) (Position, error)
	buffer   int
}

// Since begins after a position; Seq 0 is the oldest message that is kept.
// Without it a subscription begins now. Not for filters with wildcards.
func Since(p Position) SubscribeOption { return func(i *interest) { i.since = &p } }

// StoredPosition makes each message of a topic take effect once, also over
// several lives of the program: the handler stores Message.Position together
// with the work, in one transaction, and load returns what was stored last (the
// zero Position when there is nothing). It is asked before the subscription
// begins, which then goes on behind it. Use it with QoS(2). Not for patterns and
// groups.
func StoredPosition(load func(ctx context.Context, topic string) (Position, error)) SubscribeOption {
	return func(i *interest) { i.stored = load }
}

// QoS 1 and 2 acknowledge each message after its handler has returned. With
// WithDevice, what was not acknowledged comes again after a restart of the
// program: at QoS 1 a message may be handled twice then; StoredPosition makes
// it once.
func QoS(n uint32) SubscribeOption { return func(i *interest) { i.qos = n } }

// WithPresence tells f who comes and goes.
func WithPresence(f func(Presence)) SubscribeOption { return func(i *interest) { i.presence = f } }

// SubscriptionGap tells f about lost messages of this subscription's topics.
func SubscriptionGap(f func(Gap)) SubscribeOption { return func(i *interest) { i.gap = f } }

// Buffer is how many messages may wait for the handler, 1024 without it. One
// more ends the subscription with ErrSlow.
func Buffer(n int) SubscribeOption { return func(i *interest) { i.buffer = n } }

// PublishOption sets up one message.
type PublishOption func(*publication)

type publication struct {
	key     string
	qos     uint32
	headers map[string]string
	retain  bool
	expires time.Duration
	silent  bool
}

// Key makes a repeat harmless: the same key from the same user is stored once.
// The server remembers keys for a while only, minutes unless set otherwise.
func Key(k string) PublishOption { return func(p *publication) { p.key = k } }

// PublishQoS asks for a quality of service, 1 without it. At 0 the message is
// not numbered: it costs the server a little less, and may be stored twice when
// the connection breaks and it remembers no keys for the topic.
func PublishQoS(n uint32) PublishOption { return func(p *publication) { p.qos = n } }

// Header adds a header.
func Header(k, v string) PublishOption {
	return func(p *publication) {
		if p.headers == nil {
			p.headers = make(map[string]string)
		}
		p.headers[k] = v
	}
}

// Retain keeps the message as the topic's last value.
func Retain() PublishOption { return func(p *publication) { p.retain = true } }

// ExpiresIn is how long the message is worth delivering, in milliseconds on
// the wire.
func ExpiresIn(d time.Duration) PublishOption { return func(p *publication) { p.expires = d } }

// NoEcho sends to everybody but this connection.
func NoEcho() PublishOption { return func(p *publication) { p.silent = true } }
