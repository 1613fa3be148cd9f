// Package outbox says live what was committed: every event of the outbox table is published at
// least once, in the order it was committed, whatever crashed in between.
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/parleyhq/parley/community/store"
)

// batch is how many events one trip to the database takes.
const batch = 256

// Waits between attempts while publishing fails: the first, doubled up to the last.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Publisher brings an event to whoever listens now, and answers where it stands in its topic now
// (zero for an event to one person). An event may come again after a crash, with
// the same ID: use it as the key of an idempotent publish. A failed event is tried again, and what
// comes after it waits: order matters more than speed.
type Publisher interface {
	PublishEvent(ctx context.Context, e store.Event) (store.Place, error)
}

// Outbox publishes events in one place, Run, so that their order is kept.
type Outbox struct {
	db   *store.DB
	to   Publisher
	log  *slog.Logger
	wake chan struct{}
}

// New makes an outbox. Nothing is published before Run.
func New(db *store.DB, to Publisher, log *slog.Logger) *Outbox {
	return &Outbox{db: db, to: to, log: log, wake: make(chan struct{}, 1)}
}

// Wake says that events were committed. It never blocks; safe for concurrent use.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default: // already awake
	}
}

// Run publishes what is there, then whatever comes, until ctx ends.
func (o *Outbox) Run(ctx context.Context) {
	wait := firstWait
	for {
		err := o.Drain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			wait = firstWait
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
			continue
		}
		o.log.Error("live events wait in the outbox", "error", err, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, lastWait)
	}
}

// Drain publishes until the outbox is empty. Only one Drain may run at a time.
func (o *Outbox) Drain(ctx context.Context) error {
	for {
		var events []store.Event
		err := o.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			events, err = tx.Outbox(ctx, batch)
			return err
		})
		if err != nil || len(events) == 0 {
			return err
		}
		if err := o.publish(ctx, events); err != nil {
			return err
		}
	}
}

// publish sends events in order and removes those that went out, also when a later one fails. Where
// messages stand in their topics is kept with them.
func (o *Outbox) publish(ctx context.Context, events []store.Event) error {
	var gone []int64
	var places []store.Place
	var failed error
	for _, e := range events {
		at, err := o.to.PublishEvent(ctx, e)
		if failed = err; err != nil {
			break
		}
		gone, places = append(gone, e.ID), append(places, at)
	}
	if len(gone) == 0 {
		return failed
	}
	// What was published is removed even if the caller has just been told to stop.
	err := o.db.Write(context.WithoutCancel(ctx), func(ctx context.Context, tx store.Tx) error {
		for i, at := range places {
			if e := events[i]; e.Seq > 0 {
				if err := tx.Put(ctx, e.ConversationID, e.Seq, at); err != nil {
					return err
				}
			}
		}
		return tx.Published(ctx, gone)
	})
	return errors.Join(failed, err)
}
