// Package broker is the contract of the engine under the topics: it puts the
// messages of a topic in one order, keeps what must be kept, and carries them
// to every node that wants them.
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// Errors of an engine. Others are failures of the engine itself.
var (
	ErrClosed     = errors.New("the broker is closed")
	ErrOverloaded = errors.New("the broker holds as much as its limits allow")
	// ErrFenced refuses what an older connection of a producer still sends.
	ErrFenced = errors.New("a newer connection numbers what this producer publishes")
	// ErrNotDurable refuses a durable message where nothing outlives the process.
	ErrNotDurable = errors.New("this broker keeps nothing beyond the process")
	// ErrFailed refuses everything after the disk failed: what was accepted is
	// safe, what comes now could not be promised. Only a restart helps.
	ErrFailed = errors.New("the disk failed: nothing more is accepted until a restart")
)

// SequenceError refuses a message whose number is not the producer's next on
// that topic: one before it was lost or refused.
type SequenceError struct{ Next uint64 }

func (e *SequenceError) Error() string {
	return fmt.Sprintf("number %d of this producer on this topic is missing: send it first", e.Next)
}

// Durability says when a message is accepted, and what it survives then.
type Durability uint8

const (
	// Memory messages end with the process.
	Memory Durability = iota
	// SyncNever messages are written when enough of them have come together, and on
	// the disk when the system thinks fit. A killed process loses the newest,
	// some tens of kilobytes of all topics; a power cut what the system
	// had not brought to the disk.
	SyncNever
	// SyncInterval messages are on the disk within a second: that much a killed
	// process or a power cut loses.
	SyncInterval
	// SyncAlways messages are on the disk before they are accepted and before
	// anybody receives them. They survive kill -9 and a power cut.
	SyncAlways
)

// Handler receives what the engine carries. HandleMessage is called for one
// topic in the order of its positions, never concurrently; different topics
// may be delivered at the same time. It must not block and must not publish.
type Handler interface {
	HandleMessage(m *message.Message)
}

// Options say how one message is kept. They come from the settings of its
// topic.
type Options struct {
	// History is how many messages the topic keeps, and HistoryAge for how
	// long. With History 0 nothing is kept, positions are given all the same.
	History    int
	HistoryAge time.Duration
	// Ephemeral messages have no position (Seq 0) and are never kept, but are
	// delivered in order with the others.
	Ephemeral bool
	// HistoryBytes is about how much the topic keeps. 0: no limit of its own.
	HistoryBytes int64
	// KeyWindow is how long the key of a message is remembered, for the newest
	// Keys of them (0: the engine's own limit).
	KeyWindow time.Duration
	Keys      int
	// Durability says what an accepted message survives.
	Durability Durability
}

// Result is the answer to a publish.
type Result struct {
	Position message.Position
	// Duplicate tells that the same publisher used the key, or the producer the
	// number, before: nothing was published, Position is that of the first
	// message; without a Seq when the first is no longer kept.
	Duplicate bool
}

// Query selects a part of a topic's history.
type Query struct {
	// Epoch, when set, is the history that After and Before belong to.
	Epoch string
	// After and Before bound the sequence numbers, both exclusive; Before 0
	// means up to the newest.
	After, Before uint64
	// Limit is the most messages wanted. 0 asks for the position alone.
	Limit int
	// Newest takes the Limit newest of the selected messages rather than the
	// oldest.
	Newest bool
}

// Page is a part of a topic's history, oldest first.
type Page struct {
	Messages []*message.Message
	// Position is that of the topic's newest message.
	Position message.Position
	// More tells that Limit left out messages of the selection.
	More bool
	// Gap tells that messages of the selection are lost: the history begins
	// later than After, or is not the one named Epoch. After 0 is a position
	// where Epoch is set and Newest is not; otherwise it asks for what is kept.
	Gap bool
}

// Broker is an engine. All methods may be called concurrently.
type Broker interface {
	// Start begins delivery to h. It is called once, before anything else.
	Start(h Handler) error
	// Publish takes ownership of m, gives it a position and carries it. Calls
	// for one topic take effect in the order in which they are made. done is
	// called exactly once, when the message is as safe as its options ask
	// for; it may run before Publish returns or on another goroutine, and
	// must not block.
	Publish(m *message.Message, o Options, done func(Result, error))
	// History reads what the topic keeps.
	History(ctx context.Context, name topic.Name, q Query) (Page, error)
	// Retained returns the last value of every topic that matches f.
	Retained(ctx context.Context, f topic.Filter) ([]*message.Message, error)
	// Watch tells the engine that this node wants the topics matching f from
	// now on, and Unwatch that it no longer does.
	Watch(f topic.Filter) error
	Unwatch(f topic.Filter) error
	// Close ends delivery and releases everything. Publishing afterwards
	// fails with ErrClosed. It may be called more than once.
	Close(ctx context.Context) error
}

// Durabler is an engine that may be able to keep durable topics. One that is no
// Durabler is not.
type Durabler interface {
	// Durable reports whether messages may ask for more than Memory.
	Durable() bool
}

// Lister is an engine that can say which topics have news. Durable
// subscriptions to patterns need it: such a subscriber was away, and does not
// know the names of the topics that came to be meanwhile.
type Lister interface {
	// Mark returns a message.Mark up to which every message was handed to the
	// handler: HandleMessage has returned for it. What is delivered later has a
	// higher one.
	Mark(ctx context.Context) (uint64, error)
	// News returns the topics matching f that keep a message with a higher Mark,
	// in the order of their names, beginning behind the name from, at most limit
	// of them (which is at least 1).
	News(ctx context.Context, f topic.Filter, mark uint64, from topic.Name, limit int) ([]News, error)
}

// News says that a topic has messages after a mark.
type News struct {
	Topic    topic.Name
	Position message.Position // of its newest message
	// After is the Seq behind which all messages are newer than the mark.
	After uint64
}

// Checker is an engine that can say whether it works.
type Checker interface {
	// Check returns nil, or why the engine cannot be relied on at the moment.
	Check(ctx context.Context) error
}

// Publish publishes m and waits until it is accepted.
func Publish(ctx context.Context, b Broker, m *message.Message, o Options) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	ch := make(chan answer, 1)
	b.Publish(m, o, func(r Result, err error) { ch <- answer{r, err} })
	select {
	case a := <-ch:
		return a.result, a.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}
