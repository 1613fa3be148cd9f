package vault

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/store"
)

// Durable reports whether a session owes its client something.
func Durable(r *store.Session) bool {
	return len(r.Notes) > 0 || slices.ContainsFunc(r.Subscriptions, func(sub store.Subscription) bool { return sub.QoS > 0 })
}

// Same reports whether two records differ in nothing but cursors, notes and
// when their session was seen; none is like no other.
func Same(a, b *store.Session) bool {
	if a == nil || b == nil || a.Expiry != b.Expiry || a.Device != b.Device || len(a.Subscriptions) != len(b.Subscriptions) {
		return false
	}
	return !slices.ContainsFunc(a.Subscriptions, func(x store.Subscription) bool {
		return !slices.ContainsFunc(b.Subscriptions, func(y store.Subscription) bool {
			return x.Filter == y.Filter && x.QoS == y.QoS && x.Presence == y.Presence && x.Receipts == y.Receipts
		})
	})
}

// maxRepeated is how far back a cursor is looked for that has moved again.
const maxRepeated = 8

// Cursors are those that have moved and that the store does not know of yet, in
// the order in which they moved.
type Cursors []store.Ack

// Move notes where a cursor is now.
func (cs *Cursors) Move(session, filter, topic string, at message.Position) {
	for i := len(*cs) - 1; i >= max(0, len(*cs)-maxRepeated); i-- {
		if c := &(*cs)[i]; c.Topic == topic && c.Filter == filter {
			c.Position = at
			return
		}
	}
	*cs = append(*cs, store.Ack{Session: session, Filter: filter, Topic: topic, Position: at})
}

// OfDevice returns the id of the session that is always that of a user's
// device.
func OfDevice(user, device string) string {
	sum := sha256.Sum256([]byte(user + "\x00" + device))
	return "d-" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Refusal is why something could not be kept; nil when nobody is there to be
// told.
func Refusal(err error) *protocol.Error {
	switch {
	case errors.Is(err, ErrTaken):
		return nil
	case errors.Is(err, store.ErrFull):
		return protocol.Overloaded.Hide(err, "this node keeps as many sessions as it may: try again later")
	case errors.Is(err, store.ErrClosed):
		return protocol.Draining.Hide(err, "this node is shutting down: connect again")
	}
	return protocol.Internal.Hide(err, "the session could not be stored: try again later")
}
