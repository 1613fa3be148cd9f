package client

import (
	"container/list"
	"slices"
	"time"

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
	keyed   bool // its key is the application's
	answer  answer

	lane   *lane
	series *series // of a message that is numbered
	n      uint64  // its number, once it was sent
	in     *list.List
	at     *list.Element
}

func (e *entry) leave() {
	if e.in != nil {
		e.in.Remove(e.at)
		e.in, e.at = nil, nil
	}
}

func (e *entry) moveTo(l *list.List)      { e.leave(); e.in, e.at = l, l.PushBack(e) }
func (e *entry) moveToFront(l *list.List) { e.leave(); e.in, e.at = l, l.PushFront(e) }
func (e *entry) sent() bool               { return e.in == &e.lane.sent }

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

	numbered bool               // the server keeps numbers
	series   map[string]*series // by topic
}

func newOutbox(messages, bytes int) outbox {
	return outbox{
		messages: messages, bytes: bytes, byID: make(map[uint64]*entry), series: make(map[string]*series),
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
	e.moveTo(&e.lane.waiting)
	return nil
}

// next returns the next entry that may be sent, or nil, and counts it as sent.
func (o *outbox) next() *entry {
	if e := o.nextOf(&o.commands); e != nil {
		return e
	}
	return o.nextOf(&o.calls)
}

func (o *outbox) nextOf(l *lane) *entry {
	for {
		front := l.waiting.Front()
		if front == nil || l.sent.Len() >= l.window {
			return nil
		}
		e, _ := front.Value.(*entry)
		s := o.seriesOf(e)
		if s != nil && s.held {
			e.moveTo(&s.kept)
			continue
		}
		e.moveTo(&l.sent)
		if s != nil {
			s.number(e)
		}
		return e
	}
}

// seriesOf returns what numbers e; nil for what has no number: at QoS 0, where
// nobody minds a copy, and with a server that keeps none.
func (o *outbox) seriesOf(e *entry) *series {
	p := e.command.GetPublish()
	if e.series != nil || !o.numbered || p.GetQos() == 0 {
		return e.series
	}
	s := o.series[p.GetTopic()]
	if s == nil {
		s = &series{}
		o.series[p.GetTopic()] = s
	}
	e.series = s
	return s
}

// settle takes the server's answer to id. It returns the entry when that is the
// end of it, and otherwise how long its topic has to wait; restart then.
func (o *outbox) settle(id uint64, err *Error) (e *entry, paused *series, wait time.Duration) {
	e = o.byID[id]
	if e == nil || e.series == nil || !e.sent() {
		return o.take(id), nil, 0
	}
	s := e.series
	v := s.judge(e, err)
	if v.again {
		e.moveTo(&s.kept)
		o.front(s.resume())
		if v.wait > 0 {
			return nil, s, v.wait
		}
		return nil, nil, 0
	}
	o.forget(e)
	o.front(s.resume())
	return e, nil, 0
}

// restart lets a series go on that was paused.
func (o *outbox) restart(s *series) {
	s.unpause()
	o.front(s.resume())
}

// front puts entries in front of what waits.
func (o *outbox) front(entries []*entry) {
	for _, e := range slices.Backward(entries) {
		e.moveToFront(&e.lane.waiting)
	}
}

// take removes an entry that nobody waits for any more; nil when it is not
// here.
func (o *outbox) take(id uint64) *entry {
	e := o.byID[id]
	if e == nil {
		return nil
	}
	flying := e.series != nil && e.sent()
	o.forget(e)
	if flying {
		e.series.withdrawn()
		o.front(e.series.resume())
	}
	return e
}

func (o *outbox) forget(e *entry) {
	delete(o.byID, e.command.GetId())
	o.size -= e.size
	e.leave()
}

// lost puts what was under way in front of what waits, and answers what must
// not be done twice. When the connection ended because a message was too big,
// the largest under way is given up: it would end every connection.
func (o *outbox) lost(tooBig bool) {
	var largest *entry
	for _, l := range []*lane{&o.commands, &o.calls} {
		var back []*entry
		for at := l.sent.Front(); at != nil; at = at.Next() {
			e, _ := at.Value.(*entry)
			back = append(back, e)
			if largest == nil || e.size > largest.size {
				largest = e
			}
		}
		if l == &o.commands {
			for _, s := range o.series {
				back = append(back, s.cut()...)
			}
		}
		byAge(back)
		o.front(back)
		for _, e := range back {
			if !e.again {
				o.forget(e)
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
