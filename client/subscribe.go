package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

// subscribeAgain is how long after a refusal that may pass a subscription is
// asked for again, at most, beyond what the server wants.
const subscribeAgain = 5 * time.Second

// channel is one filter on the wire, shared by all subscriptions to it.
type channel struct {
	filter   string
	subs     []*Subscription
	live     bool // answered on the present connection
	qos      uint32
	presence bool
	since    *Position // where to begin while the topic's place is not known
	asked    *Position // what was last asked
	askedID  uint64    // the command that did
	again    bool      // refused for now: a timer asks again
}

func (ch *channel) wildcard() bool { return topic.Filter(ch.filter).Wildcard() }

func (ch *channel) covers(name string) bool {
	return ch.filter == name || ch.wildcard() && topic.Filter(ch.filter).Matches(topic.Name(name))
}

// wire returns the command. t is the topic's place, if there is one.
func (ch *channel) wire(t *place) *parleyv1.Subscribe {
	ch.asked = ch.since
	if t != nil && t.known && !ch.wildcard() {
		ch.asked = t.since()
	}
	s := &parleyv1.Subscribe{Topic: ch.filter, Qos: ch.qos, Presence: ch.presence}
	if ch.asked != nil {
		s.Since = &parleyv1.Position{Epoch: ch.asked.Epoch, Seq: ch.asked.Seq}
	}
	return s
}

// Subscription is the interest of one handler, or of one loop over Messages.
type Subscription struct {
	c        *Client
	topic    string
	interest interest
	handler  func(Message)
	queue    chan delivery
	ready    chan struct{} // closed with the server's first answer
	ended    chan struct{}

	// The client's lock guards these.
	err      error
	answered bool
	filling  bool // older messages are being read for this one alone
	more     bool // held was full: read further
	held     []delivery
	after    uint64 // the newest message that was read so
}

// delivery is a message on its way to a handler. place is set when it is to be
// acknowledged.
type delivery struct {
	m     Message
	place *place
}

// Subscribe calls handler with what is published on a topic, or on all topics
// of a filter with the wildcards + (one level) and # (the rest). It returns
// when the server has agreed; the subscription then lasts over reconnects. With
// a nil handler the messages are read with Messages.
func (c *Client) Subscribe(ctx context.Context, filter string, handler func(Message), options ...SubscribeOption) (*Subscription, error) {
	s := &Subscription{
		c: c, topic: filter, handler: handler, interest: interest{buffer: 1024},
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, o := range options {
		o(&s.interest)
	}
	parsed, err := topic.ParseFilter(filter)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", filter, err)
	}
	if parsed.Wildcard() && s.interest.since != nil {
		return nil, fmt.Errorf("subscribe to %q: a position belongs to one topic, leave Since out", filter)
	}
	s.queue = make(chan delivery, s.interest.buffer)
	if err := c.join(s); err != nil {
		return nil, err
	}
	select {
	case <-s.ready:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("subscribe to %q: %w", filter, s.Err())
	case <-ctx.Done():
		s.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %q: %w", filter, ctx.Err())
	}
}

// Direct calls handler with what is sent to this user, connection or role
// rather than to a topic. It needs no subscription at the server. With a nil
// handler the messages are read with Messages.
func (c *Client) Direct(handler func(Message)) (*Subscription, error) {
	s := &Subscription{
		c: c, topic: "$", handler: handler, interest: interest{buffer: 1024},
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	s.queue = make(chan delivery, s.interest.buffer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	c.direct = append(c.direct, s)
	s.begun()
	s.start()
	return s, nil
}

// join adds s to its channel and asks the server for what that needs.
func (c *Client) join(s *Subscription) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	ch := c.channels[s.topic]
	shared := ch != nil || c.places[s.topic] != nil
	if ch == nil {
		ch = &channel{filter: s.topic}
		c.channels[s.topic] = ch
	}
	presence := s.interest.presence != nil
	news := len(ch.subs) == 0 || s.interest.qos > ch.qos || presence && !ch.presence
	ch.subs = append(ch.subs, s)
	ch.qos = max(ch.qos, s.interest.qos)
	ch.presence = ch.presence || presence
	if !shared {
		ch.since = s.interest.since
	} else if s.interest.since != nil {
		s.filling, s.after = true, s.interest.since.Seq
	}
	if news && c.open {
		c.subscribe(c.link, ch)
	} else if ch.live {
		s.begun()
	}
	if s.filling && c.open {
		c.fill(c.link, s)
	}
	s.start()
	return nil
}

// subscribe asks for a channel on the wire.
func (c *Client) subscribe(l *link, ch *channel) {
	ch.live, ch.again = false, false
	command := &parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: ch.wire(c.places[ch.filter])}}
	c.ask(l, command, func(r *parleyv1.Reply, err error) {
		if c.channels[ch.filter] != ch || errors.Is(err, ErrDisconnected) {
			return
		}
		if refused, ok := errors.AsType[*Error](err); ok {
			c.refused(ch, refused)
			return
		}
		c.subscribed(ch, r.GetSubscribed())
	})
	ch.askedID = command.GetId()
}

