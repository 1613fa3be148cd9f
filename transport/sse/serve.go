package sse

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
)

// Serve answers a request with a stream of events, and returns at its end. The
// session manager has admitted it; if nothing comes of it, the admission is
// released. When Serve returns an error, nothing was written and the caller
// answers with it.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, info session.Info) *protocol.Error {
	info.Transport = "sse"
	a, bad := s.check(w, r, info)
	if bad != nil {
		s.sessions.Release(info.Address)
		return bad
	}
	st, done, bad := s.begin(r.Context(), info, a)
	defer done()
	if bad != nil {
		return bad
	}
	o := &out{st: st, w: w, control: http.NewResponseController(w)}
	st.attach(o.control.SetWriteDeadline)
	_ = o.control.SetReadDeadline(time.Time{}) // where there is none, nothing has to be undone
	o.start(r, a)
	if err := o.run(r.Context()); errors.Is(err, os.ErrDeadlineExceeded) {
		stalled := protocol.SlowConsumer
		st.end.CompareAndSwap(nil, &stalled)
	}
	return nil
}

// check tells what is wrong with a request before anything is begun.
func (s *Server) check(w http.ResponseWriter, r *http.Request, info session.Info) (*ask, *protocol.Error) {
	switch {
	case r.Method != http.MethodGet:
		return nil, protocol.NotAllowed.Errorf("events are listened to with GET, not with %s", r.Method)
	case !info.Known && !s.sessions.Anonymous:
		return nil, protocol.Unauthorized.Errorf("sign in first: come with a session cookie, an Authorization header, " +
			"or a one-use ticket in ?ticket=")
	case !streams(w):
		return nil, protocol.Internal.Errorf("events cannot be streamed: a middleware in front hides http.Flusher or the write deadline " +
			"(http.TimeoutHandler does); mount this route without it")
	}
	return parse(r)
}

// streams looks behind wrappers whether what is written can be flushed and
// bounded in time.
func streams(w http.ResponseWriter) bool {
	flushes := false
	for {
		if !flushes {
			_, flushes = w.(interface{ FlushError() error })
		}
		if _, bounds := w.(interface{ SetWriteDeadline(d time.Time) error }); bounds && flushes {
			return true
		}
		inner, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return false
		}
		w = inner.Unwrap()
	}
}

// Postpone answers a browser that is to come back later, and reports whether it
// did: an EventSource takes any answer but a stream for the end, so it gets one
// that says when, and ends.
func Postpone(w http.ResponseWriter, r *http.Request, e *protocol.Error) bool {
	if e.Retry == protocol.RetryNever || e.HTTP < 500 && e.HTTP != http.StatusTooManyRequests ||
		!strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return false
	}
	wait := max(e.RetryAfter, spread(retry, retrySpread))
	eventHeaders(w, r)
	b := appendRetry(nil, wait)
	b = appendEvent(b, &parleyv1.Reply{Reply: &parleyv1.Reply_Leaving{
		Leaving: &parleyv1.Leaving{Reason: e.Code, RetryAfterMs: uint64(wait.Milliseconds())},
	}})
	_, _ = w.Write(b) // a client that is gone needs no answer
	return true
}

