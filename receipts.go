package parley

import (
	"context"

	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// Receipt is how far one person has got in one topic: what has reached a device
// of theirs, and what they have read. Both are the Seq up to which everything
// has, within the topic's Epoch.
type Receipt = store.Receipt

// What TopicSettings.Receipts can be.
const (
	ReceiptsNone   = receipts.None
	ReceiptsAuto   = receipts.Auto
	ReceiptsWho    = receipts.Who
	ReceiptsCounts = receipts.Counts
)

// Receipts returns how far each person has got in a topic whose settings ask
// for receipts, in the order of their names. Those of a topic with more than a
// thousand people are not kept.
func (l *Live) Receipts(ctx context.Context, name string) ([]Receipt, error) {
	n, err := topic.ParseName(name)
	if err != nil {
		return nil, protocol.BadRequest.Errorf("receipts: %w", err)
	}
	return l.pubsub.People(ctx, n)
}

// OnReceipt calls f when a person has got further in a topic whose settings ask
// for receipts, however many people there are: one call at a time, beside
// everything else, and with the latest only when f takes its time.
func (l *Live) OnReceipt(f func(Receipt)) { l.pubsub.OnReceipt(f) }
