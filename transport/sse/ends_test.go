package sse_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/parleytest"
)

// rest reads a stream to its end.
func (r *reader) rest() (events []event) {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = r.body.Close() })
	defer timer.Stop()
	for {
		e, err := r.read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.t.Errorf("the stream ended with %v", err)
			}
			return events
		}
		events = append(events, e)
	}
}

// Streams end first: their clients are told when to come back, and what was
// published before still comes.
func TestShutdown(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a"}))
	polled := make(chan answer, 1)
	go func() { polled <- s.poll(query([]string{"public/b"})) }()
	s.eventually("the poll is not there", func(s parley.Stats) bool { return s.Open == 2 })
	s.publish("public/a", "last")
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := s.Live.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	events := r.rest()
	if len(events) != 2 || events[0].data == "" || events[1].name != "leaving" || !strings.Contains(events[1].data, `"draining"`) || events[1].retry == "" {
		t.Errorf("%+v", events)
	}
	if a := <-polled; len(a.Messages) != 0 || a.ID == "" || fmt.Sprint(a.Events) == "[]" {
		t.Errorf("%+v", a)
	}
	// Who comes now comes back later: a browser would take a 503 for the end.
	resp := s.get("/sse"+query([]string{"public/a"}), "Accept", "text/event-stream")
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(text), "retry: ") || !strings.Contains(string(text), `"draining"`) {
		t.Errorf("%s %s %v", resp.Status, text, err)
	}
	if resp := s.get("/poll" + query([]string{"public/a"})); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

