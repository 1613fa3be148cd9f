package client

import (
	"container/list"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// window is how many publishes and calls are under way at once.
const window = 256

// overhead is what an entry takes besides its payload, roughly.
const overhead = 200

// answer is called once, with the client's lock held. Exactly one argument is
// set.
type answer func(*parleyv1.Reply, error)

// entry is a publish or a call that has no answer yet.
type entry struct {
	command *parleyv1.Command
	size    int
	again   bool // doing it twice is harmless
	answer  answer
	at      *list.Element
	sent    bool
}

// outbox holds entries in the order they were made: those sent first, then
// those waiting. It is bounded by number and by bytes; the client's lock
// guards it.
type outbox struct {
	messages, bytes int
	byID            map[uint64]*entry
	sent, waiting   list.List
	size            int
}

func (o *outbox) add(e *entry) error {
	if len(o.byID) >= o.messages || o.size+e.size > o.bytes {
		return ErrOutboxFull
	}
	if o.byID == nil {
		o.byID = make(map[uint64]*entry)
	}
	o.byID[e.command.GetId()] = e
	o.size += e.size
	e.at = o.waiting.PushBack(e)
	return nil
}

// next returns the next entry that may be sent, or nil, and counts it as sent.
func (o *outbox) next() *entry {
	front := o.waiting.Front()
	if front == nil || o.sent.Len() >= window {
		return nil
	}
	e, _ := o.waiting.Remove(front).(*entry)
	e.at, e.sent = o.sent.PushBack(e), true
	return e
}

// take removes an entry; nil when it is not here.
func (o *outbox) take(id uint64) *entry {
	e := o.byID[id]
	if e == nil {
		return nil
	}
	delete(o.byID, id)
	o.size -= e.size
	if e.sent {
		o.sent.Remove(e.at)
	} else {
		o.waiting.Remove(e.at)
	}
	return e
}

// lost puts what was under way in front of what waits, and answers what must
// not be done twice. When the connection ended because a message was too big,
// the largest under way is given up: it would end every connection.
func (o *outbox) lost(tooBig bool) {
	var largest *entry
	for at := o.sent.Back(); at != nil; at = o.sent.Back() {
		e, _ := o.sent.Remove(at).(*entry)
		e.at, e.sent = o.waiting.PushFront(e), false
		if largest == nil || e.size > largest.size {
			largest = e
		}
		if !e.again {
			o.take(e.command.GetId())
			e.answer(nil, ErrDisconnected)
		}
	}
	if tooBig && largest != nil && o.take(largest.command.GetId()) != nil {
		largest.answer(nil, &Error{Code: "too_large", Status: 413, Retry: "never", Message: "the server accepts no message of this size"})
	}
}

// fail answers everything with err.
func (o *outbox) fail(err error) {
	for id := range o.byID {
		o.take(id).answer(nil, err)
	}
}
