package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

// Protocol is what a server is spoken to in.
type Protocol string

// The protocols. Raw servers know no commands: a broadcast server sends what
// one says to all, an echo server sends it back.
const (
	Parley    Protocol = "parley"
	Broadcast Protocol = "raw"
	Echo      Protocol = "echo"
)

// hello is the first frame of a connection: who it is and what it wants, in one
// round trip. A connection that comes back names its session and the last
// message it got.
func hello(p *Peer, token string) []byte {
	connect := &parleyv1.Connect{Token: token, Session: p.session, Device: "bench"}
	qos := p.shard.swarm.target.QoS
	if qos > 0 {
		connect.Device = fmt.Sprint("bench-", p.Number) // a session of its own for each, whoever it is
	}
	if p.topic != "" {
		sub := &parleyv1.Subscribe{Topic: p.topic, Qos: qos}
		if p.epoch != "" {
			sub.Since = &parleyv1.Position{Epoch: p.epoch, Seq: p.track.Seq()}
		}
		connect.Subscriptions = []*parleyv1.Subscribe{sub}
	}
	return protocol.JSON{}.AppendCommand(nil, &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: connect}})
}

// welcomed reads the answer to hello.
func (p *Peer) welcomed(frame []byte) error {
	replies, err := protocol.JSON{}.DecodeReplies(frame)
	if err != nil {
		return err
	}
	if e := replies[0].GetError(); e != nil {
		return fmt.Errorf("connecting was refused: %s", e.GetMessage())
	}
	c := replies[0].GetConnected()
	if c == nil {
		return fmt.Errorf("the server answered connect with %.100q", frame)
	}
	p.session = c.GetSession()
	for _, sub := range c.GetSubscriptions() {
		if e := sub.GetError(); e != nil {
			return fmt.Errorf("subscribing to %s was refused: %s", p.topic, e.GetMessage())
		}
		if asked := p.shard.swarm.target.QoS; sub.GetQos() < asked {
			return fmt.Errorf("%s was given QoS %d where %d is needed: does it keep a history?", p.topic, sub.GetQos(), asked)
		}
		back := p.epoch != ""
		switch {
		case back && (!sub.GetRecovered() || sub.GetPosition().GetEpoch() != p.epoch):
			p.faults().Gaps++
			p.track.Place(sub.GetPosition().GetSeq())
		case !back:
			p.track.Place(sub.GetPosition().GetSeq())
		}
		p.epoch = sub.GetPosition().GetEpoch()
	}
	return nil
}

// publishing returns a publish command around a payload that needs no escapes.
func publishing(topic string, payload []byte) []byte {
	return fmt.Appendf(nil, `{"publish":{"topic":%q,"type":"bench","payload":"%s"}}`, topic, payload)
}

// acknowledging returns an ack command.
func acknowledging(topic string, seq uint64) []byte {
	return fmt.Appendf(nil, `{"ack":{"topic":%q,"seq":%d}}`, topic, seq)
}

var errLeft = errors.New("the server closed the connection")

// understand takes one frame of the server. The lock of the peer's shard is held.
func (p *Peer) understand(op byte, payload []byte) error {
	switch op {
	case opPing:
		return p.say(opPong, payload)
	case opPong:
		return nil
	case opClose:
		return errLeft
	}
	now := time.Now()
	if p.shard.swarm.target.Protocol != Parley {
		p.count(payload, now)
		return nil
	}
	if rest, ok := bytes.CutPrefix(payload, []byte(`{"message":{`)); ok && p.plain(rest, now) {
		return nil
	}
	return p.replies(payload, now)
}

// plain takes a frame with one message in the form that servers send today,
// without decoding it. It reports false for all others.
func (p *Peer) plain(text []byte, now time.Time) bool {
	body := bytes.Index(text, []byte(`"payload":`))
	if body < 0 {
		return false
	}
	seq, hasSeq := after(text[:body], `"seq":`)
	prev, hasPrev := after(text[:body], `"prev":`)
	if !hasSeq || !hasPrev {
		return false
	}
	p.track.Chain(seq, prev, p.faults())
	p.count(text[body:], now)
	return true
}

// replies takes a frame of any form.
func (p *Peer) replies(frame []byte, now time.Time) error {
	all, err := protocol.JSON{}.DecodeReplies(frame)
	if err != nil {
		return err
	}
	for _, r := range all {
		switch {
		case r.GetMessage() != nil:
			p.track.Chain(r.GetMessage().GetSeq(), r.GetMessage().GetPrev(), p.faults())
			p.count(r.GetMessage().GetPayload(), now)
		case r.GetPing() != nil:
			if err := p.say(opText, []byte(`{"pong":{}}`)); err != nil {
				return err
			}
		case r.GetGap() != nil:
			p.faults().Gaps++
		case r.GetSkipped() != nil:
			p.skipped += r.GetSkipped().GetCount()
		case r.GetError() != nil:
			p.faults().Refused++
			p.shard.swarm.refusal.CompareAndSwap(nil, r.GetError())
		}
	}
	return nil
}

// count notes a message of this run.
func (p *Peer) count(text []byte, now time.Time) {
	number, took, ok := p.shard.swarm.marker.find(text, now)
	if !ok || !p.track.Arrived(number, p.faults()) {
		return
	}
	p.shard.latency.Add(took)
	p.shard.arrived++
	if number == p.until {
		p.shard.caught.Add(now.Sub(p.began))
		p.until = 0
	}
}