// Who is sent away stays away for as long as a browser can be told to.
func TestDisconnect(t *testing.T) {
	s := serve(t)
	r := s.listen(query([]string{"public/a"}))
	if n, err := s.Live.Disconnect(t.Context(), "ann", "banned"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	events := r.rest()
	if len(events) != 2 || events[0].name != "refused" || !strings.Contains(events[0].data, "banned") || events[1].retry != "3600000" {
		t.Errorf("%+v", events)
	}
}

// A right that is withdrawn ends one topic, and the last one the stream.
func TestRightsWithdrawn(t *testing.T) {
	s := serve(t)
	var mu sync.Mutex
	barred := map[string]bool{}
	s.Live.Authorize("room/+", func(_ context.Context, _ parley.Identity, _ auth.Action, topic string) error {
		mu.Lock()
		defer mu.Unlock()
		if barred[topic] {
			return errors.New("not any more")
		}
		return nil
	})
	bar := func(name string) {
		mu.Lock()
		barred[name] = true
		mu.Unlock()
		s.Live.Reauthorize(t.Context(), "ann")
	}
	r := s.listen(query([]string{"room/1", "room/2"}))
	bar("room/1")
	if e := r.next(); e.name != "unsubscribed" || !strings.Contains(e.data, "room/1") {
		t.Fatalf("%+v", e)
	}
	s.publish("room/1", "not for ann")
	s.publish("room/2", "still")
	r.expect("room/2", "still")
	bar("room/2")
	if events := r.rest(); len(events) != 2 || events[1].name != "leaving" || events[1].retry != "" {
		t.Errorf("%+v", events)
	}
}

// A client that only listens answers no ping and is heard all the same, as long
// as it takes what it is sent.
func TestHeartbeats(t *testing.T) {
	s := serve(t, parley.WithHeartbeat(time.Second, time.Second), parley.WithLimits(parley.Limits{IdleTimeout: 2 * time.Second}))
	r := s.listen(query([]string{"public/a"}))
	timer := time.NewTimer(3500 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	s.publish("public/a", "still there")
	r.expect("public/a", "still there")
}

// stalled opens a stream over a socket that nobody reads.
func (s *server) stalled(path string, buffer int) net.Conn {
	s.t.Helper()
	nc, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	if tcp, ok := nc.(*net.TCPConn); !ok || tcp.SetReadBuffer(buffer) != nil {
		s.t.Fatal("no small buffer")
	}
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer ann\r\n\r\n", path, strings.TrimPrefix(s.URL, "http://")); err != nil {
		s.t.Fatal(err)
	}
	return nc
}

// Who reads nothing is cut off when its queue is full, and released soon after.
func TestSlowReader(t *testing.T) {
	s := serve(t, parley.WithLimits(parley.Limits{QueueBytes: 64 << 10}))
	s.stalled("/sse?topic=public/a", 4<<10)
	s.eventually("the stream is not there", func(s parley.Stats) bool { return s.Open == 1 })
	padding := strings.Repeat("x", 16<<10)
	for range 2000 {
		s.publish("public/a", padding)
		if s.Live.Stats().Ended["slow_consumer"] == 1 {
			break
		}
	}
	s.eventually("the slow reader is still there", func(s parley.Stats) bool { return s.Open == 0 && s.Ended["slow_consumer"] == 1 })
}

// Under a policy it stays, and is told what it was not sent; what it is sent
// then has the right ids.
func TestPressure(t *testing.T) {
	const last = "the last"
	s := serve(t, parley.WithLimits(parley.Limits{QueueBytes: 64 << 10}), parley.WithTopic("public/#", parley.TopicSettings{
		Pressure: parley.PressureDropOldest, History: 10, HistoryAge: time.Hour, BatchDelay: 5 * time.Millisecond,
	}))
	nc := s.stalled("/sse?topic=public/a", 128<<10)
	s.eventually("the stream is not there", func(s parley.Stats) bool { return s.Open == 1 })
	padding := strings.Repeat("x", 16<<10)
	for range 1000 {
		s.publish("public/a", padding)
	}
	s.publish("public/a", last)
	resp, err := http.ReadResponse(newBufio(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, body: resp.Body, lines: newBufio(resp.Body)}
	r.next()
	seq, skipped := uint64(0), 0
	for {
		e := r.next()
		if e.name == "skipped" {
			skipped++
			var gone struct{ Count, Seq uint64 }
			decode(t, e.data, &gone)
			if seq += gone.Count; seq != gone.Seq {
				t.Fatalf("%+v after %d", gone, seq-gone.Count)
			}
			continue
		}
		m := e.message(t)
		if seq++; m.Seq != seq {
			t.Fatalf("%d follows %d", m.Seq, seq-1)
		}
		if m.Payload == last {
			break
		}
	}
	if skipped == 0 {
		t.Error("nothing was skipped")
	}
	again := s.listen("?topic=public/a", "Last-Event-ID", r.lastID)
	s.publish("public/a", "after that")
	again.expect("public/a", "after that")
}

// Where the topic keeps what a slow reader cannot take yet, it gets everything
// once it reads.
func TestSpill(t *testing.T) {
	const messages = 1200
	s := serve(t, parley.WithLimits(parley.Limits{QueueBytes: 128 << 10}), parley.WithTopic("public/#", parley.TopicSettings{
		Pressure: parley.PressureSpill, History: messages, HistoryAge: time.Hour,
	}))
	for _, path := range []string{"/sse?topic=public/a", "/sse?topic=public/%23"} {
		nc := s.stalled(path, 128<<10)
		s.eventually("the stream is not there", func(s parley.Stats) bool { return s.Open == 1 })
		padding := strings.Repeat("x", 16<<10)
		for range messages {
			s.publish("public/a", padding)
		}
		resp, err := http.ReadResponse(newBufio(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{t: t, body: resp.Body, lines: newBufio(resp.Body)}
		r.next()
		first := r.next().message(t).Seq
		for seq := first + 1; seq < first+messages; seq++ {
			if m := r.next().message(t); m.Seq != seq {
				t.Fatalf("%s: %d follows %d", path, m.Seq, seq-1)
			}
		}
		_ = nc.Close()
		s.eventually("the stream is still there", func(s parley.Stats) bool { return s.Open == 0 })
	}
}

// A forced end does not wait for who reads nothing.
func TestForcedShutdown(t *testing.T) {
	live := parley.New(verifier(), parley.WithLimits(parley.Limits{QueueBytes: 64 << 20}))
	r := gin.New()
	r.GET("/sse", live.SSE())
	h := httptest.NewServer(r)
	defer h.Close()
	s := &server{&parleytest.Server{URL: h.URL, Live: live}, t}
	s.stalled("/sse?topic=public/a", 4<<10)
	s.eventually("the stream is not there", func(s parley.Stats) bool { return s.Open == 1 })
	for range 800 {
		s.publish("public/a", strings.Repeat("x", 16<<10))
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := live.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "does not end") {
		t.Error(err)
	}
}

// However clients come and go, nothing of them stays behind.
func TestChurn(t *testing.T) {
	s := serve(t)
	s.listen(query([]string{"public/a"})).close() // what is made once is made
	s.eventually("the first is still there", func(s parley.Stats) bool { return s.Open == 0 })
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 40 {
				ctx, stop := context.WithCancel(context.Background())
				path := []string{"/sse", "/poll"}[n%2] + query([]string{"public/a", fmt.Sprint("public/", i), "public/x/#"}, "timeout", "2s")
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
				if err != nil {
					t.Error(err)
				}
				req.Header.Set("Authorization", "Bearer ann")
				if n%4 < 2 { // some leave before they are answered
					time.AfterFunc(time.Duration(n)*50*time.Microsecond, stop)
				}
				if resp, err := http.DefaultClient.Do(req); err == nil {
					if n%2 == 0 {
						_, _ = resp.Body.Read(make([]byte, 100))
					}
					stop()
					_ = resp.Body.Close()
				}
				stop()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		clients.Wait()
	}()
	for going := true; going; {
		s.publish("public/a", "x")
		select {
		case <-done:
			going = false
		default:
		}
	}
	http.DefaultClient.CloseIdleConnections()
	s.eventually("sessions are left", func(s parley.Stats) bool {
		return s.Open == 0 && s.Users == 0 && s.Detached == 0 && runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(list)
}

// Over HTTP/2 many streams share a connection, and each ends for itself.
func TestHTTP2(t *testing.T) {
	s := serve(t)
	r := gin.New()
	r.GET("/sse", s.Live.SSE())
	r.GET("/poll", s.Live.Poll())
	h2 := httptest.NewUnstartedServer(r)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	client := h2.Client()
	open := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h2.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer ann")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 || resp.TLS.Version < tls.VersionTLS12 {
			t.Fatal(resp.Proto)
		}
		return resp
	}
	streams := make([]*reader, 10)
	for i := range streams {
		resp := open(fmt.Sprintf("/sse?topic=public/%d&topic=public/all", i))
		streams[i] = &reader{t: t, body: resp.Body, lines: newBufio(resp.Body)}
		streams[i].next()
	}
	s.publish("public/all", "to all")
	for i, r := range streams {
		r.expect("public/all", "to all")
		if i%2 == 0 {
			r.close()
		}
	}
	s.eventually("closed streams are still there", func(s parley.Stats) bool { return s.Open == 5 })
	for i, r := range streams {
		if i%2 == 1 {
			s.publish(fmt.Sprint("public/", i), i)
			r.expect(fmt.Sprint("public/", i), float64(i))
		}
	}
	resp := open("/poll?topic=public/1&timeout=0s")
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(text), `{"messages":[],"id":"`) {
		t.Errorf("%s %v", text, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := s.Live.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if events := streams[1].rest(); len(events) != 1 || events[0].name != "leaving" {
		t.Errorf("%+v", events)
	}
	client.CloseIdleConnections()
}

// Proxies that speak HTTP/1.0 to what is behind them, as nginx does unless told
// otherwise, get a stream as well.
func TestHTTP10(t *testing.T) {
	s := serve(t)
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := fmt.Fprintf(nc, "GET /sse?topic=public/a HTTP/1.0\r\nHost: proxied\r\nAuthorization: Bearer ann\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(newBufio(nc), nil)
	if err != nil || len(resp.TransferEncoding) > 0 {
		t.Fatal(resp, err)
	}
	r := &reader{t: t, body: resp.Body, lines: newBufio(resp.Body)}
	if first := r.next(); first.name != "connected" {
		t.Fatalf("%+v", first)
	}
	s.publish("public/a", "through")
	r.expect("public/a", "through")
}

// Behind what cannot stream, it says so.
func TestBehindAMiddleware(t *testing.T) {
	s := serve(t)
	r := gin.New()
	r.GET("/sse", s.Live.SSE())
	h := httptest.NewServer(http.TimeoutHandler(r, patience, "late"))
	defer h.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/sse?topic=public/a", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ann")
	resp, err := h.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != 500 || !strings.Contains(string(text), "TimeoutHandler") {
		t.Errorf("%s %s %v", resp.Status, text, err)
	}
}
