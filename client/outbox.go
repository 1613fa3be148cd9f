package client

import (
	"container/list"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	window     = 256 // commands under way at once
	callWindow = 16  // calls among them: servers work on few of one client at a time
)

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
	lane    *lane
	at      *list.Element
	sent    bool
}

// lane holds entries in the order they were made: those sent first, then those
// waiting.
type lane struct {
	window        int
	sent, waiting list.List
}

// outbox is everything that waits for an answer, over all connections, bounded
// by number and by bytes. Calls are served beside the rest, so they have a lane
// of their own. The client's lock guards it.
type outbox struct {
	messages, bytes int
	byID            map[uint64]*entry
	commands, calls lane
	size            int
}

func newOutbox(messages, bytes int) outbox {
	return outbox{
		messages: messages, bytes: bytes, byID: make(map[uint64]*entry),
		commands: lane{window: window}, calls: lane{window: callWindow},
	}
}

func (o *outbox) add(e *entry) error {
	if len(o.byID) >= o.messages || o.size+e.size > o.bytes {
		return ErrOutboxFull
	}
	e.lane = &o.commands
	if e.command.GetCall() != nil {
		e.lane = &o.calls
	}
	o.byID[e.command.GetId()] = e
	o.size += e.size
	e.at = e.lane.waiting.PushBack(e)
	return nil
}

// next returns the next entry that may be sent, or nil, and counts it as sent.
func (o *outbox) next() *entry {
	if e := o.commands.next(); e != nil {
		return e
	}
	return o.calls.next()
}

func (l *lane) next() *entry {
	front := l.waiting.Front()
	if front == nil || l.sent.Len() >= l.window {
		return nil
	}
	e, _ := l.waiting.Remove(front).(*entry)
	e.at, e.sent = l.sent.PushBack(e), true
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
		e.lane.sent.Remove(e.at)
	} else {
		e.lane.waiting.Remove(e.at)
	}
	return e
}

// lost puts what was under way in front of what waits, and answers what must
// not be done twice. When the connection ended because a message was too big,
// the largest under way is given up: it would end every connection.
func (o *outbox) lost(tooBig bool) {
	var largest *entry
	for _, l := range []*lane{&o.commands, &o.calls} {
		for at := l.sent.Back(); at != nil; at = l.sent.Back() {
			e, _ := l.sent.Remove(at).(*entry)
			e.at, e.sent = l.waiting.PushFront(e), false
			if largest == nil || e.size > largest.size {
				largest = e
			}
			if !e.again {
				o.take(e.command.GetId())
				e.answer(nil, ErrDisconnected)
			}
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
