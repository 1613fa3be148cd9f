package client

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	historyPage = 200    // messages a repair asks for at once
	maxPlaces   = 10_000 // topics whose place is remembered
	maxRecover  = 200    // of those seen through wildcards, how many are asked for after a reconnect
)

// Everything in this file runs with the client's lock held.

// receive takes one reply.
func (c *Client) receive(l *link, r *parleyv1.Reply) {
	if id := r.GetId(); id != 0 {
		c.answered(l, id, r)
		return
	}
	switch r := r.GetReply().(type) {
	case *parleyv1.Reply_Message:
		c.message(fromWireMessage(r.Message))
	case *parleyv1.Reply_Ping:
		l.send(&parleyv1.Command{Command: &parleyv1.Command_Pong{Pong: &parleyv1.Pong{}}})
	case *parleyv1.Reply_Gap:
		c.moved(r.Gap.GetTopic(), fromWirePosition(r.Gap.GetPosition()))
	case *parleyv1.Reply_Skipped: // it is not to be read from the history: we are behind as it is
		c.left(r.Skipped.GetTopic(), r.Skipped.GetSeq())
	case *parleyv1.Reply_Joined:
		c.came(Presence{Topic: r.Joined.GetTopic(), User: r.Joined.GetUser(), Joined: true})
	case *parleyv1.Reply_Left:
		c.came(Presence{Topic: r.Left.GetTopic(), User: r.Left.GetUser()})
	case *parleyv1.Reply_Receipt:
		c.receipt(fromWireReceipt(r.Receipt))
	case *parleyv1.Reply_Leaving:
		l.leaving = r.Leaving.GetReason()
		l.retryAfter = milliseconds(r.Leaving.GetRetryAfterMs())
	case *parleyv1.Reply_Unsubscribed:
		// Behind a refusal that may pass it only says the same again.
		if ch := c.channels[r.Unsubscribed.GetTopic()]; ch != nil && !ch.again {
			c.refused(ch, &Error{Code: "forbidden", Status: 403, Retry: "never", Message: "the server ended the subscription to " + ch.filter})
		}
	case *parleyv1.Reply_Error:
		c.trouble(fromWire(r.Error))
	}
}

// answered settles the command numbered id.
func (c *Client) answered(l *link, id uint64, r *parleyv1.Reply) {
	var err error
	if e := r.GetError(); e != nil {
		r, err = nil, fromWire(e)
	}
	if a := l.asks[id]; a != nil {
		delete(l.asks, id)
		a.answer(r, err)
		return
	}
	refusal, ok := errors.AsType[*Error](err)
	if c.outbox.byID[id] != nil {
		c.conclude(l, id, r, refusal)
		return
	}
	if !ok {
		return // the answer to a command that was given up
	}
	// A subscription can fail after it was answered, while it reads history.
	for _, ch := range c.channels {
		if ch.askedID == id {
			c.refused(ch, refusal)
			return
		}
	}
	c.trouble(refusal)
}

// conclude takes the answer to something in the outbox.
func (c *Client) conclude(l *link, id uint64, r *parleyv1.Reply, refusal *Error) {
	e, paused, wait := c.outbox.settle(id, refusal)
	switch {
	case paused != nil:
		c.later(l, wait, func() {
			c.outbox.restart(paused)
			c.pump()
		})
	case e == nil: // it is sent again
	case refusal != nil:
		e.answer(nil, refusal)
	default:
		e.answer(r, nil)
	}
	c.pump()
}

// later calls f after a while, with the lock held, if l is still the link.
func (c *Client) later(l *link, wait time.Duration, f func()) {
	c.running.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.Done():
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link == l {
			f()
		}
	})
}

// place returns where a topic stands, as far as is known.
func (c *Client) place(name string) *place {
	if t := c.places[name]; t != nil {
		return t
	}
	if len(c.places) >= maxPlaces {
		for old := range c.places {
			if c.channels[old] == nil { // any that came through a wildcard
				delete(c.places, old)
				break
			}
		}
	}
	t := &place{topic: name}
	c.places[name] = t
	return t
}

