package sse_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/parleyhq/parley"
)

func TestAStream(t *testing.T) {
	s := serve(t)
	resp := s.get("/sse" + query([]string{"public/a", "public/news/#"}))
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store, no-transform",
		"X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	r := s.listen(query([]string{"public/a", "public/news/#"}))
	if r.first.retry == "" || r.first.id == "" || !strings.Contains(r.first.data, `"user":"ann"`) || strings.Contains(r.first.data, "session") {
		t.Errorf("%+v", r.first)
	}
	s.publish("public/a", "one")
	s.publish("public/news/uk", "two")
	s.publish("public/b", "not this")
	s.publish("public/a", "three")
	one := r.expect("public/a", "one")
	two := r.expect("public/news/uk", "two")
	if two.id != one.id {
		t.Error("a topic of a pattern has no place in the id")
	}
	if three := r.expect("public/a", "three"); three.id == one.id || len(three.id) > 60 {
		t.Errorf("%q follows %q", three.id, one.id)
	}
}

// Text that a message brings along cannot end its event or begin another.
func TestLineBreaksInMessages(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a"}))
	s.publish("public/a", json.RawMessage("{\n\"a\":\r\n\r1,\n\n\"b\":\"x\\n\\ndata: y\u2028\"}"))
	s.publish("public/a", "next")
	e := r.next()
	if got := fmt.Sprint(e.message(t).Payload); got != "map[a:1 b:x\n\ndata: y\u2028]" {
		t.Errorf("%q", got)
	}
	r.expect("public/a", "next")
}

// A stream that is cut goes on behind the last message of every topic,
// whichever of them that was, over as many connections as it takes.
func TestResume(t *testing.T) {
	s := serve(t)
	topics := []string{"public/a", "public/b", "public/c"}
	r := s.listen(query(topics))
	for round := range 4 {
		s.publish("public/a", fmt.Sprint("live a", round))
		s.publish("public/b", fmt.Sprint("live b", round))
		r.expect("public/a", fmt.Sprint("live a", round))
		if round == 0 {
			r.expect("public/b", "live b0") // later rounds are cut before this one
		}
		r.close()
		s.eventually("the session is still there", func(s parley.Stats) bool { return s.Open == 0 })
		s.publish("public/c", fmt.Sprint("missed c", round))
		s.publish("public/a", fmt.Sprint("missed a", round))
		header := []string{"Last-Event-ID", r.lastID}
		if round == 1 {
			header = nil
		}
		q := query(topics)
		if header == nil {
			q = query(topics, "last_event_id", r.lastID)
		}
		r = s.listen(q, header...)
		if !strings.Contains(r.first.data, `"resumed":true`) {
			t.Errorf("%s", r.first.data)
		}
		want := map[string]bool{"missed c": true, "missed a": true, "live b": round > 0}
		for n := 0; n < 2 || round > 0 && n < 3; n++ {
			text, _ := r.next().message(t).Payload.(string)
			name := strings.TrimSuffix(text, fmt.Sprint(round))
			if !want[name] {
				t.Fatalf("round %d: %q came, missing are %v", round, text, want)
			}
			want[name] = false
		}
	}
	if n := s.Live.Stats().Detached; n != 0 {
		t.Errorf("%d sessions are kept that nobody can go on with", n)
	}
}

// The header is newer than what the page was written with.
func TestTheHeaderCounts(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a"}))
	old := r.first.id
	s.publish("public/a", "one")
	fresh := r.expect("public/a", "one").id
	s.publish("public/a", "two")
	r = s.listen(query([]string{"public/a"}, "last_event_id", old), "Last-Event-ID", fresh)
	r.expect("public/a", "two")
}

// An id fits other topics, too: those it knows go on, the others begin.
func TestOtherTopicsWithTheSameID(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a", "public/b"}))
	id := r.first.id
	for _, name := range []string{"a", "b", "c"} {
		s.publish("public/"+name, "missed")
	}
	r = s.listen(query([]string{"public/c", "public/b"}), "Last-Event-ID", id)
	if strings.Contains(r.first.data, `"resumed":true`) {
		t.Error(r.first.data)
	}
	r.expect("public/b", "missed")
	s.publish("public/c", "live")
	r.expect("public/c", "live")
}

