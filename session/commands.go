package session

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/pubsub/receipts"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// do runs one command.
func (s *Session) do(id uint64, c *parleyv1.Command) {
	switch c := c.GetCommand().(type) {
	case *parleyv1.Command_Publish:
		s.publish(id, c.Publish)
	case *parleyv1.Command_Ack:
		s.ack(c.Ack)
	case *parleyv1.Command_Pong: // hear has noted it
	case *parleyv1.Command_Ping:
		s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Pong{Pong: &parleyv1.Pong{}}})
	case *parleyv1.Command_Call:
		s.call(id, c.Call)
	case *parleyv1.Command_Subscribe:
		s.subscribeCommand(id, c.Subscribe)
	case *parleyv1.Command_Unsubscribe:
		s.unsubscribe(id, c.Unsubscribe)
	case *parleyv1.Command_History:
		s.history(id, c.History)
	case *parleyv1.Command_Presence:
		s.presence(id, c.Presence)
	case *parleyv1.Command_Connect:
		s.connect(id, c.Connect)
	case *parleyv1.Command_Refresh:
		s.refresh(id, c.Refresh)
	case *parleyv1.Command_Read:
		s.read(id, c.Read)
	case *parleyv1.Command_Receipts:
		s.receipts(id, c.Receipts)
	default:
		s.refuse(id, protocol.Unimplemented.Errorf("this server does not offer that command yet"))
	}
}

func (s *Session) subscribeCommand(id uint64, c *parleyv1.Subscribe) {
	feed, started, err := s.subscribe(s.m.base, c, nil)
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	begin := func() {
		if id != 0 {
			s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Subscribed{Subscribed: started}})
		}
		feed.Start()
	}
	if started.GetQos() == 0 || s.fleeting {
		begin()
		return
	}
	s.save(func(err error) { // who was answered is kept: after a crash, too
		switch refusal := vault.Refusal(err); {
		case err == nil:
			begin()
		case refusal != nil:
			s.drop(c.GetTopic())
			s.refuse(id, refusal)
		}
	})
}

// subscribe opens a feed without starting it; it goes on from saved, which may
// be nil.
func (s *Session) subscribe(ctx context.Context, c *parleyv1.Subscribe, saved *store.Subscription) (*pubsub.Feed, *parleyv1.Subscribed, error) {
	f, err := topic.ParseFilter(c.GetTopic())
	if err != nil {
		return nil, nil, protocol.BadRequest.Errorf("subscribe: %w", err)
	}
	who := s.Identity()
	if err := s.m.PubSub.Authorize(ctx, who, auth.ActionSubscribe, f); err != nil {
		return nil, nil, err
	}
	qos := min(c.GetQos(), s.m.PubSub.Settings(topic.Name(f)).MaxQoS())
	s.mu.Lock()
	earlier := s.subs.get(string(f))
	full := s.subs.len() >= s.m.Limits.Subscriptions && earlier == nil
	s.mu.Unlock()
	if full {
		most := s.m.Limits.Subscriptions
		return nil, nil, protocol.LimitReached.Errorf("subscribe: %d subscriptions are open, which is the most: unsubscribe first, or use a wildcard", most)
	}
	if earlier != nil && earlier.qos > 0 {
		it := earlier.saved()
		saved = &it
	}
	feed, start, err := s.m.PubSub.Open(ctx, pubsub.Request{
		Filter: f, QoS: qos, Since: position(c.GetSince()), Saved: saved, Presence: c.GetPresence(),
		Who: who, Session: s.id, Receiver: s,
	})
	if err != nil {
		return nil, nil, err
	}
	sub := &subscription{feed: feed, qos: uint8(start.QoS)}
	if c.GetReceipts() {
		sub.receipts = &receipts.Watcher{Filter: f, Session: s.id, Deliver: func(d *hub.Delivery) { s.Deliver(d) }}
		s.m.PubSub.WatchReceipts(sub.receipts)
	}
	if !s.keep(sub) {
		sub.close(s.m.PubSub)
		return nil, nil, protocol.Closed.Errorf("the connection has ended")
	}
	// Rights that were withdrawn since they were asked for found nothing to end.
	if err := s.m.PubSub.Authorize(ctx, s.Identity(), auth.ActionSubscribe, f); err != nil {
		s.drop(string(f))
		return nil, nil, err
	}
	s.received(f, c.GetSince(), start)
	return feed, &parleyv1.Subscribed{
		Topic: string(f), Qos: start.QoS, Recovered: start.Recovered, Position: protocol.WirePosition(start.Position),
		Resumed: saved != nil && start.QoS > 0,
	}, nil
}