// message finds out where a live message belongs: to the handlers, behind a
// repair, or nowhere because it is known.
func (c *Client) message(m Message) {
	switch {
	case m.Share != "":
		c.shared(m)
		return
	case m.Seq == 0 || strings.HasPrefix(m.Topic, "$") && c.channels[m.Topic] == nil:
		c.dispatch(nil, m)
		return
	case c.config.device != "" && !c.following(m.Topic):
		return // the session wants it, nobody here follows it yet: unacknowledged, it comes again
	}
	t := c.place(m.Topic)
	if m.Epoch != "" && t.epoch != "" && m.Epoch != t.epoch {
		c.moved(m.Topic, Position{Epoch: m.Epoch, Seq: m.Prev})
	}
	t.epoch = cmp.Or(t.epoch, m.Epoch)
	switch {
	case m.Seq <= t.seen: // a duplicate; its acknowledgement may be lost
		if m.Seq <= t.handled {
			c.link.ack(m.Topic, t.handled)
		}
	case t.repairing:
		t.hold(m)
	case t.misses(&m):
		t.hold(m)
		c.repair(c.link, t, false)
	default:
		c.take(t, m)
	}
}

func (c *Client) take(t *place, m Message) {
	t.took(&m)
	m.Epoch = cmp.Or(m.Epoch, t.epoch) // its position is to be stored
	c.dispatch(t, m)
}

// dispatch hands m to everybody who wants it.
func (c *Client) dispatch(t *place, m Message) {
	if strings.HasPrefix(m.Topic, "$") {
		for _, s := range slices.Clone(c.direct) {
			c.deliver(s, delivery{m: m})
		}
	}
	var wanted []*Subscription
	reliable := false
	for _, ch := range c.channels {
		if ch.covers(m.Topic) {
			wanted = append(wanted, ch.subs...)
			reliable = reliable || ch.qos > 0
		}
	}
	if !reliable || m.Seq == 0 {
		t = nil
	}
	if t != nil {
		t.begin(m.Seq, len(wanted))
	}
	for _, s := range wanted {
		c.deliver(s, delivery{m: m, place: t})
	}
}

// deliver queues d for one handler.
func (c *Client) deliver(s *Subscription, d delivery) {
	switch {
	case s.err != nil || d.m.Seq > 0 && d.m.Seq <= s.after:
		c.acknowledge(d)
	case !s.filling:
		c.enqueue(s, d)
	case len(s.held) < maxHeld:
		s.held = append(s.held, d)
	default:
		s.more = true
		c.acknowledge(d)
	}
}

func (c *Client) enqueue(s *Subscription, d delivery) {
	select {
	case s.queue <- d:
	default:
		c.acknowledge(d)
		c.leave(s)
		s.end(ErrSlow)
	}
}

// repair reads what lies after a topic's place, then lets the held messages
// through. further: this is not the first page.
func (c *Client) repair(l *link, t *place, further bool) {
	t.repairing = true
	c.askHistory(l, t.topic, *t.since(), func(page Page, err error) {
		switch {
		case errors.Is(err, ErrDisconnected) || c.places[t.topic] != t:
			return
		case err != nil:
			c.release(l, t)
			return
		case page.Position.Epoch != "" && t.epoch != "" && page.Position.Epoch != t.epoch:
			c.moved(t.topic, page.Position)
			c.release(l, t)
			return
		}
		for i, m := range page.Messages {
			if i == 0 && !further && t.misses(&m) {
				c.tellGap(t.topic, page.Position)
			}
			if _, mine := t.own[m.Seq]; mine {
				t.skip(m.Seq)
			} else if m.Seq > t.seen {
				c.take(t, m)
			}
		}
		if page.More && len(page.Messages) > 0 {
			c.repair(l, t, true)
			return
		}
		if newest := page.Position.Seq; len(page.Messages) == 0 && newest > t.seq {
			if _, mine := t.own[newest]; !mine { // nothing of what was missed is kept
				c.moved(t.topic, page.Position)
			}
		}
		c.release(l, t)
	})
}

