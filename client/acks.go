package client

import "github.com/parleyhq/parley/topic"

// Everything in this file runs with the client's lock held, except handled and
// failed.

// handled notes that a handler is done with d.
func (c *Client) handled(d delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledge(d)
}

// failed gives d, which came through a group, to another member.
func (c *Client) failed(d delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*d.left = -1 // it is no longer ours
	if c.open {
		c.link.ackShared(d.m, true)
	}
}

// acknowledge notes that a handler is done with d.
func (c *Client) acknowledge(d delivery) {
	switch {
	case d.left != nil:
		if *d.left--; *d.left == 0 && c.open {
			c.link.ackShared(d.m, false)
		}
	case d.place != nil:
		if seq, grown := d.place.done(d.m.Seq); grown && c.open {
			c.link.ack(d.m.Topic, seq)
		}
	}
}

// acknowledgeAgain tells a server that has just restored ch what was handled
// before: the acknowledgement may be lost with the last connection.
func (c *Client) acknowledgeAgain(ch *channel) {
	if ch.qos == 0 || ch.group != "" {
		return
	}
	for name, t := range c.places {
		if t.handled > 0 && ch.covers(name) {
			c.link.ack(name, t.handled)
		}
	}
}

// resumes reports whether the server itself goes on with a topic that is seen
// through a pattern.
func (c *Client) resumes(name string) bool {
	for _, ch := range c.channels {
		if ch.resumed && ch.covers(name) {
			return true
		}
	}
	return false
}

// shared hands a message that came through a group to its handlers. A member
// sees a part of a topic only, so there is no place to keep.
func (c *Client) shared(m Message) {
	for _, ch := range c.channels {
		if ch.group != m.Share || !ch.inner.Matches(topic.Name(m.Topic)) {
			continue
		}
		left := len(ch.subs)
		for _, s := range ch.subs {
			c.deliver(s, delivery{m: m, left: &left})
		}
		return
	}
}
