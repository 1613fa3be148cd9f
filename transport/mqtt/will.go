package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/internal/wheel"
	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// will is what is published when its client is gone without a farewell.
type will struct {
	command *parleyv1.Publish
	delay   time.Duration
}

func newWill(p *packet.Connect, headers int) *will {
	w := &p.Will
	published := packet.Publish{
		QoS: w.QoS, Retain: w.Retain, Topic: w.Topic, Payload: w.Payload,
		Properties: w.Properties.Without(packet.WillDelayInterval),
	}
	return &will{
		command: command(&published, string(w.Topic), headers),
		delay:   time.Duration(w.Properties.Number(packet.WillDelayInterval, 0)) * time.Second,
	}
}

// wills are those whose clients are gone, and may come back before the delay is
// over (§3.1.3.2.2).
type wills struct {
	mu      sync.Mutex
	pending map[string]*delayedWill // by session
}

// delayedWill waits on the wheel.
type delayedWill struct {
	timer   wheel.Timer
	publish func()
}

// leave publishes the will of a client that is gone, or has it wait. It waits
// no longer than the session lasts.
func (ws *wills) leave(cl *client, w *will) {
	who, s, id := cl.session.Identity(), cl.s, cl.session.ID()
	publish := func() { s.publishWill(who, w.command) }
	delay := w.delay
	if cl.expiry != 1<<32-1 {
		delay = min(delay, time.Duration(cl.expiry)*time.Second)
	}
	if delay == 0 {
		publish()
		return
	}
	waiting := &delayedWill{publish: publish}
	ws.mu.Lock()
	ws.pending[id] = waiting
	ws.mu.Unlock()
	s.wheel.Set(&waiting.timer, delay, func(time.Time) {
		if ws.take(id, waiting) {
			publish()
		}
	})
}

// take removes a will that waits; false when it is another's turn.
func (ws *wills) take(id string, w *delayedWill) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w == nil || ws.pending[id] != w {
		return false
	}
	delete(ws.pending, id)
	return true
}

// back forgets the will of a client that has come back in time. When it begins
// anew instead, its old session has ended, and the will is published.
func (ws *wills) back(cl *client, clean bool) {
	id := cl.session.ID()
	ws.mu.Lock()
	w := ws.pending[id]
	ws.mu.Unlock()
	if !ws.take(id, w) {
		return
	}
	cl.s.wheel.Stop(&w.timer)
	if clean {
		w.publish()
	}
}

// flush publishes what waits when the server ends: nobody would later.
func (ws *wills) flush() {
	ws.mu.Lock()
	pending := ws.pending
	ws.pending = make(map[string]*delayedWill)
	ws.mu.Unlock()
	for _, w := range pending {
		w.publish()
	}
}

// publishWill publishes in the name of a client that is gone, if it may.
func (s *Server) publishWill(who auth.Identity, c *parleyv1.Publish) {
	ctx, stop := context.WithTimeout(context.Background(), s.limits.CallTimeout)
	defer stop()
	if topic.Name(c.GetTopic()).System() {
		return
	}
	if err := s.sessions.PubSub.Authorize(ctx, who, auth.ActionPublish, topic.Filter(c.GetTopic())); err != nil {
		s.Log.Info("a will is not published", "user", who.User, "topic", c.GetTopic(), "error", err)
		return
	}
	m := &message.Message{
		Topic: c.GetTopic(), Type: c.GetType(), From: who.User, Headers: c.GetHeaders(), Payload: c.GetPayload(), Retain: c.GetRetain(),
	}
	if len(c.GetData()) > 0 {
		m.Payload, m.Binary = c.GetData(), true
	}
	if ms := c.GetExpiresInMs(); ms > 0 {
		m.ExpiresAt = time.Now().Add(time.Duration(ms) * time.Millisecond).UnixMilli()
	}
	s.sessions.PubSub.Publish(pubsub.Publication{Message: m}, func(_ broker.Result, err error) {
		if err != nil {
			s.Log.Warn("a will could not be published", "user", who.User, "topic", c.GetTopic(), "error", err)
		}
	})
}
