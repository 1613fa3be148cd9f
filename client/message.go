package client

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Position is a place in the history of one topic.
type Position = message.Position

// Message is one message of one topic. Its byte slices are shared by all who
// receive it: do not change them.
type Message struct {
	Topic   string
	Seq     uint64 // 0: no history keeps it
	Prev    uint64 // the Seq before it in its topic
	Epoch   string // of Seq, when the server told
	ID      string
	Type    string // what the payload is, in the application's words
	From    string // the user who published it, as the server knows them
	Time    time.Time
	Payload json.RawMessage // JSON text
	Data    []byte          // any bytes, instead of Payload
	Headers map[string]string
	// Share is the group that the message came through, and Attempt how many
	// members had it before.
	Share   string
	Attempt int
	// Retained tells that it is the topic's last value, from before the
	// subscription.
	Retained bool
}

// Position returns the message's place in its topic, to be stored together with
// the work it caused: see StoredPosition.
func (m Message) Position() Position { return Position{Epoch: m.Epoch, Seq: m.Seq} }

// Decode reads the payload into v, which is a pointer.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("message %s of type %q on %s: %w", m.ID, m.Type, m.Topic, err)
	}
	return nil
}

func fromWireMessage(m *parleyv1.Message) Message {
	return Message{
		Topic: m.GetTopic(), Seq: m.GetSeq(), Prev: m.GetPrev(), Epoch: m.GetEpoch(), ID: m.GetId(),
		Type: m.GetType(), From: m.GetFrom(), Time: time.UnixMilli(m.GetTime()),
		Payload: m.GetPayload(), Data: m.GetData(), Headers: m.GetHeaders(),
		Share: m.GetShare(), Attempt: int(m.GetAttempt()), Retained: m.GetRetained(),
	}
}

func fromWirePosition(p *parleyv1.Position) Position {
	return Position{Epoch: p.GetEpoch(), Seq: p.GetSeq()}
}

// Page is a part of a topic's history.
type Page struct {
	Messages []Message // oldest first
	Position Position  // of the topic's newest message
	More     bool      // there are more in the asked direction
}

func fromWirePage(p *parleyv1.HistoryPage) Page {
	page := Page{Position: fromWirePosition(p.GetPosition()), More: p.GetMore()}
	for _, m := range p.GetMessages() {
		page.Messages = append(page.Messages, fromWireMessage(m))
	}
	return page
}

// Published is the answer to a publish.
type Published struct {
	Position
	Duplicate bool // the key was seen before; Position is that of the first
}

// Member is a person who is on a topic.
type Member struct {
	User    string
	Name    string
	Devices int
	Since   time.Time
}

// Gap tells that messages of a topic were lost and cannot be had again: read
// anew whatever was built from them.
type Gap struct {
	Topic    string
	Position Position // where the topic is now; zero when not known
}

// Presence tells that somebody came or left.
type Presence struct {
	Topic  string
	User   string
	Joined bool // false: left
}

// Status is where the connection stands.
type Status string

// What a connection can be.
const (
	Connecting   Status = "connecting"
	Connected    Status = "connected"
	Reconnecting Status = "reconnecting" // waiting for the next attempt, or in it
	Closed       Status = "closed"       // for good
)

// State is a Status with what belongs to it.
type State struct {
	Status  Status
	User    string        // Connected: who the server says this is
	Resumed bool          // Connected: the earlier session goes on
	Attempt int           // Reconnecting: counted from 1
	RetryIn time.Duration // Reconnecting: until the next attempt
	Reason  string        // Reconnecting, Closed
	Code    int           // Closed: the WebSocket close code, when there was one
}

// retryOf names the advice of a close code: 4500 to 4999 do not come back.
func retryOf(code int) protocol.Retry {
	if code >= stayAway && code <= 4999 {
		return protocol.RetryNever
	}
	return protocol.RetryLater
}