// What cannot be had any more is told, topic by topic, and the stream goes on.
func TestGaps(t *testing.T) {
	s := serve(t, parley.WithTopic("public/short", parley.TopicSettings{History: 2, HistoryAge: 1 << 40}))
	r := s.listen(query([]string{"public/short", "public/a"}))
	id := r.first.id
	for i := range 5 {
		s.publish("public/short", i)
	}
	s.publish("public/a", "kept")
	r = s.listen(query([]string{"public/short", "public/a"}), "Last-Event-ID", id)
	if gap := r.next(); gap.name != "gap" || !strings.Contains(gap.data, `"topic":"public/short"`) || !strings.Contains(gap.data, `"seq":5`) {
		t.Fatalf("%+v", gap)
	}
	r.expect("public/a", "kept")
	s.publish("public/short", "live")
	r.expect("public/short", "live")
	for _, foreign := range []string{"42", "not an id", strings.Repeat("x", 8000)} {
		r = s.listen(query([]string{"public/short"}), "Last-Event-ID", foreign)
		if gap := r.next(); gap.name != "gap" {
			t.Errorf("%.20q: %+v", foreign, gap)
		}
		s.publish("public/short", "go on")
		r.expect("public/short", "go on")
	}
}

func TestRefusals(t *testing.T) {
	s := serve(t)
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("public/", i)
	}
	for _, path := range []string{"/sse", "/poll"} {
		for _, tt := range []struct {
			query  string
			header []string
			status int
			want   string
		}{
			{"", nil, 400, "?topic=room/1"},
			{"?topic=a%23b", nil, 400, "#"},
			{"?topic=$all", nil, 400, "begin with $"},
			{query(many), nil, 429, "101 topics"},
			{"?topic=public/a&timeout=soon", nil, 400, "25s"},
			{"?topic=public/a", []string{"Authorization", ""}, 401, "sign in first"},
			{"?topic=public/a", []string{"Authorization", "Bearer wrong"}, 401, "not genuine"},
			{"?topic=public/a&ticket=abc", []string{"Authorization", ""}, 401, "one-use tickets only"},
			{"?topic=public/a&topic=user/bob/x", nil, 403, "user/bob/x"},
			{"?topic=public/a", []string{"Origin", "https://evil.example"}, 403, "evil.example"},
		} {
			resp := s.get(path+tt.query, append([]string{"Accept", "text/event-stream"}, tt.header...)...)
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(text), tt.want) {
				t.Errorf("%s%.40s %v: %s %s %v", path, tt.query, tt.header, resp.Status, text, err)
			}
		}
	}
	if st := s.Live.Stats(); st.Open != 0 || st.Users != 0 {
		t.Errorf("%+v", st)
	}
}

// A browser cannot send a header: a ticket stands for it, once.
func TestTickets(t *testing.T) {
	s := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/ticket", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ann")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Ticket string `json:"ticket"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	q := query([]string{"user/ann/x"}, "ticket", got.Ticket)
	s.publish("user/ann/x", "before")
	r := s.listen(q, "Authorization", "")
	s.publish("user/ann/x", "mine")
	r.expect("user/ann/x", "mine")
	if again := s.get("/sse"+q, "Authorization", ""); again.StatusCode != http.StatusUnauthorized {
		t.Error(again.Status)
	}
}

func TestOtherOrigins(t *testing.T) {
	s := serve(t, parley.WithOrigins("https://app.example"))
	resp := s.get("/sse?topic=public/a", "Origin", "https://app.example")
	if h := resp.Header; resp.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Vary") != "Origin" {
		t.Errorf("%s %v", resp.Status, h)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.URL+"/sse", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for origin, allowed := range map[string]bool{"https://app.example": true, "https://evil.example": false} {
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "GET")
		preflight, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = preflight.Body.Close()
		if got := preflight.Header.Get("Access-Control-Allow-Origin"); preflight.StatusCode != 204 || (got == origin) != allowed ||
			strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "Authorization") != allowed {
			t.Errorf("%s: %s %v", origin, preflight.Status, preflight.Header)
		}
	}
	open := serve(t, parley.WithOrigins("*"))
	if h := open.get("/sse?topic=public/a", "Origin", "https://any.example").Header; h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", h)
	}
}
