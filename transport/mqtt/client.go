package mqtt

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/wheel"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// client is who a connection belongs to, once CONNECT was accepted.
type client struct {
	*conn

	version   packet.Version
	quiet     bool // it wants no reason strings
	lasting   bool // its session outlives the connection
	aliases   uint16
	maximum   uint16        // receive maximum
	largest   uint32        // maximum packet size; 0: none
	keepAlive time.Duration // 0: none
	expiry    uint32        // seconds, as it asked
	heard     atomic.Int64  // Unix nanoseconds
	timer     wheel.Timer

	mu   sync.Mutex
	subs subscriptions
	flow *flow // nil before the first message of QoS 1 or 2
	rare *rare
	next uint64 // id of the last command
}

// rare is what only some clients have, some of the time.
type rare struct {
	will  *will
	known []string          // topics by the aliases the client uses
	told  map[string]uint16 // aliases that we use, by topic
	asks  []*ask            // that are being answered
}

// extra returns what only some clients have; mu is held, or nobody else knows
// the client yet.
func (cl *client) extra() *rare {
	if cl.rare == nil {
		cl.rare = &rare{}
	}
	return cl.rare
}

// begin starts what a client has while it is connected.
func (cl *client) begin() {
	cl.heard.Store(time.Now().UnixNano())
	if cl.keepAlive > 0 {
		cl.s.wheel.Set(&cl.timer, cl.patience(), cl.onTimer)
	}
}

// patience is how long a client may say nothing [MQTT-3.1.2-22].
func (cl *client) patience() time.Duration { return cl.keepAlive * 3 / 2 }

// onTimer ends a connection on which nothing was heard for one and a half
// times the keep alive [MQTT-3.1.2-22].
func (cl *client) onTimer(now time.Time) {
	left := time.Unix(0, cl.heard.Load()).Add(cl.patience()).Sub(now)
	if left > 0 {
		cl.s.wheel.Set(&cl.timer, left, cl.onTimer)
		return
	}
	cl.Close(protocol.PingTimeout)
}

// do runs a command of the session.
func (cl *client) do(id uint64, command *parleyv1.Command) {
	batch, _ := cl.s.batches.Get().(*[1]protocol.Incoming)
	command.Id = id
	batch[0] = protocol.Incoming{ID: id, Command: command}
	cl.session.Handle(batch[:])
	batch[0] = protocol.Incoming{}
	cl.s.batches.Put(batch)
}

// replied takes what the session answers or tells.
func (cl *client) replied(r *parleyv1.Reply) {
	if r.GetId() == 0 {
		if gone := r.GetUnsubscribed(); gone != nil { // rights were withdrawn
			cl.mu.Lock()
			cl.subs.remove(gone.GetTopic())
			cl.mu.Unlock()
		}
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.asked(r) {
		return
	}
	if cl.flow != nil {
		cl.flow.answered(cl, r)
	}
}

// say queues a packet that is the client's own; mu is held, or need not be.
func (cl *client) say(p interface {
	Append(dst []byte, v packet.Version) []byte
},
) {
	frame := p.Append(nil, cl.version)
	if !cl.stream.SendParts(parts(&frame), cl.s.limits.QueueBytes) {
		cl.Cut()
	}
}

// explain adds a reason string, unless the client does not want to know or the
// text would make the packet larger than it takes [MQTT-3.14.2-3].
func (cl *client) explain(p packet.Properties, why string) packet.Properties {
	const around = 16 // of a packet that has nothing else
	if why == "" || cl.quiet || cl.version != packet.V5 || cl.largest > 0 && len(p)+len(why)+around > int(cl.largest) {
		return p
	}
	return p.AppendText(packet.ReasonString, why)
}

// ping answers a PINGREQ.
func (cl *client) ping(h packet.Header, body []byte) error {
	p := packet.Signal{Kind: packet.PINGRESP}
	if err := (&packet.Signal{}).Decode(cl.version, h, body); err != nil {
		return err
	}
	cl.say(&p)
	return nil
}

// authenticate refuses an AUTH: no method was agreed on [MQTT-4.12.0-7].
func (cl *client) authenticate(h packet.Header, body []byte) error {
	var p packet.Auth
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	return packet.ProtocolError.Errorf("AUTH without an authentication method in CONNECT")
}

// disconnect takes a client's farewell.
func (cl *client) disconnect(h packet.Header, body []byte) error {
	var p packet.Disconnect
	if err := p.Decode(cl.version, h, body); err != nil {
		return err
	}
	if expiry := p.Properties.Number(packet.SessionExpiryInterval, cl.expiry); expiry != cl.expiry {
		if cl.expiry == 0 {
			return packet.ProtocolError.Errorf("a session that ends with its connection cannot be given an expiry afterwards [MQTT-3.14.2-2]")
		}
		cl.session.SetExpiry(time.Duration(expiry) * time.Second)
	}
	if p.Reason != packet.DisconnectWithWill {
		cl.forgetWill() // [MQTT-3.14.4-3]
	}
	cl.quit.Store(true)
	cl.Close(protocol.Closed)
	if cl.lasting {
		cl.keep() // now: it may be back before this connection has ended
	}
	return errFinished
}

func (cl *client) forgetWill() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.rare != nil {
		cl.rare.will = nil
	}
}

// leave ends what begin began, and returns the reason the session ends with.
func (cl *client) leave(r protocol.Reason) protocol.Reason {
	cl.s.wheel.Stop(&cl.timer)
	if cl.lasting {
		if r.Code != protocol.TakenOver.Code { // else what is to be kept is the newer connection's
			cl.keep()
		}
		if r.Retry == protocol.RetryNever && r.Code != protocol.Disconnected.Code {
			r.Retry = protocol.RetryNow // a mistake ends the connection, never the session
		}
	} else {
		r.Retry = protocol.RetryNever
	}
	cl.mu.Lock()
	var w *will
	if cl.rare != nil {
		w = cl.rare.will
	}
	cl.mu.Unlock()
	if w != nil {
		cl.s.wills.leave(cl, w)
	}
	return r
}
