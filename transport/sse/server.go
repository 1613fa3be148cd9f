// Package sse speaks Server-Sent Events, for pages that only listen, and long
// polling for networks that break streams. Both take the topics from the
// request, and an id that says how far the client has got in all of them.
//
// Every request is a session of its own: it is subscribed by the connect
// command that the server makes of it, and held to the same limits, rights and
// ends as any other connection. Its goroutine is the one that net/http has for
// it anyway.
package sse

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
)

// Times of a stream.
const (
	writeTimeout = 20 * time.Second       // for a client that takes nothing
	hurriedWrite = 500 * time.Millisecond // for what is said to one that is cut
	quiet        = 15 * time.Second       // without anything, then a comment is due,
	quietSpread  = 10 * time.Second       // or so much later: not all at once
	retry        = time.Second            // a browser comes back after that,
	retrySpread  = 2 * time.Second        // or so much later
)

// flushAt is how much is gathered before it is written.
const flushAt = 32 << 10

// Server answers requests for a session manager. Methods may be called
// concurrently.
type Server struct {
	sessions *session.Manager
	limits   session.Limits
	stats    stats
	buffers  sync.Pool // of *[]byte
	streams  sync.WaitGroup
}

type stats struct {
	open              atomic.Int64
	dropped, bytesOut atomic.Uint64
	skipped           [hub.Pressures]atomic.Uint64
}

// Stats are counts since the start, but for Open.
type Stats struct {
	Open     int               // requests being answered
	BytesOut uint64            // of events and answers
	Dropped  uint64            // events left out for receivers under pressure
	Skipped  map[string]uint64 // messages, by the policy of their topic
}

// New returns a server for the sessions of m. Wait ends it.
func New(m *session.Manager) *Server {
	s := &Server{sessions: m, limits: m.Limits}
	s.buffers.New = func() any {
		b := make([]byte, 0, 4<<10)
		return &b
	}
	return s
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	skipped := make(map[string]uint64)
	for i := range s.stats.skipped {
		if n := s.stats.skipped[i].Load(); n > 0 {
			skipped[hub.Pressure(i).String()] = n
		}
	}
	return Stats{
		Open: int(s.stats.open.Load()), BytesOut: s.stats.bytesOut.Load(), Dropped: s.stats.dropped.Load(), Skipped: skipped,
	}
}

// Wait returns when every request is answered.
func (s *Server) Wait() { s.streams.Wait() }

// aside is how much may wait in a stream's queue before messages that need not
// all be sent wait in the backlog instead.
func (s *Server) aside() int { return min(64<<10, s.limits.QueueBytes/4) }

// begin makes a session of a request that the manager has admitted. done must
// be called once it needs no session any more, and more often does nothing.
func (s *Server) begin(info session.Info, a *ask) (st *stream, done func(), bad *protocol.Error) {
	s.streams.Add(1)
	s.stats.open.Add(1)
	st = s.newStream()
	st.left = len(a.wants)
	st.session = s.sessions.Accept(st, info)
	st.session.Handle([]protocol.Incoming{{ID: connectID, Command: &parleyv1.Command{
		Id: connectID, Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Clean: true, Subscriptions: a.subscriptions()}},
	}}})
	done = sync.OnceFunc(func() {
		st.leave()
		s.stats.open.Add(-1)
		s.streams.Done()
	})
	bad = st.refusal()
	return st, done, bad
}

// leave ends the session. Nobody waits for what is still queued.
func (st *stream) leave() {
	r := protocol.Closed
	if end := st.end.Load(); end != nil {
		r = *end
	}
	st.attach(nil)
	st.Abort()
	// What goes on does so by its id: of the session nothing is to be kept.
	r.Retry = protocol.RetryNever
	st.session.End(r)
}

// refusal tells why the session does not begin: it is not who it should be, or
// may not have one of the topics.
func (st *stream) refusal() *protocol.Error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.answer == nil { // it had to leave before it began
		reason := protocol.Internal
		if end := st.end.Load(); end != nil {
			reason = *end
		}
		return reason.Errorf("the connection ended before it began: come again")
	}
	if e := st.answer.GetError(); e != nil {
		return errorOf(e)
	}
	for _, sub := range st.answer.GetConnected().GetSubscriptions() {
		if e := sub.GetError(); e != nil {
			bad := errorOf(e)
			bad.Message = sub.GetTopic() + ": " + bad.Message
			return bad
		}
	}
	return nil
}

func errorOf(e *parleyv1.Error) *protocol.Error {
	reason := protocol.Internal
	for _, r := range protocol.Reasons() {
		if r.Code == e.GetCode() {
			reason = r
		}
	}
	return reason.Hide(nil, e.GetMessage()).After(time.Duration(e.GetRetryAfterMs()) * time.Millisecond)
}

// start returns where the stream begins, and the gaps before that.
func (a *ask) start(c *parleyv1.Connected) (at *cursor, gaps []*parleyv1.Gap) {
	at = &cursor{}
	for _, sub := range c.GetSubscriptions() {
		w := a.wants[sub.GetTopic()]
		p := message.Position{Epoch: sub.GetPosition().GetEpoch(), Seq: sub.GetPosition().GetSeq()}
		switch {
		case w.wild:
			if w.resumes {
				gaps = append(gaps, &parleyv1.Gap{Topic: sub.GetTopic()})
			}
			continue
		case w.since != nil && sub.GetRecovered():
			p = *w.since
		case w.resumes:
			gaps = append(gaps, &parleyv1.Gap{Topic: sub.GetTopic(), Position: sub.GetPosition()})
		}
		at.set(sub.GetTopic(), p)
	}
	return at, gaps
}

func gapReply(g *parleyv1.Gap) *parleyv1.Reply {
	return &parleyv1.Reply{Reply: &parleyv1.Reply_Gap{Gap: g}}
}

func spread(from, over time.Duration) time.Duration {
	return from + rand.N(over) //nolint:gosec // nobody gains from guessing it
}

func setHeaders(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
}
