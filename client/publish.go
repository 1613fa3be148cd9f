package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// defaultCall bounds a call whose context has no deadline.
const defaultCall = 10 * time.Second

// Publish sends v, which becomes JSON unless it is a []byte, and returns the
// server's answer. While there is no connection it waits; a message that may
// have been sent before a break is sent again and stored once, and so is one
// that the server refuses for now. When ctx ends first, a message that was not
// sent yet is withdrawn and one that was may still be stored.
//
// Messages are numbered, per topic, for as long as the client lives: the server
// stores each once and in the order of the calls, whatever breaks between. What
// has to be stored once over several lives of a program needs a Key.
func (c *Client) Publish(ctx context.Context, topic, typ string, v any, options ...PublishOption) (Published, error) {
	p, err := c.PublishAsync(topic, typ, v, options...)
	if err != nil {
		return Published{}, err
	}
	return p.Wait(ctx)
}

// PublishAsync is Publish without the wait: messages are sent in the order of
// the calls. It fails when v is no JSON, the outbox is full, or the client is
// closed.
func (c *Client) PublishAsync(topic, typ string, v any, options ...PublishOption) (*Pending, error) {
	p := publication{qos: 1}
	for _, o := range options {
		o(&p)
	}
	keyed := p.key != ""
	if !keyed {
		p.key = rand.Text() // for a server that keeps no numbers
	}
	m := &parleyv1.Publish{
		Topic: topic, Type: typ, Key: p.key, Qos: p.qos, Headers: p.headers,
		Retain: p.retain, ExpiresInMs: uint64(max(p.expires, 0).Milliseconds()),
	}
	if p.silent {
		no := false
		m.Echo = &no
	}
	if data, ok := v.([]byte); ok {
		m.Data = data
	} else {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("publish on %s: %w", topic, err)
		}
		m.Payload = text
	}
	size := len(m.GetPayload()) + len(m.GetData()) + len(topic)
	command := &parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: m}}
	pending, err := c.post(&entry{command: command, size: size + overhead, again: true, keyed: keyed})
	if err != nil {
		return nil, fmt.Errorf("publish on %s: %w", topic, err)
	}
	pending.what = "publish on " + topic
	return pending, nil
}

// Volatile sends v now or not at all, and nobody answers: for "is typing" and
// the like.
func (c *Client) Volatile(topic, typ string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		m := &parleyv1.Publish{Topic: topic, Type: typ, Payload: text}
		c.link.send(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: m}})
	}
	return nil
}

// CallOption sets up one call.
type CallOption func(*parleyv1.Call) (again bool)

// Idempotent marks a call that may be done twice: it is sent again when the
// connection broke before the answer.
func Idempotent() CallOption { return func(*parleyv1.Call) bool { return true } }

// Call asks the application behind the server, and reads its answer into an
// Out. A call under way when the connection breaks fails with ErrDisconnected,
// because it may have been done, unless it is Idempotent. Without a deadline in
// ctx it takes 10 seconds at most.
func Call[Out any](ctx context.Context, c *Client, typ string, in any, options ...CallOption) (Out, error) {
	var out Out
	text, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("call %s: %w", typ, err)
	}
	answer, err := c.call(ctx, typ, text, options)
	if err != nil {
		return out, err
	}
	if len(answer) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("call %s: the answer: %w", typ, err)
	}
	return out, nil
}

func (c *Client) call(ctx context.Context, typ string, payload []byte, options []CallOption) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultCall)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	call := &parleyv1.Call{Type: typ, Payload: payload, TimeoutMs: uint64(max(time.Until(deadline).Milliseconds(), 1))}
	again := false
	for _, o := range options {
		again = o(call) || again
	}
	r, err := c.request(ctx, "call "+typ, &parleyv1.Command{Command: &parleyv1.Command_Call{Call: call}}, len(payload), again)
	return r.GetResult().GetPayload(), err
}

// Query selects a part of a topic's history: before a position, newest first
// to be reached; after one; or, with neither, the newest.
type Query struct {
	Before, After *Position
	Limit         int // 50 when 0
}