// subscribed takes the server's answer.
func (c *Client) subscribed(ch *channel, answer *parleyv1.Subscribed) {
	if e := answer.GetError(); e != nil {
		c.refused(ch, fromWire(e))
		return
	}
	ch.live = true
	if p := answer.GetPosition(); p != nil && !ch.wildcard() {
		c.settle(ch, fromWirePosition(p), answer.GetRecovered())
	}
	for _, s := range ch.subs {
		s.begun()
	}
}

// settle finds the place from which a topic goes on. newest is its newest
// message.
func (c *Client) settle(ch *channel, newest Position, recovered bool) {
	t := c.place(ch.filter)
	var from Position
	if ch.asked != nil {
		from = *ch.asked
	}
	if !t.known && from.Seq > 0 {
		t.seen = from.Seq // whoever subscribes from there has it
	}
	if ch.asked != nil && recovered {
		t.epoch = newest.Epoch
		if from.Seq > 0 && !t.known {
			t.skip(from.Seq)
		}
		return
	}
	first, seen := t.epoch == "", t.seen
	t.moveTo(newest)
	if first && from.Epoch == newest.Epoch {
		t.seen = seen
	}
	if from.Seq > 0 {
		c.tellGap(t.topic, newest)
	}
}

// refused ends a channel, or tries again when the refusal may pass.
func (c *Client) refused(ch *channel, err *Error) {
	if never(err) {
		c.drop(ch)
		for _, s := range ch.subs {
			s.end(err)
		}
		return
	}
	c.trouble(err)
	ch.live, ch.again = true, true // as good as answered, until asked again
	l := c.link
	c.later(l, err.RetryAfter+time.Duration(c.config.random()*float64(subscribeAgain)), func() {
		if c.channels[ch.filter] == ch {
			c.subscribe(l, ch)
		}
	})
}

// unsubscribe tells the server that a topic is no longer wanted.
func (c *Client) unsubscribe(l *link, filter string) {
	l.send(&parleyv1.Command{Command: &parleyv1.Command_Unsubscribe{Unsubscribe: &parleyv1.Unsubscribe{Topic: filter}}})
}

// drop forgets a channel and the places that no other covers.
func (c *Client) drop(ch *channel) {
	delete(c.channels, ch.filter)
	for name := range c.places {
		if !c.covered(name) {
			delete(c.places, name)
		}
	}
}

func (c *Client) covered(name string) bool {
	for _, ch := range c.channels {
		if ch.covers(name) {
			return true
		}
	}
	return false
}

// Unsubscribe ends the subscription. The handler is not called again once the
// call it may be in has returned.
func (s *Subscription) Unsubscribe() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(s)
	s.end(ErrUnsubscribed)
}

// leave takes s out of its channel, and the channel off the wire with the last.
func (c *Client) leave(s *Subscription) {
	if i := slices.Index(c.direct, s); i >= 0 {
		c.direct = slices.Delete(c.direct, i, i+1)
		return
	}
	ch := c.channels[s.topic]
	if ch == nil {
		return
	}
	i := slices.Index(ch.subs, s)
	if i < 0 {
		return
	}
	ch.subs = slices.Delete(slices.Clone(ch.subs), i, i+1)
	if len(ch.subs) > 0 {
		return
	}
	c.drop(ch)
	if c.open {
		c.unsubscribe(c.link, ch.filter)
	}
}

// Err returns why the subscription ended, or nil while it has not.
func (s *Subscription) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Done is closed when the subscription has ended; Err then tells why.
func (s *Subscription) Done() <-chan struct{} { return s.ended }

// Messages returns what arrives, one after the other, for a subscription
// without a handler. The sequence ends with ctx or with the subscription; a
// loop that was left can be begun again.
func (s *Subscription) Messages(ctx context.Context) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for {
			select {
			case d := <-s.queue:
				more := yield(d.m)
				s.c.handled(d)
				if !more {
					return
				}
			case <-s.ended:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// start begins the handler's goroutine. The lock is held.
func (s *Subscription) start() {
	if s.handler != nil {
		s.c.running.Go(s.work)
	}
}

func (s *Subscription) work() {
	for {
		select {
		case d := <-s.queue:
			if s.over() {
				return
			}
			s.handler(d.m)
			s.c.handled(d)
		case <-s.ended:
			return
		}
	}
}

func (s *Subscription) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// begun notes the server's answer. The lock is held.
func (s *Subscription) begun() {
	if !s.answered && s.err == nil {
		s.answered = true
		close(s.ready)
	}
}

// end ends s, once. The lock is held. What still waits is not handled, and
// must not keep others from being acknowledged.
func (s *Subscription) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.held = nil
	close(s.ended)
	for {
		select {
		case d := <-s.queue:
			s.c.acknowledge(d)
		default:
			return
		}
	}
}