// release lets the held messages through.
func (c *Client) release(l *link, t *place) {
	held, overflowed := t.held, t.overflowed
	t.lost()
	for _, m := range held {
		if m.Seq <= t.seen {
			continue
		}
		if t.misses(&m) {
			c.tellGap(t.topic, Position{})
		}
		c.take(t, m)
	}
	if overflowed {
		c.repair(l, t, false)
	}
}

// recoverWildcards asks for what was missed on topics that were seen through a
// filter, which has no place of its own. Topics beyond the limit are repaired
// with their next message.
func (c *Client) recoverWildcards(l *link) {
	var missed []*place
	for name, t := range c.places {
		if c.channels[name] == nil && t.known && !c.resumes(name) {
			missed = append(missed, t)
		}
	}
	slices.SortFunc(missed, func(a, b *place) int { return cmp.Compare(b.last, a.last) })
	for _, t := range missed[:min(len(missed), maxRecover)] {
		c.repair(l, t, false)
	}
}

// fill reads the older messages that a later subscription asked for.
func (c *Client) fill(l *link, s *Subscription) {
	from := Position{Epoch: s.interest.since.Epoch, Seq: s.after}
	c.askHistory(l, s.topic, from, func(page Page, err error) {
		if errors.Is(err, ErrDisconnected) || s.err != nil {
			return
		}
		if err != nil && s.interest.gap != nil {
			c.events.tell(func() { s.interest.gap(Gap{Topic: s.topic}) })
		}
		for _, m := range page.Messages {
			if m.Seq > s.after {
				s.after = m.Seq
				c.enqueue(s, delivery{m: m})
			}
		}
		if err == nil && (page.More && len(page.Messages) > 0 || s.more) {
			if !page.More {
				s.more = false
			}
			c.fill(l, s)
			return
		}
		held := s.held
		s.filling, s.held = false, nil
		for _, d := range held {
			c.deliver(s, d)
		}
	})
}

// askHistory asks for the page after a position, on this connection.
func (c *Client) askHistory(l *link, name string, after Position, answer func(Page, error)) {
	h := &parleyv1.History{Topic: name, After: &parleyv1.Position{Epoch: after.Epoch, Seq: after.Seq}, Limit: historyPage}
	c.ask(l, &parleyv1.Command{Command: &parleyv1.Command_History{History: h}}, func(r *parleyv1.Reply, err error) {
		if err != nil {
			answer(Page{}, err)
			return
		}
		answer(fromWirePage(r.GetHistory()), nil)
	})
}

// moved goes on after p because what lies before it is lost.
func (c *Client) moved(name string, p Position) {
	t := c.place(name)
	t.moveTo(p)
	delete(c.reads, name)
	c.tellGap(name, p)
}

// left goes on after seq, because the server left out what lies before it. What
// is being read from the history is not affected.
func (c *Client) left(name string, seq uint64) {
	t := c.places[name]
	if t == nil || !t.known || t.repairing || seq <= t.seq {
		return
	}
	t.skip(seq)
	c.tellGap(name, Position{Epoch: t.epoch, Seq: seq})
}

// tellGap tells once that messages before p are lost.
func (c *Client) tellGap(name string, p Position) {
	t := c.place(name)
	if p != (Position{}) && t.gap == p {
		return
	}
	t.gap = p
	g := Gap{Topic: name, Position: p}
	for _, ch := range c.channels {
		if !ch.covers(name) {
			continue
		}
		for _, s := range ch.subs {
			s.after = 0
			if f := s.interest.gap; f != nil {
				c.events.tell(func() { f(g) })
			}
		}
	}
	if f := c.config.onGap; f != nil {
		c.events.tell(func() { f(g) })
	}
}

func (c *Client) came(p Presence) {
	for _, ch := range c.channels {
		if !ch.covers(p.Topic) {
			continue
		}
		for _, s := range ch.subs {
			if f := s.interest.presence; f != nil {
				c.events.tell(func() { f(p) })
			}
		}
	}
}
