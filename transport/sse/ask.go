package sse

import (
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
)

// maxTopics bounds the topics of a request: each of them is a part of every id.
const maxTopics = 100

// Bounds of a poll.
const (
	pollTimeout    = 25 * time.Second
	maxPollTimeout = 60 * time.Second
)

// ask is what a request asks for.
type ask struct {
	topics  []string
	wants   map[string]want
	timeout time.Duration // of a poll
}

// want is one topic or pattern.
type want struct {
	wild    bool
	resumes bool              // the client was there before
	since   *message.Position // where it got to, if that is known
}

// parse reads a request. An id that is not ours, or not any more, is no
// mistake of the client: it is told that it has missed something.
func parse(r *http.Request) (*ask, *protocol.Error) {
	q := r.URL.Query()
	a := &ask{topics: q["topic"], wants: make(map[string]want), timeout: pollTimeout}
	if len(a.topics) == 0 {
		return nil, protocol.BadRequest.Errorf("say what to listen to: ?topic=room/1&topic=news/%%23")
	}
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = q.Get("last_event_id")
	}
	at, unknown := &cursor{}, false
	if id != "" {
		if known, err := parseID(id); err == nil {
			at = known
		} else {
			unknown = true
		}
	}
	for _, text := range a.topics {
		f, err := topic.ParseFilter(text)
		if err != nil {
			return nil, protocol.BadRequest.Errorf("topic: %w", err)
		}
		if strings.HasPrefix(text, "$") {
			return nil, protocol.BadRequest.Errorf("topic: %s: topics that begin with $ are not listened to by name", text)
		}
		w := want{wild: f.Wildcard(), resumes: unknown}
		if p, known := at.position(text); known {
			w.since, w.resumes = &p, true
		}
		a.wants[text] = w
	}
	if len(a.wants) > maxTopics {
		return nil, protocol.LimitReached.Errorf("%d topics are listened to, at most %d: use a wildcard", len(a.wants), maxTopics)
	}
	if text := q.Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return nil, protocol.BadRequest.Errorf("timeout=%.32q: write it as 25s", text)
		}
		a.timeout = min(d, maxPollTimeout)
	}
	return a, nil
}

// subscriptions are those of the connect command, each topic once.
func (a *ask) subscriptions() []*parleyv1.Subscribe {
	out := make([]*parleyv1.Subscribe, 0, len(a.wants))
	seen := make(map[string]bool, len(a.wants))
	for _, name := range a.topics {
		if seen[name] {
			continue
		}
		seen[name] = true
		s := &parleyv1.Subscribe{Topic: name}
		if w := a.wants[name]; w.since != nil && !w.wild {
			s.Since = protocol.WirePosition(*w.since)
		}
		out = append(out, s)
	}
	return out
}

// moves notes in at how far the client has got with an item, and reports whether
// that changes its id: what has no place in a history does not, nor what is
// sent to a person, nor the topics of a pattern.
func (a *ask) moves(at *cursor, it item) bool {
	topic, p := it.place()
	w, named := a.wants[topic]
	if !named || w.wild || p.Seq == 0 && it.message != nil {
		return false
	}
	at.set(topic, p)
	return true
}
