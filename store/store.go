// Package store is the contract of what must outlive a process beside the
// messages themselves: sessions and how far they have got, receipts, groups of
// consumers, and the numbers of producers. One engine a folder; storetest is
// the suite that all of them pass.
//
// An engine groups writes. A write with a done function is durable when done is
// called with nil; done is called exactly once, perhaps before the method
// returns, on any goroutine, and must not block. A write without one is durable
// within the engine's interval (a second unless it says otherwise); after a
// crash, the last of them may be missing, but never an earlier one of the same
// record while a later one is there.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/message"
)

// Errors of an engine. Others are failures of the engine itself.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("there is no such record")
	// ErrFull: the engine holds as much as its limits allow.
	ErrFull = errors.New("the store holds as much as its limits allow")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("the store is closed")
)

// Session is what outlives a connection: who it belongs to, what it wants, and
// how far it has got.
type Session struct {
	ID     string
	User   string
	Device string
	// Seen is when the session was last known to be connected, and Expiry how
	// long after that it is kept. Who holds a session saves it anew from time to
	// time: nothing says that it is connected, so a crash leaves no lie behind.
	// An engine forgets what Expired returned only when it is told to.
	Seen          time.Time
	Expiry        time.Duration
	Subscriptions []Subscription
	// Notes are small values that a transport keeps with the session, by name.
	Notes map[string][]byte
}

// Subscription is one filter a session wants.
type Subscription struct {
	Filter   string // with $share/group/ where it is one
	QoS      uint32
	Presence bool
	Receipts bool
	// Mark is the message.Mark up to which everything that the filter matches
	// has been dealt with, except for the topics in Acked; patterns only.
	Mark uint64
	// Acked is how far the client has acknowledged, by topic.
	Acked map[string]message.Position
}

// Ack moves one cursor of one session. Of several for the same cursor the last
// counts; a cursor may move back (a new epoch).
type Ack struct {
	Session, Filter, Topic string
	Position               message.Position
}

// Sessions keeps sessions. Methods may be called concurrently; calls for one
// session take effect in their order.
type Sessions interface {
	// Load returns a session, or ErrNotFound. The caller owns it.
	Load(ctx context.Context, id string) (*Session, error)
	// Save replaces a session with all its cursors and notes. s belongs to the
	// engine until done is called. done may be nil.
	Save(s *Session, done func(error))
	// Acked moves cursors of subscriptions there are; others are ignored.
	Acked(acks []Ack)
	// Note sets one note of a session, or removes it when value is nil. It does
	// nothing when there is no such session. done may be nil.
	Note(id, name string, value []byte, done func(error))
	// Delete forgets a session. done may be nil.
	Delete(id string, done func(error))
	// Of returns the ids of a user's sessions.
	Of(ctx context.Context, user string) ([]string, error)
	// Expired returns up to limit ids of sessions whose time is up at now. There
	// may be some among them that a connection holds and has yet to save anew.
	Expired(ctx context.Context, now time.Time, limit int) ([]string, error)
}

// Receipt is how far one person has got in one topic.
type Receipt struct {
	Topic, User     string
	Epoch           string
	Delivered, Read uint64
}

// Receipts keeps how far people have got. Methods may be called concurrently.
type Receipts interface {
	// Receipts returns up to limit receipts of a topic, in the order of users
	// behind the user after, and how many there are in all.
	Receipts(ctx context.Context, topic, after string, limit int) (list []Receipt, all int, err error)
	// Receipt returns one, zero when there is none.
	Receipt(ctx context.Context, topic, user string) (Receipt, error)
	// Advance writes receipts; it replaces older ones of the same person.
	Advance(rs []Receipt)
}

// Group is how far one group of consumers has got in one topic.
//
// With Topic "" it is the group itself: Done.Seq is the message.Mark up to which
// it has met all topics, and Done.Epoch when it was last there, in Unix seconds.
type Group struct {
	Name, Topic string
	// Done is the position up to which every message was handled, and Beyond
	// those handled above it.
	Done   message.Position
	Beyond []uint64
	// Attempts is how often messages that are not handled were given out, where
	// that is more than once.
	Attempts map[uint64]uint32
}

// Groups keeps groups of consumers. Methods may be called concurrently.
type Groups interface {
	// Groups returns the states of a group in all topics it has met.
	Groups(ctx context.Context, name string) ([]Group, error)
	// SaveGroup replaces the state of a group in one topic. done may be nil.
	SaveGroup(g *Group, done func(error))
	// DeleteGroup forgets a group in all topics. done may be nil.
	DeleteGroup(name string, done func(error))
}

// Producers hands out epochs.
type Producers interface {
	// NextEpoch returns a number above all it returned before for this
	// producer, also in earlier processes. It is called for every connect: an
	// engine reserves numbers in blocks, perhaps one series for all producers,
	// rather than write each of them.
	NextEpoch(ctx context.Context, producer string) (uint64, error)
}

// Store is an engine for all of them.
type Store interface {
	Sessions() Sessions
	Receipts() Receipts
	Groups() Groups
	Producers() Producers
	// Close writes what is still to be written and releases everything.
	Close(ctx context.Context) error
}
