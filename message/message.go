// Package message holds the envelope that travels from a publisher to every
// receiver, whatever protocol either of them speaks.
package message

import "time"

// Position is a place in the history of one topic.
type Position struct {
	// Epoch names one unbroken history. It changes when history was lost, so
	// that a sequence number of an older history is never taken for one of
	// the present.
	Epoch string `json:"epoch"`
	// Seq grows with every message of the topic, from 1. It need not be dense.
	Seq uint64 `json:"seq"`
}

// Message is one message of one topic. A published message is shared by all
// of its receivers: nobody may change it.
type Message struct {
	ID    string // unique, sorts by time (ULID)
	Topic string
	Type  string // what the payload is, in the application's words
	From  string // the user who published it; set by the server alone
	// Position: Prev is the Seq of the message before this one in its topic.
	// A receiver whose last Seq is not Prev has missed something.
	Epoch string
	Seq   uint64
	Prev  uint64
	Time  int64 // Unix milliseconds, when the server accepted it
	// Headers belong to the application. Nil when there are none.
	Headers map[string]string
	// Payload is JSON text, or any bytes when Binary is set.
	Payload []byte
	Binary  bool
	// Key makes a repeated publish of the same publisher harmless. Never sent
	// to receivers.
	Key string
	// Producer, when set, numbers what it publishes on each topic: N is this
	// message's number, from 1 without holes. A producer is one client of one
	// user; ProducerEpoch grows with each connection that takes it over, so that
	// what an older one still sends is refused. Never sent to receivers.
	Producer      string
	ProducerEpoch uint64
	N             uint64
	// Mark grows with every message that the engine places, whatever its topic;
	// 0 where the engine has no such order. Never sent to receivers.
	Mark uint64
	// Retain keeps the message as its topic's last value.
	Retain bool
	// ExpiresAt is the Unix millisecond after which the message is no longer
	// delivered; 0 means never.
	ExpiresAt int64
	// Retained, Share and Attempt belong to a copy made for one receiver: it is
	// handed over as the topic's last value, or as a member of the group Share,
	// after Attempt others had it.
	Retained bool
	Share    string
	Attempt  uint32
	// Except is the session that must not receive it (the sender's own, when
	// it asked for no echo); empty for none.
	Except string
}

// Position returns where the message stands in its topic.
func (m *Message) Position() Position { return Position{Epoch: m.Epoch, Seq: m.Seq} }

// Expired reports whether the message must no longer be delivered at now.
func (m *Message) Expired(now time.Time) bool {
	return m.ExpiresAt != 0 && now.UnixMilli() >= m.ExpiresAt
}

// Size returns the bytes the message takes in a queue or a log, near enough
// to account for it.
func (m *Message) Size() int {
	n := 240 + len(m.ID) + len(m.Topic) + len(m.Type) + len(m.From) + len(m.Payload) + len(m.Key) + len(m.Producer)
	for k, v := range m.Headers {
		n += 32 + len(k) + len(v)
	}
	return n
}
