package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/topic"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

type historyBody struct {
	Topic    string            `json:"topic"`
	Messages []json.RawMessage `json:"messages"`
	Position message.Position  `json:"position"`
	More     bool              `json:"more"`
	Gap      bool              `json:"gap"`
}

type memberBody struct {
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Devices int    `json:"devices"`
	Since   int64  `json:"since"` // Unix milliseconds
}

type presenceBody struct {
	Topic   string       `json:"topic"`
	Members []memberBody `json:"members"`
}

func topicOf(r *http.Request) (topic.Name, error) {
	name, err := topic.ParseName(r.URL.Query().Get("topic"))
	if err != nil {
		return "", protocol.BadRequest.Errorf("topic: %w", err)
	}
	return name, nil
}

// history answers GET /history. With after_seq it reads forward from there,
// without it the newest messages; the page itself is always oldest first.
func (a *API) history(w http.ResponseWriter, r *http.Request, who caller) error {
	name, err := topicOf(r)
	if err != nil {
		return err
	}
	q, err := historyQuery(r)
	if err != nil {
		return err
	}
	if err := a.allowed(r.Context(), who, auth.ActionHistory, topic.Filter(name)); err != nil {
		return err
	}
	page, err := a.topics.History(r.Context(), name, q)
	if err != nil {
		return err
	}
	body := historyBody{Topic: string(name), Messages: make([]json.RawMessage, len(page.Messages)), Position: page.Position, More: page.More, Gap: page.Gap}
	for i, m := range page.Messages {
		if body.Messages[i], err = wire(m); err != nil {
			return err
		}
	}
	return answer(w, body)
}

func historyQuery(r *http.Request) (broker.Query, error) {
	after, forward, err := number(r, "after_seq")
	if err != nil {
		return broker.Query{}, err
	}
	before, _, err := number(r, "before_seq")
	if err != nil {
		return broker.Query{}, err
	}
	limit, given, err := number(r, "limit")
	switch {
	case err != nil:
		return broker.Query{}, err
	case !given:
		limit = defaultPage
	case limit == 0 || limit > maxPage:
		return broker.Query{}, protocol.BadRequest.Errorf("limit=%d: ask for 1 to %d messages", limit, maxPage)
	}
	return broker.Query{Epoch: r.URL.Query().Get("epoch"), After: after, Before: before, Limit: int(limit), Newest: !forward}, nil
}

// wire writes a message as receivers on a connection see it, so that there is
// one form of it.
func wire(m *message.Message) (json.RawMessage, error) {
	frame := protocol.JSON{}.AppendMessage(nil, m)
	body, headed := bytes.CutPrefix(frame, []byte(`{"message":`))
	body, tailed := bytes.CutSuffix(body, []byte("}"))
	if !headed || !tailed {
		return nil, protocol.Internal.Hide(errors.New("unexpected form of "+string(frame)), "a message could not be encoded")
	}
	return body, nil
}

func (a *API) presence(w http.ResponseWriter, r *http.Request, who caller) error {
	name, err := topicOf(r)
	if err != nil {
		return err
	}
	if err := a.allowed(r.Context(), who, auth.ActionPresence, topic.Filter(name)); err != nil {
		return err
	}
	members, err := a.topics.Presence(name)
	if err != nil {
		return err
	}
	body := presenceBody{Topic: string(name), Members: make([]memberBody, len(members))}
	for i, m := range members {
		body.Members[i] = memberBody{m.User, m.Name, m.Devices, m.Since.UnixMilli()}
	}
	return answer(w, body)
}
