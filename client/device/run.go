package device

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

const (
	connectTimeout = 15 * time.Second // from the dial to the answer
	longestWait    = 30 * time.Second
	stable         = 10 * time.Second // a connection that lasted so long starts the waits anew
)

// maxDone bounds the topics of which is remembered what was handled.
const maxDone = 4096

var errSlow = errors.New("the handlers did not keep up")

// run keeps a connection until the client is closed or not wanted any more.
func (c *Client) run() {
	defer close(c.work)
	wait := c.config.first
	for {
		began := time.Now()
		after, err := c.once()
		if c.ctx.Err() != nil || final(err) {
			c.finish(err)
			return
		}
		if time.Since(began) > stable {
			wait = c.config.first
		}
		c.note(err)
		// Half of the wait is left to chance, so that not all come back at once.
		pause := time.NewTimer(max(after, wait/2+rand.N(wait/2))) //nolint:gosec // nobody gains from guessing it
		wait = min(2*wait, longestWait)
		select {
		case <-pause.C:
		case <-c.ctx.Done():
			pause.Stop()
		}
	}
}

func (c *Client) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = err
}

func (c *Client) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = client.ErrClosed
	if final(err) {
		c.err = errors.Join(client.ErrClosed, err)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// set makes l the connection that everybody uses; nil for none.
func (c *Client) set(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.changed)
	c.changed = make(chan struct{})
}

// drop notes that l is lost, if that is not known yet.
func (c *Client) drop(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.link = nil
	}
}

// once is the life of one connection. It returns why that ended, and how long
// the server wants to be left alone.
func (c *Client) once() (after time.Duration, err error) {
	conn, err := c.config.dial(c.ctx, "tcp", c.addr)
	if err != nil {
		return 0, err
	}
	l := newLink(conn, &c.config)
	c.unwanted = make(map[string]bool)
	defer l.lose()
	buf := make([]byte, 4<<10)
	silence, err := c.hello(l, buf)
	if err != nil {
		if refused, ok := errors.AsType[*client.Error](err); ok {
			after = refused.RetryAfter
		}
		return after, err
	}
	c.set(l)
	defer c.set(nil)
	if c.ctx.Err() != nil { // Close has not seen it
		return 0, c.ctx.Err()
	}
	return c.listen(l, silence, buf)
}

// hello says who this is and what it wants, and returns how long the server may
// be silent.
func (c *Client) hello(l *link, buf []byte) (time.Duration, error) {
	connect := &parleyv1.Connect{Device: c.config.name}
	if c.config.token != nil {
		token, err := c.config.token(c.ctx)
		if err != nil {
			return 0, err
		}
		connect.Token = token
	}
	c.mu.Lock()
	connect.Session = c.session
	for filter := range c.subs {
		connect.Subscriptions = append(connect.Subscriptions, subscription(filter))
	}
	c.lastID++
	id := c.lastID
	c.mu.Unlock()
	if err := l.send(&parleyv1.Command{Id: id, Command: &parleyv1.Command_Connect{Connect: connect}}); err != nil {
		return 0, err
	}
	for {
		r, err := l.next(connectTimeout, buf)
		switch {
		case err != nil:
			return 0, err
		case r.GetError() != nil:
			return 0, errorOf(r.GetError())
		case r.GetConnected() != nil:
			return c.welcome(r.GetConnected()), nil
		}
	}
}

func (c *Client) welcome(answer *parleyv1.Connected) (silence time.Duration) {
	c.mu.Lock()
	c.session = answer.GetSession()
	c.mu.Unlock()
	for _, s := range answer.GetSubscriptions() {
		if s.GetError() != nil {
			c.ended(s.GetTopic())
		} else if !s.GetRecovered() {
			c.gap(s.GetTopic())
		}
	}
	if s := answer.GetPingSeconds(); s > 0 {
		silence = time.Duration(s)*time.Second + pingGrace
	}
	return silence
}

// ended notes that the server gives nothing of a subscription any more.
func (c *Client) ended(filter string) {
	c.mu.Lock()
	_, wanted := c.subs[filter]
	delete(c.subs, filter)
	c.mu.Unlock()
	if wanted {
		c.gap(filter)
	}
}

