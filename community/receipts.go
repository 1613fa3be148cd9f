package community

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/community/store"
	"github.com/parleyhq/parley/community/talk"
	"github.com/parleyhq/parley/web"
)

const (
	// pause is how long receipts wait for others, so that many cost one transaction.
	pause = 200 * time.Millisecond
	// mostReceipts wait for the database; then Parley waits, which keeps the latest of each person.
	mostReceipts = 1000
)

// receipts brings how far people have got from Parley into the database, so that a page that is
// drawn by the server shows it too.
type receipts struct {
	in   chan parley.Receipt
	done chan struct{} // closed when run has ended
	keep func(context.Context, []talk.Receipt) error
	log  *slog.Logger
}

func newReceipts(keep func(context.Context, []talk.Receipt) error, log *slog.Logger) *receipts {
	return &receipts{in: make(chan parley.Receipt), done: make(chan struct{}), keep: keep, log: log}
}

// note takes one; it waits while the database is behind.
func (r *receipts) note(got parley.Receipt) {
	select {
	case r.in <- got:
	case <-r.done:
	}
}

// run keeps what is noted until ctx ends, and then what is left.
func (r *receipts) run(ctx context.Context) {
	defer close(r.done)
	waiting := make(batch)
	timer := time.NewTimer(pause)
	timer.Stop()
	defer timer.Stop()
	for {
		in := r.in
		if len(waiting) >= mostReceipts {
			in = nil
		}
		select {
		case got := <-in:
			first := len(waiting) == 0
			waiting.add(got)
			if first && len(waiting) > 0 {
				timer.Reset(pause)
			}
		case <-timer.C:
			if err := r.keep(ctx, waiting.list()); err != nil {
				r.log.WarnContext(ctx, "receipts wait for the database", "receipts", len(waiting), "error", err)
				timer.Reset(5 * pause)
				continue
			}
			clear(waiting)
		case <-ctx.Done():
			if err := r.keep(context.WithoutCancel(ctx), waiting.list()); err != nil {
				r.log.ErrorContext(ctx, "receipts are lost", "receipts", len(waiting), "error", err)
			}
			return
		}
	}
}

// batch has the latest receipt of each person in each topic.
type batch map[[2]string]parley.Receipt

// add takes a receipt of a conversation.
func (b batch) add(r parley.Receipt) {
	if strings.HasPrefix(r.Topic, web.TopicConversation("")) {
		b[[2]string{r.Topic, r.User}] = r
	}
}

func (b batch) list() []talk.Receipt {
	out := make([]talk.Receipt, 0, len(b))
	for _, r := range b {
		out = append(out, talk.Receipt{
			Handle: r.User, Conversation: strings.TrimPrefix(r.Topic, web.TopicConversation("")),
			Delivered: store.Place{Epoch: r.Epoch, Seq: int64(r.Delivered)}, Read: store.Place{Epoch: r.Epoch, Seq: int64(r.Read)},
		})
	}
	return out
}
