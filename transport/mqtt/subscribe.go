package mqtt

import (
	"context"
	"slices"
	"strings"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// subscription is what MQTT has on a subscription beside what the session has.
type subscription struct {
	text       string       // as the client has written it
	filter     topic.Filter // without $share and the group
	share      string
	id         uint32 // subscription identifier; 0: none
	qos        byte
	noLocal    bool
	asIs       bool // retain as published
	noRetained bool // last values are not wanted, for now
}

// subscriptions are those of one client. Most have one or few.
type subscriptions []subscription

func (ss *subscriptions) find(text string) *subscription {
	for i := range *ss {
		if (*ss)[i].text == text {
			return &(*ss)[i]
		}
	}
	return nil
}

func (ss *subscriptions) remove(text string) bool {
	for i := range *ss {
		if (*ss)[i].text == text {
			last := len(*ss) - 1
			(*ss)[i] = (*ss)[last]
			(*ss)[last] = subscription{}
			*ss = (*ss)[:last]
			return true
		}
	}
	return false
}

// put adds a subscription, or replaces the one with the same filter, and
// returns that.
func (ss *subscriptions) put(s subscription) (before *subscription) {
	if old := ss.find(s.text); old != nil {
		kept := *old
		*old = s
		return &kept
	}
	*ss = append(*ss, s)
	return nil
}

// match is what the subscriptions say about one message.
type match struct {
	any    bool
	qos    byte
	retain bool
	ids    []uint32
}

// match finds what is wanted of a message. Of several subscriptions the
// highest QoS counts, and all identifiers are said [MQTT-3.3.4-2, -4].
func (ss *subscriptions) match(m *message.Message) (out match) {
	for i := range *ss {
		s := &(*ss)[i]
		if s.share != m.Share || m.Retained && s.noRetained || !s.filter.Matches(topic.Name(m.Topic)) {
			continue
		}
		out.any = true
		out.qos = max(out.qos, s.qos)
		out.retain = out.retain || m.Retained || s.asIs && m.Retain
		if s.id != 0 {
			out.ids = append(out.ids, s.id)
		}
	}
	return out
}

// deaf reports whether what the client itself publishes on a topic is not to
// come back: it is subscribed, and never to that.
func (ss *subscriptions) deaf(name string) bool {
	deaf := false
	for i := range *ss {
		s := &(*ss)[i]
		if !s.filter.Matches(topic.Name(name)) {
			continue
		}
		if !s.noLocal {
			return false
		}
		deaf = true
	}
	return deaf
}

// unshare parts $share/group/filter.
func unshare(text string) (share string, filter topic.Filter) {
	if rest, ok := strings.CutPrefix(text, "$share/"); ok {
		if group, inner, ok := strings.Cut(rest, "/"); ok {
			return group, topic.Filter(inner)
		}
	}
	return "", topic.Filter(text)
}

// ask is a SUBSCRIBE or an UNSUBSCRIBE that is being answered, by a command for
// each filter.
type ask struct {
	first   uint64 // of the numbers of its commands
	left    int    // that are not answered yet
	filters []string
	before  []*subscription // what there was; nil for none
	answers []*parleyv1.Reply
	done    func(a *ask) // is called with the client's lock held
}

// takes notes an answer if it belongs to the ask.
func (a *ask) takes(r *parleyv1.Reply) bool {
	if r.GetId() < a.first || r.GetId() >= a.first+uint64(len(a.filters)) {
		return false
	}
	a.answers[r.GetId()-a.first] = r
	a.left--
	return true
}

// asked takes an answer to one of the asks; mu is held.
func (cl *client) asked(r *parleyv1.Reply) bool {
	if cl.rare == nil {
		return false
	}
	for i, a := range cl.rare.asks {
		if !a.takes(r) {
			continue
		}
		if a.left == 0 {
			cl.rare.asks = slices.Delete(cl.rare.asks, i, i+1)
			a.done(a)
			cl.relax()
		}
		return true
	}
	return false
}

// relax gives back what is not needed any more; mu is held.
func (cl *client) relax() {
	if r := cl.rare; r.will == nil && r.known == nil && r.told == nil && len(r.asks) == 0 {
		cl.rare = nil
	}
}

// each runs a command for each filter of an ask.
func (cl *client) each(a *ask, command func(i int) *parleyv1.Command) {
	n := len(a.filters)
	a.left, a.before, a.answers = n, make([]*subscription, n), make([]*parleyv1.Reply, n)
	cl.mu.Lock()
	a.first = cl.next + 1
	cl.next += uint64(n)
	cl.extra().asks = append(cl.extra().asks, a)
	cl.mu.Unlock()
	for i := range n {
		cl.do(a.first+uint64(i), command(i))
	}
	cl.note()
}

// subscribe takes a SUBSCRIBE. The options are there before the first message
// comes.
func (cl *client) subscribe(h packet.Header, body []byte) error {
	var p packet.Subscribe
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	a := &ask{done: func(a *ask) { cl.subacked(p.ID, a) }}
	for i := range p.Subscriptions {
		a.filters = append(a.filters, string(p.Subscriptions[i].Filter))
	}
	id := p.Properties.Number(packet.SubscriptionIdentifier, 0)
	var last []topic.Filter // whose last values do not come by themselves: the subscription goes on where it was
	cl.each(a, func(i int) *parleyv1.Command {
		w := &p.Subscriptions[i]
		share, filter := unshare(a.filters[i])
		cl.mu.Lock()
		existed := cl.subs.find(a.filters[i]) != nil
		before := cl.subs.put(subscription{
			text: a.filters[i], filter: filter, share: share, id: id, qos: w.QoS, noLocal: w.NoLocal, asIs: w.RetainAsPublished,
			noRetained: w.RetainHandling == 2 || w.RetainHandling == 1 && existed,
		})
		a.before[i] = before
		if before != nil && before.qos > 0 && w.RetainHandling == 0 && share == "" {
			last = append(last, filter)
		}
		cl.mu.Unlock()
		return &parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: a.filters[i], Qos: uint32(w.QoS)}}}
	})
	for _, f := range last {
		cl.lastValues(f)
	}
	return nil
}

