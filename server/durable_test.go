package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
)

// What was accepted on a durable topic is there in the next process, at the
// same position; what was in memory is not.
func TestDurableTopicsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Topics = []config.Topic{{Pattern: "orders/#", Durable: true, History: 10}, {Pattern: "news/#", History: 10}}
	key := "Bearer " + apiKey
	history := func(r *running, topic string) string {
		_, _, body := r.do(http.MethodGet, "/api/v1/history?after_seq=0&topic="+topic, "", "Authorization", key)
		return body
	}
	r := start(t, cfg)
	before := map[string]string{}
	for _, topic := range []string{"orders/1", "public/durable/1", "news/1"} {
		said := `{"topic":"` + topic + `","type":"t","payload":{"n":1},"key":"k"}`
		if status, _, body := r.do(http.MethodPost, "/api/v1/publish", said, "Authorization", key); status != http.StatusOK {
			t.Fatal(status, body)
		}
		before[topic] = history(r, topic)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	for topic, want := range before {
		got := history(r, topic)
		if durable := topic != "news/1"; durable && got != want || !durable && strings.Contains(got, `"id"`) {
			t.Errorf("%s: %s\nwas %s", topic, got, want)
		}
	}
	said := `{"topic":"orders/1","type":"t","payload":{"n":2},"key":"k"}`
	if _, _, body := r.do(http.MethodPost, "/api/v1/publish", said, "Authorization", key); !strings.Contains(body, `"duplicate":true`) {
		t.Errorf("the key was forgotten: %s", body)
	}
}

func TestDurableTopicsNeedADisk(t *testing.T) {
	t.Parallel()
	_, err := parley.Open(parley.WithTopic("a/#", parley.TopicSettings{Durable: true, History: 1, HistoryAge: 1}))
	if err == nil || !strings.Contains(err.Error(), `"a/#"`) || !strings.Contains(err.Error(), "disk") {
		t.Errorf("%v", err)
	}
	cfg := settings(t)
	cfg.Broker = "floppy:"
	if _, err := server.Open(t.Context(), cfg, server.Options{}); err == nil || !strings.Contains(err.Error(), "floppy:") {
		t.Errorf("%v", err)
	}
}
