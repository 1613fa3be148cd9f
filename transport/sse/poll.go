package sse

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
)

// maxPoll is about how many bytes of messages one answer holds. The rest is for
// the next.
const maxPoll = 512 << 10

// pollPatience is how long an answer waits for what is kept, some of which may
// have expired or be the client's own.
const pollPatience = 500 * time.Millisecond

// pollBody is the answer to a poll.
type pollBody struct {
	Messages []json.RawMessage `json:"messages"`
	// Events are what else was said, as the native protocol says it.
	Events []json.RawMessage `json:"events,omitempty"`
	ID     string            `json:"id"`
	// RetryAfterMS asks to wait before the next poll.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

// Poll answers a request as soon as there is something, or with nothing when
// its timeout is over. It is otherwise like Serve.
func (s *Server) Poll(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
	info.Transport = "poll"
	a, bad := s.check(w, r, info)
	if bad != nil {
		s.sessions.Release(info.Address)
		return bad
	}
	st, done, bad := s.begin(info, a)
	defer done()
	if bad != nil {
		return bad
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // or net/http takes its own for the client's end
	p := &poll{ask: a, st: st}
	p.start()
	p.collect(r.Context())
	done() // the next poll may come before this one is answered to the end
	text, err := json.Marshal(p.body())
	if err != nil {
		return protocol.Internal.Hide(err, "the answer could not be encoded")
	}
	s.answer(w, control, append(text, '\n'))
	return nil
}

// answer writes a whole answer within the time that a client has for that, and
// leaves none of it to be written later. A client that is gone needs none.
func (s *Server) answer(w http.ResponseWriter, control *http.ResponseController, text []byte) {
	setHeaders(w.Header(), "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return
	}
	n, err := w.Write(text)
	s.stats.bytesOut.Add(uint64(n))
	if err == nil && control.Flush() == nil {
		_ = control.SetWriteDeadline(time.Time{}) // it was for this answer only
	}
}

// poll gathers one answer.
type poll struct {
	ask    *ask
	st     *stream
	at     *cursor
	newest map[string]uint64 // of the topics that more is kept of
	answer pollBody
	bytes  int
}

func (p *poll) start() {
	at, gaps := p.ask.start(p.st.answer.GetConnected())
	p.at, p.newest = at, make(map[string]uint64)
	for _, sub := range p.st.answer.GetConnected().GetSubscriptions() {
		p.newest[sub.GetTopic()] = sub.GetPosition().GetSeq()
	}
	for _, g := range gaps {
		p.answer.Events = append(p.answer.Events, native(gapReply(g)))
	}
}

// collect takes what comes: of what is kept all, or as much as one answer
// holds, and otherwise the first that is published.
func (p *poll) collect(ctx context.Context) {
	timeout, patience := time.NewTimer(p.ask.timeout), time.NewTimer(pollPatience)
	defer timeout.Stop()
	defer patience.Stop()
	over := false
	for {
		items, pinged, last := p.st.take(nil)
		p.add(items)
		some := len(p.answer.Messages)+len(p.answer.Events) > 0
		if last || p.bytes >= maxPoll || (some || over) && !p.behind() {
			return
		}
		if pinged {
			p.st.alive()
		}
		select {
		case <-p.st.wake:
		case <-timeout.C:
			over = true
		case <-patience.C:
			p.newest = nil
		case <-ctx.Done():
			return
		}
	}
}

// behind reports whether more of what is kept is on its way.
func (p *poll) behind() bool {
	for topic, seq := range p.newest {
		if at, _ := p.at.position(topic); at.Seq >= seq {
			delete(p.newest, topic)
		}
	}
	return len(p.newest) > 0
}

func (p *poll) add(items []item) {
	size := 0
	for _, it := range items {
		size += len(*it.frame)
		p.ask.moves(p.at, it)
		if it.message != nil {
			p.answer.Messages = append(p.answer.Messages, inner(*it.frame))
			continue
		}
		if l := it.reply.GetLeaving(); l != nil {
			p.answer.RetryAfterMS = comeBack(l).Milliseconds()
		}
		p.answer.Events = append(p.answer.Events, native(it.reply))
	}
	p.bytes += size
	p.st.wrote(size)
}

func native(r *parleyv1.Reply) json.RawMessage { return protocol.JSON{}.AppendReply(nil, r) }

func (p *poll) body() pollBody {
	p.answer.ID = string(p.at.appendID(nil))
	if p.answer.Messages == nil {
		p.answer.Messages = []json.RawMessage{}
	}
	return p.answer
}
