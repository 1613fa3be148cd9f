package store

import (
	"context"
	"errors"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// ErrFailed refuses writes after the disk failed: whether a write that was under
// way is on the disk cannot be known, so nothing is promised any more. Reads go
// on. Only a restart helps.
var ErrFailed = errors.New("the disk failed: nothing more is written until a restart")

// Log keeps the messages of durable topics. It stores what it is given: the
// engine above decides what follows what, and is the only writer.
//
// A topic's numbers are dense within an epoch. What Append was given is visible
// to the other methods when Append returns, before it is on the disk; who must
// not see what could still be lost reads up to what was acknowledged.
//
// All methods but Append may be called concurrently. Messages that are returned
// belong to the caller.
type Log interface {
	// Append writes entries of any topics as one: all of them or none. With
	// sync they are on the disk when done is called with nil; without, they
	// were written, and a crash loses the newest of them, never an earlier one
	// alone. done is called once, in the order of the calls, possibly on another
	// goroutine; it must neither block nor write. Calls are made one after the other;
	// entries belong to the caller again when Append returns.
	Append(entries []Entry, sync bool, done func(error))
	// Topics returns the topics that match f and q, in the order of their names.
	// "" matches all, also those of the system.
	Topics(ctx context.Context, f topic.Filter, q TopicQuery) ([]Head, error)
	// Read returns messages of a topic; none of a topic there is not.
	Read(ctx context.Context, name topic.Name, r Range) (Records, error)
	// Recall returns what a topic remembers of its publishers: the newest keys
	// of them, oldest first, and all producers.
	Recall(ctx context.Context, name topic.Name, keys int) (Publishers, error)
	// Retained returns the last values of the topics that match f, in the order
	// of their names.
	Retained(ctx context.Context, f topic.Filter) ([]*message.Message, error)
	// Trim forgets the oldest of a topic as t says, and returns what is left. A
	// crash may bring back what was forgotten last.
	Trim(ctx context.Context, name topic.Name, t Trim) (Head, error)
	// Reserve makes all marks below the returned one used: it is higher than
	// that of any message and than any mark returned before, also by earlier
	// processes, by at least n. It is on the disk on return.
	Reserve(ctx context.Context, n uint64) (uint64, error)
}

// Entry is one message to append, and what is remembered with it.
type Entry struct {
	// Message has its position and mark: Seq is one above the topic's Last, or
	// 1 in a new Epoch, which replaces all that the topic kept before. Its
	// producer's Epoch and N become the last known ones.
	Message *message.Message
	// KeyUntil is the Unix millisecond until which the message's key is
	// remembered; 0: it is not.
	KeyUntil int64
	// Retain makes the message the topic's last value, or clears the value when its
	// payload is empty.
	Retain bool
	// Forget names producers that are no longer remembered on the topic.
	Forget []string
	// Keep, when not nil, is what the topic is trimmed to from now on.
	Keep *Keep
}

// Keep is how much of a topic is kept. It is stored with the topic, so that
// it can be trimmed while nobody uses it. 0 is no bound.
type Keep struct {
	Count uint64
	Bytes int64
	// Age is in milliseconds.
	Age int64
}

// Head is the state of a topic's log.
type Head struct {
	Topic topic.Name
	Epoch string
	// First is the number of the oldest message that is kept, Last+1 when none is;
	// Last that of the newest there ever was.
	First, Last uint64
	// Bytes is about how much is kept.
	Bytes int64
	// Mark is that of the newest message; 0 when none is kept.
	Mark uint64
	// After is the number behind which all messages have a higher mark than
	// TopicQuery.Mark; at least First-1.
	After uint64
	Keep  Keep
}

// TopicQuery selects topics.
type TopicQuery struct {
	// From is the name behind which to begin; "" is the beginning.
	From topic.Name
	// Limit is the most topics wanted; 0 is no limit.
	Limit int
	// News leaves out topics that keep no message with a mark above Mark.
	News bool
	Mark uint64
}

// Range selects messages of a topic.
type Range struct {
	// After and Before bound the numbers, both exclusive; Before 0 means up to
	// the newest.
	After, Before uint64
	// Limit is the most messages wanted, and Bytes about the most bytes, though
	// one message is always read; 0 is no limit.
	Limit, Bytes int
	// Newest takes the newest of the selected messages rather than the oldest.
	Newest bool
}

// Records are messages read.
type Records struct {
	// Messages are in the order of their numbers.
	Messages []*message.Message
	// More tells that Limit or Bytes left out messages of the selection.
	More bool
	// Damaged tells that messages of the part that was read could not be: those
	// whose numbers are missing. They are lost unless a backup has them.
	Damaged bool
}

// Publishers is what a topic remembers of who published.
type Publishers struct {
	Keys      []Key
	Producers []Producer
}

// Key is a key that was used.
type Key struct {
	From, Key string
	Seq       uint64
	// Until is the Unix millisecond until which it is remembered.
	Until int64
}

// Producer is how far a producer has got on a topic.
type Producer struct {
	Producer string
	Epoch    uint64
	// N is its last number, and Seq that message's.
	N, Seq uint64
}

// Trim says what to forget of a topic. What several bounds name goes.
type Trim struct {
	// Count and Bytes are what may be left; 0 is no bound.
	Count uint64
	Bytes int64
	// Before is a time in Unix milliseconds: messages older than it go.
	Before int64
	// KeysBelow is a number: keys of messages below it go.
	KeysBelow uint64
}

// Position returns that of the topic's newest message.
func (h *Head) Position() message.Position { return message.Position{Epoch: h.Epoch, Seq: h.Last} }