// lastValues sends the last value of every topic that matches.
func (cl *client) lastValues(f topic.Filter) {
	ctx, stop := context.WithTimeout(context.Background(), cl.s.limits.CallTimeout)
	defer stop()
	topics := cl.s.sessions.PubSub
	if topics.Authorize(ctx, cl.session.Identity(), auth.ActionSubscribe, f) != nil {
		return // the answer to the subscription says so
	}
	list, err := topics.LastValues(ctx, f)
	if err != nil {
		cl.s.Log.Warn("last values could not be read", "filter", f, "error", err)
	}
	for _, d := range list {
		cl.Send(d)
	}
}

// subacked answers a SUBSCRIBE; mu is held.
func (cl *client) subacked(id uint16, a *ask) {
	ack := packet.Granted{Kind: packet.SUBACK, ID: id, Reasons: make([]packet.Reason, len(a.filters))}
	for i, r := range a.answers {
		var why string
		ack.Reasons[i], why = cl.granted(a.filters[i], a.before[i], r)
		if why != "" && len(ack.Properties) == 0 {
			ack.Properties = cl.explain(nil, why)
		}
	}
	cl.say(&ack)
}

// granted is the answer for one filter; mu is held. A subscription that was
// refused leaves the one before it as it was.
func (cl *client) granted(filter string, before *subscription, r *parleyv1.Reply) (packet.Reason, string) {
	if granted := r.GetSubscribed(); granted != nil {
		if s := cl.subs.find(filter); s != nil {
			s.qos = byte(granted.GetQos())
		}
		return packet.Reason(granted.GetQos()), ""
	}
	if before != nil {
		cl.subs.put(*before)
	} else {
		cl.subs.remove(filter)
	}
	share, _ := unshare(filter)
	return subscribed(r.GetError(), share != ""), r.GetError().GetMessage()
}

// unsubscribe takes an UNSUBSCRIBE.
func (cl *client) unsubscribe(h packet.Header, body []byte) error {
	var p packet.Unsubscribe
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	a := &ask{done: func(a *ask) { cl.unsubacked(p.ID, a) }}
	for _, f := range p.Filters {
		a.filters = append(a.filters, string(f))
	}
	cl.each(a, func(i int) *parleyv1.Command {
		return &parleyv1.Command{Command: &parleyv1.Command_Unsubscribe{Unsubscribe: &parleyv1.Unsubscribe{Topic: a.filters[i]}}}
	})
	return nil
}

// unsubacked answers an UNSUBSCRIBE; mu is held.
func (cl *client) unsubacked(id uint16, a *ask) {
	ack := packet.Granted{Kind: packet.UNSUBACK, ID: id, Reasons: make([]packet.Reason, len(a.filters))}
	for i, f := range a.filters {
		if !cl.subs.remove(f) {
			ack.Reasons[i] = packet.NoSubscriptionExisted
		}
	}
	cl.say(&ack)
}