// received tells the others on a topic that this person has what the client
// says it has: it may have come another way, with a page that was loaded.
func (s *Session) received(f topic.Filter, since *parleyv1.Position, start pubsub.Start) {
	if start.QoS == 0 || !start.Recovered || f.Wildcard() {
		return
	}
	if at := min(since.GetSeq(), start.Position.Seq); at > 0 {
		s.m.PubSub.Delivered(topic.Name(f), message.Position{Epoch: start.Position.Epoch, Seq: at}, s.user, s.id)
	}
}

// keep makes sub the session's subscription to its filter, in place of an
// earlier one; false when the session has ended.
func (s *Session) keep(sub *subscription) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	earlier := s.subs.get(string(sub.feed.Filter()))
	s.subs.put(sub)
	s.mu.Unlock()
	if earlier != nil {
		earlier.close(s.m.PubSub)
	}
	return true
}

func (s *Session) unsubscribe(id uint64, c *parleyv1.Unsubscribe) {
	s.drop(c.GetTopic()) // without a subscription the client has what it asked for
	if id != 0 {
		s.unsubscribed(id, c.GetTopic())
	}
}

// unsubscribed tells the client that nothing more comes of a subscription.
func (s *Session) unsubscribed(id uint64, filter string) {
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Unsubscribed{Unsubscribed: &parleyv1.Unsubscribed{Topic: filter}}})
}

// ack notes what the client has handled. It is never answered; one for
// something that was never handed over says nothing.
func (s *Session) ack(c *parleyv1.Ack) {
	if c.GetShare() != "" {
		s.ackShare(c)
		return
	}
	var few [4]*subscription
	s.mu.Lock()
	subs := s.subs.acknowledging(few[:0], c.GetTopic())
	s.mu.Unlock()
	for _, sub := range subs {
		at, moved := sub.feed.Ack(c.GetTopic(), c.GetSeq())
		if !moved {
			continue
		}
		s.moved(string(sub.feed.Filter()), c.GetTopic(), at)
		at.Seq = c.GetSeq()
		s.m.PubSub.Delivered(topic.Name(c.GetTopic()), at, s.user, s.id)
	}
}

// ackShare is ack for what came through a group.
func (s *Session) ackShare(c *parleyv1.Ack) {
	var few [4]*subscription
	s.mu.Lock()
	subs := s.subs.sharing(few[:0], c.GetShare(), c.GetTopic())
	s.mu.Unlock()
	for _, sub := range subs {
		if c.GetFailed() {
			sub.feed.Fail(c.GetTopic(), c.GetSeq())
		} else {
			sub.feed.Ack(c.GetTopic(), c.GetSeq())
		}
	}
}

// read tells the others on a topic how far this person has read.
func (s *Session) read(id uint64, c *parleyv1.Read) {
	name, err := s.readable(auth.ActionSubscribe, c.GetTopic())
	if err == nil && s.user == "" {
		err = protocol.Unauthorized.Errorf("read: receipts belong to people: sign in first")
	}
	var at message.Position
	if err == nil {
		at, err = s.m.PubSub.Read(s.m.base, name, c.GetSeq(), s.user, s.id)
	}
	switch refusal := (*protocol.Error)(nil); {
	case errors.As(err, &refusal) && refusal.Code == protocol.NotFound.Code && id == 0:
		// One that nobody waits for is no mistake where no receipts are kept.
	case err != nil:
		s.refuse(id, ClientError(err))
	case id != 0:
		s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Receipt{Receipt: &parleyv1.Receipt{
			Topic: string(name), User: s.user, Epoch: at.Epoch, Delivered: at.Seq, Read: at.Seq,
		}}})
	}
}

// receipts answers how far people have got.
func (s *Session) receipts(id uint64, c *parleyv1.Receipts) {
	name, err := s.readable(auth.ActionSubscribe, c.GetTopic())
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	list, err := s.m.PubSub.Receipts(s.m.base, name)
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Receipts{
		Receipts: &parleyv1.ReceiptList{Topic: string(name), Receipts: list},
	}})
}

