package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
)

// outgoing is a message as a request brings it: the fields of the protocol's
// publish command.
type outgoing struct {
	Topic       string            `json:"topic"`
	Type        string            `json:"type"`
	Key         string            `json:"key"`
	From        string            `json:"from"`
	Payload     json.RawMessage   `json:"payload"`
	Data        []byte            `json:"data"`
	Headers     map[string]string `json:"headers"`
	Retain      bool              `json:"retain"`
	ExpiresInMS uint64            `json:"expires_in_ms"`
}

type publishedBody struct {
	Position  message.Position `json:"position"`
	Duplicate bool             `json:"duplicate"`
}

const (
	maxType    = 255
	maxUser    = 255
	maxHeaders = 32
	maxExpiry  = 365 * 24 * time.Hour
)

// message checks o and makes the envelope. From is the server's to say: a user
// publishes as that user, the backend in the name of whom it likes.
func (a *API) message(o outgoing, who caller) (*message.Message, error) {
	name, err := topic.ParseName(o.Topic)
	if err != nil {
		return nil, protocol.BadRequest.Errorf("topic: %w", err)
	}
	m := &message.Message{
		Topic: string(name), Type: o.Type, From: who.User, Key: o.Key, Headers: o.Headers,
		Payload: o.Payload, Retain: o.Retain,
	}
	switch {
	case o.Payload != nil && o.Data != nil:
		return nil, protocol.BadRequest.Errorf("send either payload (JSON) or data (base64), not both")
	case o.Data != nil:
		m.Payload, m.Binary = o.Data, true
	}
	switch {
	case len(m.Payload) > a.cfg.MaxPayload:
		return nil, protocol.TooLarge.Errorf("the payload has %d bytes, at most %d: send a reference to where the rest is", len(m.Payload), a.cfg.MaxPayload)
	case len(o.Type) > maxType:
		return nil, protocol.BadRequest.Errorf("the type has %d bytes, at most %d", len(o.Type), maxType)
	case len(o.From) > maxUser:
		return nil, protocol.BadRequest.Errorf("from has %d bytes, at most %d", len(o.From), maxUser)
	case len(o.Headers) > maxHeaders:
		return nil, protocol.BadRequest.Errorf("there are %d headers, at most %d", len(o.Headers), maxHeaders)
	case o.ExpiresInMS > uint64(maxExpiry.Milliseconds()):
		return nil, protocol.BadRequest.Errorf("expires_in_ms is more than a year")
	case o.ExpiresInMS > 0:
		m.ExpiresAt = time.Now().UnixMilli() + int64(o.ExpiresInMS)
	}
	switch {
	case who.backend:
		m.From = o.From
	case o.From != "" && o.From != who.User:
		return nil, protocol.Forbidden.Errorf("you publish as %s: only a holder of an API key may set from", who.User)
	case o.Type != "" && a.node.Handled(o.Type):
		// On a connection the handler would decide; this must be no way around it.
		return nil, protocol.Forbidden.Errorf("the application decides about messages of type %s: send this one over a connection", o.Type)
	}
	return m, nil
}

// accepted is the broker's answer, awaited.
type accepted struct {
	result broker.Result
	err    error
}

// begin hands a message to the broker, after asking the rules, and returns where
// the answer will arrive. Messages begun one after the other keep that order.
func (a *API) begin(ctx context.Context, o outgoing, who caller) (<-chan accepted, error) {
	m, err := a.message(o, who)
	if err != nil {
		return nil, err
	}
	if err := a.allowed(ctx, who, auth.ActionPublish, topic.Filter(m.Topic)); err != nil {
		return nil, err
	}
	answer := make(chan accepted, 1)
	a.topics.Publish(pubsub.Publication{Message: m}, func(r broker.Result, err error) { answer <- accepted{r, err} })
	return answer, nil
}

func await(ctx context.Context, answer <-chan accepted) (*publishedBody, error) {
	select {
	case got := <-answer:
		if got.err != nil {
			return nil, got.err
		}
		return &publishedBody{got.result.Position, got.result.Duplicate}, nil
	case <-ctx.Done():
		return nil, protocol.Timeout.Hide(ctx.Err(), "the message was not accepted in time; it may still be: publish again with the same key")
	}
}

func (a *API) publish(w http.ResponseWriter, r *http.Request, who caller) error {
	var o outgoing
	if err := decode(r, &o); err != nil {
		return err
	}
	pending, err := a.begin(r.Context(), o, who)
	if err != nil {
		return err
	}
	body, err := await(r.Context(), pending)
	if err != nil {
		return err
	}
	return answer(w, body)
}

// batch publishes many messages in their order. Each has its own result: one that
// is refused does not hold up those behind it.
func (a *API) batch(w http.ResponseWriter, r *http.Request, who caller) error {
	var in struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	switch n := len(in.Messages); {
	case n == 0:
		return protocol.BadRequest.Errorf(`the batch is empty: send {"messages":[{"topic":"…","payload":…}]}`)
	case n > a.cfg.MaxBatch:
		return protocol.TooLarge.Errorf("the batch has %d messages, at most %d: send several batches", n, a.cfg.MaxBatch)
	}
	ctx := r.Context()
	pending := make([]<-chan accepted, len(in.Messages))
	results := make([]any, len(in.Messages)) // of publishedBody and refusalBody
	fail := func(i int, err error) {
		results[i] = refusalBody{problemOf(a.known(ctx, err), "")}
	}
	for i, raw := range in.Messages {
		o, err := decodeItem(raw)
		if err == nil {
			pending[i], err = a.begin(ctx, o, who)
		}
		if err != nil {
			fail(i, err)
		}
	}
	for i, p := range pending {
		if p == nil {
			continue
		}
		body, err := await(ctx, p)
		if err != nil {
			fail(i, err)
			continue
		}
		results[i] = body
	}
	return answer(w, map[string]any{"results": results})
}

func decodeItem(raw json.RawMessage) (outgoing, error) {
	var o outgoing
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&o); err != nil {
		return o, badBody(err)
	}
	return o, nil
}
