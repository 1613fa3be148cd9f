package parley_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/store/pebblestore"
)

// One folder keeps the messages of durable topics, the sessions of clients and
// how far people have read. What Publish has accepted is on the disk, and is
// there when the program starts again.
func ExampleWithData() {
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	for range 2 { // the second time is a restart
		data, err := pebblestore.Open(dir, pebblestore.Options{})
		if err != nil {
			panic(err)
		}
		live := parley.New(parley.WithData(data), parley.WithTopic("orders/#", parley.TopicSettings{
			Durable: true, History: 1_000_000, HistoryAge: 30 * 24 * time.Hour,
		}))
		if _, err := live.Publish(ctx, "orders/7", "order.paid", map[string]int{"cents": 1250}, parley.Key("payment-81")); err != nil {
			panic(err)
		}
		page, err := live.History(ctx, "orders/7", parley.Query{Limit: 10})
		if err != nil {
			panic(err)
		}
		for _, m := range page.Messages {
			fmt.Printf("%d %s %s\n", m.Seq, m.Type, m.Payload)
		}
		if err := live.Shutdown(ctx); err != nil { // closes data, too
			panic(err)
		}
	}
	// Output:
	// 1 order.paid {"cents":1250}
	// 1 order.paid {"cents":1250}
}
