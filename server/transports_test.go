package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/client/device"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// What is sent through any transport is received through all of them, in one
// order.
func TestOneOrderForAllTransports(t *testing.T) {
	t.Parallel()
	const each, senders = 20, 3
	cfg := settings(t)
	cfg.FrameAddr = "127.0.0.1:0"
	r := start(t, cfg)
	token := annsToken(t, cfg.Data, time.Hour)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()

	socket := r.open()
	connect(socket, token)
	socket.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "public/a"}}})
	events := r.events(ctx, "/sse?topic=public/a", token)
	first := r.poll(token, "&timeout=0s")
	dev, err := device.Dial(ctx, r.ports("Frame").String(), device.WithToken(token))
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	frames := make(chan string, each*senders)
	if err := dev.Subscribe(ctx, "public/a", func(m client.Message) { frames <- string(m.Payload) }); err != nil {
		t.Fatal(err)
	}

	for i := range each {
		if status, _, text := r.do("POST", "/api/v1/publish", fmt.Sprintf(`{"topic":"public/a","payload":"rest %d"}`, i), "Authorization", "Bearer "+apiKey); status != 200 {
			t.Fatal(text)
		}
		if _, err := dev.Publish(ctx, "public/a", "t", fmt.Sprint("frame ", i)); err != nil {
			t.Fatal(err)
		}
		socket.Send(fmt.Sprintf(`{"publish":{"topic":"public/a","payload":"socket %d"}}`, i))
	}
	var want, streamed, framed []string
	for range each * senders {
		m := socket.Until("a message", func(r *parleyv1.Reply) bool { return r.GetMessage() != nil }).GetMessage()
		want = append(want, string(m.GetPayload()))
		streamed = append(streamed, <-events)
		framed = append(framed, <-frames)
	}
	_, after, _ := strings.Cut(first, `"id":"`)
	id, _, _ := strings.Cut(after, `"`)
	polled := payloads(r.poll(token, "&last_event_id="+id))
	for name, got := range map[string][]string{"events": streamed, "frames": framed, "polls": polled} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v\nand over the socket: %v", name, got, want)
		}
	}
	stop()
}

// payloads picks the payloads out of JSON, in which nothing else is like them.
func payloads(text string) (out []string) {
	for _, part := range strings.Split(text, `"payload":`)[1:] {
		quoted, _, _ := strings.Cut(part[1:], `"`)
		out = append(out, `"`+quoted+`"`)
	}
	return out
}

func (r *running) poll(token, more string) string {
	r.t.Helper()
	status, _, text := r.do("GET", "/poll?topic=public/a"+more, "", "Authorization", "Bearer "+token)
	if status != 200 {
		r.t.Fatal(status, text)
	}
	return text
}

// events streams the payloads of what comes, until ctx ends.
func (r *running) events(ctx context.Context, path, token string) <-chan string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			for _, payload := range payloads(lines.Text()) {
				out <- payload
			}
		}
	}()
	return out
}