func eventHeaders(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	setHeaders(h, "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // nginx passes on what it gets
	if r.ProtoMajor == 1 {
		// A deadline for writing stays with the connection: nobody else gets it.
		h.Set("Connection", "close")
	}
	w.WriteHeader(http.StatusOK)
}

// out writes the events of one stream.
type out struct {
	st      *stream
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte  // nil while there is nothing to write
	pooled  *[]byte // what buf is of
	ask     *ask
	at      *cursor
	due     time.Time // of the next comment
	missed  replay
	rebased time.Time // when ids were last made shorter
}

// start begins the answer: when to come back, where the stream begins, and what
// is lost before that. The first event has an id of its own, so that a client
// that is cut before the first message goes on from here.
func (o *out) start(r *http.Request, a *ask) {
	connected := o.st.answer.GetConnected()
	at, gaps := a.start(connected)
	o.ask, o.at, o.rebased = a, at, time.Now()
	o.missed = replay{topics: o.st.s.sessions.PubSub, ask: a, at: at, emit: o.event}
	eventHeaders(o.w, r)
	o.begin()
	o.buf = appendRetry(o.buf, spread(retry, retrySpread))
	o.id()
	o.buf = appendEvent(o.buf, &parleyv1.Reply{Reply: &parleyv1.Reply_Connected{Connected: &parleyv1.Connected{
		User: connected.GetUser(), Node: connected.GetNode(), Subscriptions: connected.GetSubscriptions(),
		Resumed: a.resumes() && len(gaps) == 0, ExpiresInMs: connected.GetExpiresInMs(),
	}}})
	for _, g := range gaps {
		o.buf = appendEvent(o.buf, gapReply(g))
	}
}

func (a *ask) resumes() bool {
	for _, w := range a.wants {
		if !w.resumes {
			return false
		}
	}
	return true
}

func (o *out) id() {
	o.buf = append(o.buf, "id: "...)
	o.buf = append(o.at.appendID(o.buf), '\n')
}

// run writes what comes until the end.
func (o *out) run(ctx context.Context) error {
	if err := o.flush(); err != nil {
		return err
	}
	if err := o.missed.run(ctx); err != nil {
		return err
	}
	if err := o.flush(); err != nil {
		return err
	}
	comment := time.NewTimer(time.Until(o.due))
	defer comment.Stop()
	var items []item
	for {
		mark, crowd := o.crowd(ctx)
		taken, pinged, last := o.st.take(items)
		if err := o.events(taken); err != nil {
			return err
		}
		if crowd { // what was handed over before it was asked for has been taken since
			o.at.rebase(o.ask.patterns, mark)
		}
		if last {
			return nil
		}
		if pinged {
			o.st.alive()
		}
		clear(taken)
		if items = taken; cap(items) > 1024 {
			items = nil
		}
		select {
		case <-o.st.wake:
		case <-comment.C:
			if err := o.comment(); err != nil {
				return err
			}
			comment.Reset(time.Until(o.due))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// comment writes something, when nothing else was for a while.
func (o *out) comment() error {
	if time.Now().Before(o.due) {
		return nil
	}
	o.begin()
	o.buf = append(o.buf, ":\n\n"...)
	return o.flush()
}

// crowd returns the mark that ids may begin from, when that is worth it and what
// was handed over up to it is sent or in the queue.
func (o *out) crowd(ctx context.Context) (mark uint64, ok bool) {
	since := time.Since(o.rebased)
	if o.at.loose == 0 || since < settling || o.at.loose <= crowded && since < rebaseEvery || !o.st.keepsUp() {
		return 0, false
	}
	o.rebased = time.Now()
	o.missed.forget()
	mark, _, err := o.st.s.sessions.PubSub.Mark(ctx)
	return mark, err == nil
}

// event adds one item to what is to be sent.
func (o *out) event(it item) error {
	o.begin()
	if o.ask.moves(o.at, it) {
		o.id()
	}
	if o.buf = append(o.buf, *it.frame...); len(o.buf) < flushAt {
		return nil
	}
	return o.flush()
}

// events sends items.
func (o *out) events(items []item) error {
	if len(items) == 0 {
		return nil
	}
	size := 0
	for _, it := range items {
		size += len(*it.frame)
		if o.missed.repeats(it) {
			continue
		}
		if err := o.event(it); err != nil {
			return err
		}
	}
	if err := o.flush(); err != nil {
		return err
	}
	o.st.wrote(size)
	return nil
}

// begin takes a buffer, which flush gives back: most streams are quiet.
func (o *out) begin() {
	if o.pooled != nil {
		return
	}
	o.pooled, _ = o.st.s.buffers.Get().(*[]byte)
	o.buf = (*o.pooled)[:0]
}

// flush sends what was gathered.
func (o *out) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	if err := o.st.allow(); err != nil {
		return err
	}
	n, err := o.w.Write(o.buf)
	o.st.s.stats.bytesOut.Add(uint64(n))
	if err != nil {
		return err
	}
	if cap(o.buf) <= 2*flushAt {
		*o.pooled = o.buf
		o.st.s.buffers.Put(o.pooled)
	}
	o.buf, o.pooled = nil, nil
	o.due = time.Now().Add(spread(quiet, quietSpread))
	return o.control.Flush()
}