// History reads older messages, oldest first.
func (c *Client) History(ctx context.Context, topic string, q Query) (Page, error) {
	h := &parleyv1.History{Topic: topic, Limit: 50}
	if q.Limit > 0 {
		h.Limit = uint32(q.Limit)
	}
	if q.Before != nil {
		h.Before = &parleyv1.Position{Epoch: q.Before.Epoch, Seq: q.Before.Seq}
	}
	if q.After != nil {
		h.After = &parleyv1.Position{Epoch: q.After.Epoch, Seq: q.After.Seq}
	}
	r, err := c.request(ctx, "history of "+topic, &parleyv1.Command{Command: &parleyv1.Command_History{History: h}}, 0, true)
	if err != nil {
		return Page{}, err
	}
	return fromWirePage(r.GetHistory()), nil
}

// Presence returns who is on a topic.
func (c *Client) Presence(ctx context.Context, topic string) ([]Member, error) {
	command := &parleyv1.Command{Command: &parleyv1.Command_Presence{Presence: &parleyv1.Presence{Topic: topic}}}
	r, err := c.request(ctx, "presence of "+topic, command, 0, true)
	if err != nil {
		return nil, err
	}
	var members []Member
	for _, m := range r.GetPresence().GetMembers() {
		members = append(members, Member{User: m.GetUser(), Name: m.GetName(), Devices: int(m.GetDevices()), Since: time.UnixMilli(m.GetSince())})
	}
	return members, nil
}

// Position returns the newest message of a topic that was handed out: a Since
// for later. ok is false for a topic that was not heard of.
func (c *Client) Position(topic string) (p Position, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.places[topic]
	if t == nil || !t.known {
		return Position{}, false
	}
	return *t.since(), true
}

// Pending is a message on its way.
type Pending struct {
	c    *Client
	id   uint64
	what string
	done chan struct{}

	reply *parleyv1.Reply // set before done is closed
	err   error
}

// Done is closed when the answer is there.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns the server's answer. What ctx means is told at Publish.
func (p *Pending) Wait(ctx context.Context) (Published, error) {
	r, err := p.wait(ctx)
	if err != nil {
		return Published{}, err
	}
	a := r.GetPublished()
	return Published{Position: fromWirePosition(a.GetPosition()), Duplicate: a.GetDuplicate()}, nil
}

func (p *Pending) wait(ctx context.Context) (*parleyv1.Reply, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.c.mu.Lock()
		withdrawn := p.c.outbox.take(p.id) != nil
		if withdrawn {
			p.c.pump()
		}
		p.c.mu.Unlock()
		if withdrawn {
			return nil, fmt.Errorf("%s: %w", p.what, ctx.Err())
		}
		<-p.done // it was answered at the same moment
	}
	if p.err != nil {
		return nil, fmt.Errorf("%s: %w", p.what, p.err)
	}
	return p.reply, nil
}

// request posts a command and waits for its answer.
func (c *Client) request(ctx context.Context, what string, command *parleyv1.Command, size int, again bool) (*parleyv1.Reply, error) {
	p, err := c.post(&entry{command: command, size: size + overhead, again: again})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p.what = what
	return p.wait(ctx)
}

// post puts an entry into the outbox.
func (c *Client) post(e *entry) (*Pending, error) {
	p := &Pending{c: c, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, errors.Join(ErrClosed, c.err)
	}
	p.id = c.number()
	e.command.Id = p.id
	e.answer = func(r *parleyv1.Reply, err error) {
		p.reply, p.err = r, err
		if m := e.command.GetPublish(); err == nil && m != nil && m.Echo != nil && !m.GetEcho() {
			if t := c.places[m.GetTopic()]; t != nil {
				t.mine(r.GetPublished().GetPosition().GetSeq())
			}
		}
		close(p.done)
	}
	if err := c.outbox.add(e); err != nil {
		return nil, err
	}
	c.pump()
	return p, nil
}

// pump sends what may be sent. The lock is held.
func (c *Client) pump() {
	if !c.open {
		return
	}
	for e := c.outbox.next(); e != nil; e = c.outbox.next() {
		c.link.send(e.command)
	}
}
