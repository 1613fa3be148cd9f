// Package outbox keeps what a client has said and the server has not answered,
// over all of its connections, and numbers what it publishes. It does no I/O;
// whoever uses it guards it with a lock.
package outbox

import (
	"container/list"
	"errors"
	"slices"
	"time"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	window     = 256 // commands under way at once
	callWindow = 16  // calls among them: servers work on few of one client at a time
)

// Overhead is what an entry takes besides its payload, roughly.
const Overhead = 200

// ErrFull refuses an entry that finds no room.
var ErrFull = errors.New("the outbox is full")

// Answer is called once, with the lock held. Exactly one argument is set.
type Answer func(*parleyv1.Reply, error)

// Refusal is an answer that is an error, as far as it matters here.
type Refusal struct {
	Code       string
	Final      bool // waiting will not change it
	RetryAfter time.Duration
	Next       uint64 // of out_of_sequence: the number the server wants
}

// Entry is a publish or a call that has no answer yet.
type Entry struct {
	Command *parleyv1.Command
	Size    int
	Again   bool // doing it twice is harmless
	Keyed   bool // its key is the application's
	Answer  Answer

	lane   *lane
	series *Series // of a message that is numbered
	n      uint64  // its number, once it was sent
	in     *list.List
	at     *list.Element
}

func (e *Entry) leave() {
	if e.in != nil {
		e.in.Remove(e.at)
		e.in, e.at = nil, nil
	}
}

func (e *Entry) moveTo(l *list.List)      { e.leave(); e.in, e.at = l, l.PushBack(e) }
func (e *Entry) moveToFront(l *list.List) { e.leave(); e.in, e.at = l, l.PushFront(e) }
func (e *Entry) sent() bool               { return e.in == &e.lane.sent }

// lane holds entries in the order they were made: those sent first, then those
// waiting.
type lane struct {
	window        int
	sent, waiting list.List
}

// Outbox is everything that waits for an answer, over all connections, bounded
// by number and by bytes. Calls are served beside the rest, so they have a lane
// of their own.
type Outbox struct {
	messages, bytes int
	byID            map[uint64]*Entry
	commands, calls lane
	size            int

	// Numbered tells that the server keeps numbers.
	Numbered bool
	series   map[string]*Series // by topic
}

// New returns an Outbox that holds so many entries and bytes at most.
func New(messages, bytes int) Outbox {
	return Outbox{
		messages: messages, bytes: bytes, byID: make(map[uint64]*Entry), series: make(map[string]*Series),
		commands: lane{window: window}, calls: lane{window: callWindow},
	}
}

// Add puts an entry behind the others; its command has an id.
func (o *Outbox) Add(e *Entry) error {
	if len(o.byID) >= o.messages || o.size+e.Size > o.bytes {
		return ErrFull
	}
	e.lane = &o.commands
	if e.Command.GetCall() != nil {
		e.lane = &o.calls
	}
	o.byID[e.Command.GetId()] = e
	o.size += e.Size
	e.moveTo(&e.lane.waiting)
	return nil
}

// Next returns the next entry that may be sent, or nil, and counts it as sent.
func (o *Outbox) Next() *Entry {
	if e := o.nextOf(&o.commands); e != nil {
		return e
	}
	return o.nextOf(&o.calls)
}

func (o *Outbox) nextOf(l *lane) *Entry {
	for {
		front := l.waiting.Front()
		if front == nil || l.sent.Len() >= l.window {
			return nil
		}
		e, _ := front.Value.(*Entry)
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
func (o *Outbox) seriesOf(e *Entry) *Series {
	p := e.Command.GetPublish()
	if e.series != nil || !o.Numbered || p.GetQos() == 0 {
		return e.series
	}
	s := o.series[p.GetTopic()]
	if s == nil {
		s = &Series{}
		o.series[p.GetTopic()] = s
	}
	e.series = s
	return s
}

// Settle takes the server's answer to id. It returns the entry when that is the
// end of it, and otherwise how long its topic has to wait; Restart then.
func (o *Outbox) Settle(id uint64, no *Refusal) (e *Entry, paused *Series, wait time.Duration) {
	e = o.byID[id]
	if e == nil || e.series == nil || !e.sent() {
		return o.Take(id), nil, 0
	}
	s := e.series
	v := s.judge(e, no)
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

// Restart lets a series go on that was paused.
func (o *Outbox) Restart(s *Series) {
	s.unpause()
	o.front(s.resume())
}

// front puts entries in front of what waits.
func (o *Outbox) front(entries []*Entry) {
	for _, e := range slices.Backward(entries) {
		e.moveToFront(&e.lane.waiting)
	}
}

// Take removes an entry that nobody waits for any more; nil when it is not
// here.
func (o *Outbox) Take(id uint64) *Entry {
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

func (o *Outbox) forget(e *Entry) {
	delete(o.byID, e.Command.GetId())
	o.size -= e.Size
	e.leave()
}

// Has reports whether id waits for its answer.
func (o *Outbox) Has(id uint64) bool { return o.byID[id] != nil }

// Lost puts what was under way in front of what waits, after the connection
// ended. It removes and returns what must not be done twice, and, when the
// connection ended because a message was too big, the largest that was under
// way: it would end every connection.
func (o *Outbox) Lost(tooBig bool) (unsure []*Entry, largest *Entry) {
	for _, l := range []*lane{&o.commands, &o.calls} {
		var back []*Entry
		for at := l.sent.Front(); at != nil; at = at.Next() {
			e, _ := at.Value.(*Entry)
			back = append(back, e)
			if largest == nil || e.Size > largest.Size {
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
			if !e.Again {
				o.forget(e)
				unsure = append(unsure, e)
			}
		}
	}
	if !tooBig || largest == nil || o.Take(largest.Command.GetId()) == nil {
		return unsure, nil
	}
	return unsure, largest
}

// Empty removes everything and returns it.
func (o *Outbox) Empty() []*Entry {
	var all []*Entry
	for id := range o.byID {
		all = append(all, o.Take(id))
	}
	return all
}
