package server_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The ways to listen over HTTP stand beside the socket, with the tokens and
// messages of everybody else, and end with the server.
func TestListening(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	r := start(t, cfg)
	bearer := "Bearer " + annsToken(t, cfg.Data, time.Hour)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/sse?topic=public/a", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", bearer)
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	until := func(prefix string) string {
		t.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the stream ended before %q: %v", prefix, lines.Err())
		return ""
	}
	id := until("id: ")
	until("data: ")
	if status, _, text := r.do("POST", "/api/v1/publish", `{"topic":"public/a","type":"t","payload":{"n":1}}`, "Authorization", "Bearer "+apiKey); status != 200 {
		t.Fatal(status, text)
	}
	if data := until("data: "); !strings.Contains(data, `"payload":{"n":1}`) {
		t.Error(data)
	}
	status, _, text := r.do("GET", "/poll?topic=public/a&last_event_id="+id, "", "Authorization", bearer)
	if status != 200 || !strings.Contains(text, `"payload":{"n":1}`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _, text := r.do("GET", "/sse?topic=public/a", ""); status != 401 {
		t.Errorf("%d %s", status, text)
	}
	if status, header, _ := r.do("OPTIONS", "/sse", ""); status != 204 {
		t.Errorf("%d %v", status, header)
	}
	done := make(chan error, 1)
	go func() { done <- r.end() }()
	until("event: leaving")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
