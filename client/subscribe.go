package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	resumed  bool      // the server goes on behind what was acknowledged
	receipts bool

	group string       // of $share/group/filter
	inner topic.Filter // what the group shares
}

func newChannel(filter string) *channel {
	ch := &channel{filter: filter}
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		group, inner, _ := strings.Cut(rest, "/")
		ch.group, ch.inner = group, topic.Filter(inner)
	}
	return ch
}

func (ch *channel) wildcard() bool { return topic.Filter(ch.filter).Wildcard() }

func (ch *channel) covers(name string) bool {
	return ch.filter == name || ch.group == "" && ch.wildcard() && topic.Filter(ch.filter).Matches(topic.Name(name))
}

// wire returns the command. t is the topic's place, if there is one.
func (ch *channel) wire(t *place) *parleyv1.Subscribe {
	ch.asked = ch.since
	if t != nil && t.known && !ch.wildcard() {
		ch.asked = t.since()
	}
	s := &parleyv1.Subscribe{Topic: ch.filter, Qos: ch.qos, Presence: ch.presence, Receipts: ch.receipts}
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
	handler  func(context.Context, Message) error
	ctx      context.Context // ends with the subscription
	stop     context.CancelFunc
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
// acknowledged, and left when it came through a group: then it is acknowledged
// alone, when as many handlers are done with it.
type delivery struct {
	m     Message
	place *place
	left  *int
}

// Subscribe calls handler with what is published on a topic, or on all topics
// of a filter with the wildcards + (one level) and # (the rest). It returns
// when the server has agreed; the subscription then lasts over reconnects. With
// a nil handler the messages are read with Messages.
//
// With $share/group/filter each message goes to one member of the group.
func (c *Client) Subscribe(ctx context.Context, filter string, handler func(Message), options ...SubscribeOption) (*Subscription, error) {
	s := c.subscription(filter, options)
	if handler != nil {
		s.handler = func(_ context.Context, m Message) error { handler(m); return nil }
	}
	return c.begin(ctx, s)
}

// Process is Subscribe for work that may fail: a message is acknowledged when
// handler has returned nil, so it belongs to QoS 1 and 2. After an error the
// same message is handed over again, at growing intervals up to half a minute,
// and those behind it wait; in a group it goes to another member instead. The
// handler's context ends with the subscription.
func (c *Client) Process(
	ctx context.Context, filter string, handler func(context.Context, Message) error, options ...SubscribeOption,
) (*Subscription, error) {
	s := c.subscription(filter, append([]SubscribeOption{QoS(1)}, options...))
	s.handler = handler
	return c.begin(ctx, s)
}

func (c *Client) subscription(filter string, options []SubscribeOption) *Subscription {
	s := &Subscription{c: c, topic: filter, interest: interest{buffer: 1024}, ready: make(chan struct{}), ended: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(c.ctx)
	for _, o := range options {
		o(&s.interest)
	}
	s.queue = make(chan delivery, s.interest.buffer)
	return s
}

// begin subscribes s and waits until the server has agreed.
func (c *Client) begin(ctx context.Context, s *Subscription) (*Subscription, error) {
	err := s.locate(ctx)
	if err == nil {
		err = c.join(s)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("subscribe to %q: %w", s.topic, err)
	}
	select {
	case <-s.ready:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("subscribe to %q: %w", s.topic, s.Err())
	case <-ctx.Done():
		s.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %q: %w", s.topic, ctx.Err())
	}
}

// locate checks the filter and finds out where to begin.
func (s *Subscription) locate(ctx context.Context) error {
	parsed, err := topic.ParseFilter(s.topic)
	if err != nil {
		return err
	}
	i := &s.interest
	if i.since == nil && i.stored == nil {
		return nil
	}
	if parsed.Wildcard() || strings.HasPrefix(s.topic, "$share/") {
		return errors.New("a position belongs to one topic, leave Since and StoredPosition out")
	}
	if i.stored == nil {
		return nil
	}
	at, err := i.stored(ctx, s.topic)
	if err != nil {
		return fmt.Errorf("the stored position: %w", err)
	}
	if at != (Position{}) {
		i.since = &at
	}
	return nil
}

// Direct calls handler with what is sent to this user, connection or role
// rather than to a topic. It needs no subscription at the server. With a nil
// handler the messages are read with Messages.
func (c *Client) Direct(handler func(Message)) (*Subscription, error) {
	s := c.subscription("$", nil)
	if handler != nil {
		s.handler = func(_ context.Context, m Message) error { handler(m); return nil }
	}
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
		ch = newChannel(s.topic)
		delete(c.kept, s.topic)
		c.channels[s.topic] = ch
	}
	presence := s.interest.presence != nil
	receipts := s.interest.receipts != nil
	news := len(ch.subs) == 0 || s.interest.qos > ch.qos || presence && !ch.presence || receipts && !ch.receipts
	ch.subs = append(ch.subs, s)
	ch.qos = max(ch.qos, s.interest.qos)
	ch.presence = ch.presence || presence
	ch.receipts = ch.receipts || receipts
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
	ch.live, ch.resumed = true, answer.GetResumed()
	if p := answer.GetPosition(); p != nil && !ch.wildcard() && ch.group == "" && !(ch.resumed && ch.asked == nil) {
		c.settle(ch, fromWirePosition(p), answer.GetRecovered())
	}
	c.acknowledgeAgain(ch)
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
		t.seen, t.handled = from.Seq, from.Seq // whoever subscribes from there has it
	}
	if ch.asked != nil && recovered {
		t.epoch = newest.Epoch
		if from.Seq > 0 && !t.known {
			t.skip(from.Seq)
		}
		return
	}
	first, seen, handled := t.epoch == "", t.seen, t.handled
	t.moveTo(newest)
	if first && from.Epoch == newest.Epoch {
		t.seen, t.handled = seen, handled
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

// following reports whether the server has answered a subscription that covers a
// topic. What comes before that answer belongs to an earlier one, and is not all
// there is.
func (c *Client) following(name string) bool {
	for _, ch := range c.channels {
		if ch.live && ch.covers(name) {
			return true
		}
	}
	return false
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
	s.stop()
	for {
		select {
		case d := <-s.queue:
			s.c.acknowledge(d)
		default:
			return
		}
	}
}
