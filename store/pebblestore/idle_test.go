package pebblestore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/store/pebblestore"
	"github.com/parleyhq/parley/topic"
)

// A durable topic that nobody uses leaves the memory, is trimmed on the disk
// all the same, and goes on where it was, with its keys and producers.
func TestTopicsNobodyUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblestore.OpenOn(t, vfs.NewMem())
		e := localbroker.NewDurable(localbroker.Limits{Idle: 5 * time.Minute, Topics: 3}, db.Log())
		if err := e.Start(&handler{}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(e.Close(context.Background()), db.Close(context.Background())); err != nil {
				t.Error(err)
			}
		}()
		o := broker.Options{History: 100, HistoryAge: time.Hour, KeyWindow: 3 * time.Hour, Durability: broker.SyncAlways}
		put := func(name, key string, n uint64) broker.Result {
			m := &message.Message{Topic: name, Key: key, Producer: "p", N: n, Time: time.Now().UnixMilli(), Payload: []byte("x")}
			r, err := broker.Publish(t.Context(), e, m, o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return r
		}
		first := put("a", "k", 1)
		for i := range 20 { // more than fit in memory, one after the other
			put(fmt.Sprint("t/", i), "", 1)
			<-time.NewTimer(3 * time.Minute).C
		}
		<-time.NewTimer(80 * time.Minute).C
		heads, err := db.Log().Topics(t.Context(), "", store.TopicQuery{})
		if err != nil || len(heads) != 21 {
			t.Fatalf("%d topics, %v", len(heads), err)
		}
		for _, h := range heads {
			if h.First <= h.Last {
				t.Errorf("%s keeps %d to %d beyond its age", h.Topic, h.First, h.Last)
			}
		}
		if r := put("a", "k", 2); !r.Duplicate || r.Position != first.Position {
			t.Errorf("the key: %+v, at first %+v", r, first)
		}
		if r := put("a", "", 1); !r.Duplicate || r.Position != first.Position {
			t.Errorf("the number: %+v, at first %+v", r, first)
		}
		r := put("a", "", 3)
		if r.Duplicate || r.Position.Seq != first.Position.Seq+1 || r.Position.Epoch != first.Position.Epoch {
			t.Errorf("the next: %+v behind %+v", r, first)
		}
		page, err := e.History(t.Context(), topic.Name("a"), broker.Query{Epoch: first.Position.Epoch, Limit: 10})
		if err != nil || !page.Gap || len(page.Messages) != 1 {
			t.Errorf("the history: %+v, %v", page, err)
		}
	})
}