// listen deals with what the server says until the connection ends.
func (c *Client) listen(l *link, silence time.Duration, buf []byte) (after time.Duration, err error) {
	var leaving *client.Error
	for {
		r, err := l.next(silence, buf)
		if err != nil {
			if leaving != nil {
				return after, leaving
			}
			return 0, err
		}
		if l := r.GetLeaving(); l != nil {
			after = time.Duration(l.GetRetryAfterMs()) * time.Millisecond
			leaving = &client.Error{Code: l.GetReason(), Message: "the server has ended the connection", Retry: protocol.RetryLater}
			if stays(leaving.Code) {
				leaving.Retry = protocol.RetryNever
			}
			continue
		}
		if err := c.receive(l, r); err != nil {
			return 0, err
		}
	}
}

// receive deals with one reply.
func (c *Client) receive(l *link, r *parleyv1.Reply) error {
	switch said := r.GetReply().(type) {
	case *parleyv1.Reply_Message:
		if c.wanted(said.Message.GetTopic()) && !c.enqueue(delivery{l: l, message: said.Message}) {
			return errSlow
		}
		return nil
	case *parleyv1.Reply_Ping:
		return l.send(&parleyv1.Command{Command: &parleyv1.Command_Pong{Pong: &parleyv1.Pong{}}})
	case *parleyv1.Reply_Gap:
		c.gap(said.Gap.GetTopic())
	case *parleyv1.Reply_Subscribed:
		for name := range c.unwanted {
			if topic.Filter(said.Subscribed.GetTopic()).Matches(topic.Name(name)) {
				delete(c.unwanted, name)
			}
		}
	case *parleyv1.Reply_Unsubscribed:
		if r.GetId() == 0 {
			c.ended(said.Unsubscribed.GetTopic())
		}
	}
	l.answer(r)
	return nil
}

// wanted reports whether there is a handler for a topic. A session that goes on
// may bring messages before its program has subscribed again: they are not
// acknowledged, nor is what follows them, and come again when it has.
func (c *Client) wanted(name string) bool {
	if c.unwanted[name] {
		return false
	}
	if len(c.handlers(name)) > 0 {
		return true
	}
	c.unwanted[name] = true
	return false
}

// delivery waits for the goroutine that calls handlers.
type delivery struct {
	l       *link // that it came by
	message *parleyv1.Message
	gap     string
}

func (c *Client) enqueue(d delivery) bool {
	select {
	case c.work <- d:
		return true
	default:
		return false
	}
}

func (c *Client) gap(filter string) {
	if c.config.onGap != nil {
		c.enqueue(delivery{gap: filter}) // what does not fit loses the connection, and more is told then
	}
}

// handle calls handlers.
func (c *Client) handle() {
	done := make(map[string]client.Position) // of every topic
	for d := range c.work {
		if len(done) > maxDone {
			clear(done) // what comes twice then is handled twice
		}
		c.one(d, done)
	}
}

// one hands a message to its handlers, unless they had it before, and
// acknowledges it.
func (c *Client) one(d delivery, done map[string]client.Position) {
	c.busy.Lock()
	defer c.busy.Unlock()
	switch {
	case c.ctx.Err() != nil:
		return
	case d.message == nil:
		c.config.onGap(d.gap)
		return
	case !c.current(d.l):
		return // it comes again by the connection that there is now
	}
	m := messageOf(d.message)
	if at := done[m.Topic]; m.Seq == 0 || at.Epoch != m.Epoch || m.Seq > at.Seq {
		for _, f := range c.handlers(m.Topic) {
			f(m)
		}
	}
	if m.Seq > 0 {
		done[m.Topic] = m.Position()
		// When this fails the message comes again, and is not handled twice.
		_ = d.l.send(&parleyv1.Command{Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: m.Topic, Seq: m.Seq}}})
	}
}

func (c *Client) current(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link == l
}

// handlers returns who wants a message.
func (c *Client) handlers(name string) (list []func(client.Message)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for filter, f := range c.subs {
		if topic.Filter(filter).Matches(topic.Name(name)) {
			list = append(list, f)
		}
	}
	return list
}

func messageOf(m *parleyv1.Message) client.Message {
	return client.Message{
		Topic: m.GetTopic(), Seq: m.GetSeq(), Prev: m.GetPrev(), Epoch: m.GetEpoch(), ID: m.GetId(),
		Type: m.GetType(), From: m.GetFrom(), Time: time.UnixMilli(m.GetTime()),
		Payload: m.GetPayload(), Data: m.GetData(), Headers: m.GetHeaders(), Retained: m.GetRetained(),
	}
}