// publish takes a message to a topic. Where its type has a handler, that
// decides; otherwise it is placed in its topic.
func (s *Session) publish(id uint64, c *parleyv1.Publish) {
	name, err := topic.ParseName(c.GetTopic())
	if err != nil {
		s.refuse(id, protocol.BadRequest.Errorf("publish: %w", err))
		return
	}
	who := s.Identity()
	if bad := s.checkPublish(who, name, c); bad != nil {
		s.refuse(id, bad)
		return
	}
	if c.GetType() != "" && s.m.Router.Handles(c.GetType()) {
		s.routed(id, who, c)
		return
	}
	m := &message.Message{
		Topic: string(name), Type: c.GetType(), From: who.User, Key: c.GetKey(), Headers: c.GetHeaders(),
		Payload: c.GetPayload(), Retain: c.GetRetain(),
	}
	if len(c.GetData()) > 0 {
		m.Payload, m.Binary = c.GetData(), true
	}
	if ms := c.GetExpiresInMs(); ms > 0 {
		m.ExpiresAt = time.Now().Add(time.Duration(min(ms, maxExpiryMS)) * time.Millisecond).UnixMilli()
	}
	if c.Echo != nil && !c.GetEcho() {
		m.Except = s.id
	}
	if l := s.last.Load(); l != nil && c.GetN() > 0 {
		m.Producer, m.ProducerEpoch, m.N = l.producer, l.epoch, c.GetN()
	}
	if refusal := s.begins(); refusal != nil {
		s.refuse(id, refusal)
		return
	}
	s.m.PubSub.Publish(pubsub.Publication{Message: m}, func(r broker.Result, err error) {
		defer s.finished()
		if err != nil {
			s.refuse(id, ClientError(err))
		} else if id != 0 {
			s.published(id, r)
		}
	})
}

// maxExpiryMS keeps an expiry within what a duration can say: 100 years.
const maxExpiryMS = 100 * 365 * 24 * 3600 * 1000

func (s *Session) published(id uint64, r broker.Result) {
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Published{
		Published: &parleyv1.Published{Position: protocol.WirePosition(r.Position), Duplicate: r.Duplicate},
	}})
}

func (s *Session) checkPublish(who auth.Identity, name topic.Name, c *parleyv1.Publish) *protocol.Error {
	switch {
	case name.System():
		return protocol.Forbidden.Errorf("publish: topics that begin with $ belong to the server")
	case c.GetQos() > 2:
		return protocol.BadRequest.Errorf("publish: qos is 0, 1 or 2, not %d", c.GetQos())
	case c.GetN() > 0 && s.lasts().producer == "":
		return protocol.BadRequest.Errorf("publish: n is the number of a producer: name one in connect.producer")
	case len(c.GetPayload()) > 0 && len(c.GetData()) > 0:
		return protocol.BadRequest.Errorf("publish: payload and data exclude each other")
	case len(c.GetHeaders()) > s.m.Limits.HeaderCount:
		return protocol.BadRequest.Errorf("publish: %d headers, at most %d", len(c.GetHeaders()), s.m.Limits.HeaderCount)
	}
	if err := s.m.PubSub.Authorize(s.m.base, who, auth.ActionPublish, topic.Filter(name)); err != nil {
		return ClientError(err)
	}
	return nil
}

func (s *Session) history(id uint64, c *parleyv1.History) {
	name, err := s.readable(auth.ActionHistory, c.GetTopic())
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	q := broker.Query{Limit: int(min(c.GetLimit(), pubsub.MaxHistory)), Newest: true}
	if q.Limit == 0 {
		q.Limit = 50
	}
	if b := c.GetBefore(); b != nil {
		q.Before, q.Epoch = b.GetSeq(), b.GetEpoch()
	}
	if a := c.GetAfter(); a != nil {
		q.After, q.Epoch, q.Newest = a.GetSeq(), a.GetEpoch(), false
	}
	page, err := s.m.PubSub.History(s.m.base, name, q)
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	answer := &parleyv1.HistoryPage{Topic: string(name), Position: protocol.WirePosition(page.Position), More: page.More, Gap: page.Gap}
	for _, m := range page.Messages {
		if m.Except == "" || m.Except != s.id {
			answer.Messages = append(answer.Messages, protocol.Wire(m))
		}
	}
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_History{History: answer}})
}

func (s *Session) presence(id uint64, c *parleyv1.Presence) {
	name, err := s.readable(auth.ActionPresence, c.GetTopic())
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	members, err := s.m.PubSub.Presence(name)
	if err != nil {
		s.refuse(id, ClientError(err))
		return
	}
	answer := &parleyv1.PresenceList{Topic: string(name)}
	for _, m := range members {
		answer.Members = append(answer.Members, &parleyv1.Member{User: m.User, Name: m.Name, Devices: uint32(m.Devices), Since: m.Since.UnixMilli()})
	}
	s.conn.Reply(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Presence{Presence: answer}})
}

// readable checks that the client may do action on one topic.
func (s *Session) readable(action auth.Action, text string) (topic.Name, error) {
	name, err := topic.ParseName(text)
	if err != nil {
		return "", protocol.BadRequest.Errorf("%s: %w", action, err)
	}
	return name, s.m.PubSub.Authorize(s.m.base, s.Identity(), action, topic.Filter(name))
}
