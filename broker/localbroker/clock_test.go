package localbroker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/message"
)

type silent struct{}

func (silent) HandleMessage(*message.Message) {}

// TestClockJumps publishes, then lives at a time a quarter of a century before
// that (a bubble's clock begins in 2000), then again at the present: what a
// machine does whose clock was wrong for a while. Numbers, history, keys and
// producers do not depend on it.
func TestClockJumps(t *testing.T) {
	dir := t.TempDir()
	options := broker.Options{
		History: 1000, HistoryAge: 48 * time.Hour, KeyWindow: time.Hour, Keys: 100, Durability: broker.SyncAlways,
	}
	var seq uint64
	live := func(t *testing.T) {
		t.Helper()
		b := open(t, dir, localbroker.Limits{Tail: 3})
		if err := b.Start(silent{}); err != nil {
			t.Fatal(err)
		}
		publish := func(key string, n uint64) broker.Result {
			t.Helper()
			m := &message.Message{
				ID: key, Topic: "a", From: "ann", Key: key, Producer: "ann\x00p", ProducerEpoch: 1, N: n,
				Time: time.Now().UnixMilli(), Payload: []byte(`1`),
			}
			r, err := broker.Publish(t.Context(), b, m, options)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if seq > 0 {
			if r := publish("k"+string(rune('0'+seq)), seq); !r.Duplicate || r.Position.Seq != seq {
				t.Errorf("a repeat after the clock jumped: %+v, want a duplicate of %d", r, seq)
			}
		}
		for range 2 {
			seq++
			if r := publish("k"+string(rune('0'+seq)), seq); r.Duplicate || r.Position.Seq != seq {
				t.Errorf("message %d: %+v", seq, r)
			}
		}
		page, err := b.History(t.Context(), "a", broker.Query{Limit: 100})
		if err != nil || uint64(len(page.Messages)) != seq || page.Gap {
			t.Errorf("history: %d of %d messages, gap %v, %v", len(page.Messages), seq, page.Gap, err)
		}
		news, err := b.News(t.Context(), "#", 0, "", 10)
		if err != nil || len(news) != 1 || news[0].Position.Seq != seq {
			t.Errorf("news: %v, %v", news, err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	live(t)
	synctest.Test(t, live)
	live(t)
}
