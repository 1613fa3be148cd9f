package client

import (
	"context"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Receipt tells how far somebody has got in a topic. In a larger topic it tells
// how many people have, and not who; in the largest there are none.
type Receipt struct {
	Topic     string
	User      string // "" where only numbers are told
	Epoch     string // of both positions
	Delivered uint64 // everything up to this Seq has reached them
	Read      uint64 // and up to this one they have read
	// Where only numbers are told: how many people have got that far.
	DeliveredBy, ReadBy int
}

func fromWireReceipt(r *parleyv1.Receipt) Receipt {
	return Receipt{
		Topic: r.GetTopic(), User: r.GetUser(), Epoch: r.GetEpoch(), Delivered: r.GetDelivered(), Read: r.GetRead(),
		DeliveredBy: int(r.GetDeliveredBy()), ReadBy: int(r.GetReadBy()),
	}
}

// maxReads is of how many topics it is remembered how far was read.
const maxReads = 1000

// WithReceipts tells f how far the others on the topic have got, as it changes.
// The topic's settings must keep receipts.
func WithReceipts(f func(Receipt)) SubscribeOption { return func(i *interest) { i.receipts = f } }

// Receipts returns how far people have got in a topic.
func (c *Client) Receipts(ctx context.Context, topic string) ([]Receipt, error) {
	command := &parleyv1.Command{Command: &parleyv1.Command_Receipts{Receipts: &parleyv1.Receipts{Topic: topic}}}
	r, err := c.request(ctx, "receipts of "+topic, command, 0, true)
	if err != nil {
		return nil, err
	}
	var out []Receipt
	for _, one := range r.GetReceipts().GetReceipts() {
		out = append(out, fromWireReceipt(one))
	}
	return out, nil
}

// Read tells the others on a topic how far was read. Without a connection it is
// told with the next one.
func (c *Client) Read(topic string, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq <= c.reads[topic] {
		return
	}
	if len(c.reads) >= maxReads {
		for old := range c.reads { // any: most have long arrived
			delete(c.reads, old)
			break
		}
	}
	c.reads[topic] = seq
	if c.open {
		c.tellRead(c.link, topic, seq)
	}
}

// tellRead keeps what it tells until the next connection: that it was sent does
// not mean that it arrived.
func (c *Client) tellRead(l *link, topic string, seq uint64) {
	l.send(&parleyv1.Command{Command: &parleyv1.Command_Read{Read: &parleyv1.Read{Topic: topic, Seq: seq}}})
}

// tellReads tells a new connection what was read. The lock is held.
func (c *Client) tellReads(l *link) {
	for topic, seq := range c.reads {
		c.tellRead(l, topic, seq)
	}
}

// receipt hands r to those who want to know. The lock is held.
func (c *Client) receipt(r Receipt) {
	for _, ch := range c.channels {
		if !ch.covers(r.Topic) {
			continue
		}
		for _, s := range ch.subs {
			if f := s.interest.receipts; f != nil {
				c.events.tell(func() { f(r) })
			}
		}
	}
}
