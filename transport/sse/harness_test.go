package sse_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
)

const patience = 10 * time.Second

// server is a Live with both ways to listen.
type server struct {
	*parleytest.Server

	t *testing.T
}

func serve(t *testing.T, options ...parley.Option) *server {
	t.Helper()
	live := parley.New(append([]parley.Option{verifier()}, options...)...)
	s := parleytest.Serve(t, live, func(r *gin.Engine) {
		r.GET("/sse", live.SSE())
		r.OPTIONS("/sse", live.SSE())
		r.GET("/poll", live.Poll())
		r.POST("/ticket", live.TicketHandler())
	})
	return &server{s, t}
}

// verifier takes a token for the user's name.
func verifier() parley.Option {
	return parley.WithVerifier(auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) {
		if token == "wrong" {
			return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "this token is not genuine"}
		}
		return auth.Identity{User: token}, nil
	}))
}

func (s *server) publish(topic string, payload any) {
	s.t.Helper()
	if _, err := s.Live.Publish(context.Background(), topic, "t", payload); err != nil {
		s.t.Fatal(err)
	}
}

// eventually waits until a count is what it should be.
func (s *server) eventually(what string, ok func(parley.Stats) bool) {
	s.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for until := time.Now().Add(patience); !ok(s.Live.Stats()); <-ticker.C {
		if time.Now().After(until) {
			s.t.Fatalf("%s: %+v", what, s.Live.Stats())
		}
	}
}

// query writes topics, and what else is given in pairs.
func query(topics []string, more ...string) string {
	q := url.Values{"topic": topics}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "?" + q.Encode()
}

func (s *server) get(path string, header ...string) *http.Response {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ann")
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// event is one event as a browser dispatches it.
type event struct {
	name, id, data string
	retry          string
}

func (e event) message(t *testing.T) (m struct {
	Topic   string `json:"topic"`
	Seq     uint64 `json:"seq"`
	Prev    uint64 `json:"prev"`
	Payload any    `json:"payload"`
},
) {
	t.Helper()
	if e.name != "message" {
		t.Fatalf("%+v is no message", e)
	}
	if err := json.Unmarshal([]byte(e.data), &m); err != nil {
		t.Fatalf("%q: %v", e.data, err)
	}
	return m
}

// reader parses a stream as the standard says.
type reader struct {
	t      *testing.T
	body   io.ReadCloser
	lines  *bufio.Reader
	lastID string
	first  event // connected
}

// listen opens a stream and reads its first event.
func (s *server) listen(path string, header ...string) *reader {
	s.t.Helper()
	resp := s.get("/sse"+path, header...)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s: %s", resp.Status, text)
	}
	r := &reader{t: s.t, body: resp.Body, lines: bufio.NewReader(resp.Body)}
	if r.first = r.next(); r.first.name != "connected" {
		s.t.Fatalf("the first event is %+v", r.first)
	}
	return r
}

// read returns the next event, or io.EOF.
func (r *reader) read() (event, error) {
	e := event{name: "message"}
	var data []string
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		case "id":
			r.lastID = value
		case "retry":
			e.retry = value
		}
		if line == "" && len(data) > 0 {
			e.data, e.id = strings.Join(data, "\n"), r.lastID
			return e, nil
		}
	}
}

func (r *reader) next() event {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = r.body.Close() })
	defer timer.Stop()
	e, err := r.read()
	if err != nil {
		r.t.Fatalf("instead of an event: %v", err)
	}
	return e
}

// expect reads a message.
func (r *reader) expect(topic string, payload any) event {
	r.t.Helper()
	e := r.next()
	if m := e.message(r.t); m.Topic != topic || m.Payload != payload {
		r.t.Fatalf("%+v came, not %v on %s", m, payload, topic)
	}
	return e
}

func (r *reader) close() { _ = r.body.Close() }

// answer is what a poll gets.
type answer struct {
	Messages []struct {
		Topic   string `json:"topic"`
		Seq     uint64 `json:"seq"`
		Payload any    `json:"payload"`
	} `json:"messages"`
	Events       []map[string]any `json:"events"`
	ID           string           `json:"id"`
	RetryAfterMS int64            `json:"retry_after_ms"`
}

func (s *server) poll(path string, header ...string) answer {
	s.t.Helper()
	resp := s.get("/poll"+path, header...)
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s (%v)", resp.Status, text, err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return a
}

func newBufio(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}
