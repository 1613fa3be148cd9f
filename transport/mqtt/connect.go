package mqtt

import (
	"crypto/rand"
	"math"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/evloop"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/topic"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// errFinished ends a connection whose client has said that it is done.
var errFinished = evloop.ErrFinished

// maxClientID bounds a client identifier; the standard asks for 23 bytes.
const maxClientID = 256

// connectID is the number of the connect command.
const connectID = 1

// devicePrefix keeps client identifiers apart from the devices of other
// transports.
const devicePrefix = "mqtt:"

// greeting is a CONNECT that is being answered.
type greeting struct {
	client    *client
	assigned  string // client identifier that the client left to us
	password  bool
	keepAlive bool // it is ours
	present   bool // there was a session
	answered  chan struct{}
	once      sync.Once // closes it
}

func (g *greeting) end() { g.once.Do(func() { close(g.answered) }) }

// connect takes a CONNECT.
func (c *conn) connect(h packet.Header, body []byte) error {
	var p packet.Connect
	if err := p.Decode(0, h, body); err != nil {
		c.refuse(p.Version, err)
		return errFinished
	}
	g, command, bad := c.read(&p)
	if bad != nil {
		c.refuse(p.Version, bad)
		return errFinished
	}
	if !g.client.lasting {
		c.session.Fleeting()
	}
	c.greet.Store(g)
	clean := p.Clean
	c.session.Handle([]protocol.Incoming{{ID: connectID, Command: &parleyv1.Command{
		Id: connectID, Command: &parleyv1.Command_Connect{Connect: command},
	}}})
	<-g.answered // perhaps when it is on the disk; what the client sends meanwhile waits
	cl := c.client.Load()
	if cl == nil {
		return errFinished
	}
	c.greet.Store(nil)
	c.s.wills.back(cl, clean)
	cl.resume(g.present)
	return nil
}

// read turns a CONNECT into the command of the session.
func (c *conn) read(p *packet.Connect) (*greeting, *parleyv1.Connect, *packet.Error) {
	if method, ok := p.Properties.Text(packet.AuthenticationMethod); ok {
		return nil, nil, packet.BadAuthenticationMethod.Errorf("authentication method %.32q is not known here: send a token as the password", method)
	}
	if len(p.ClientID) > maxClientID {
		return nil, nil, packet.ClientIdentifierNotValid.Errorf("a client identifier of %d bytes, at most %d", len(p.ClientID), maxClientID)
	}
	cl := &client{
		conn: c, version: p.Version,
		quiet:     p.Properties.Number(packet.RequestProblemInfo, 1) == 0,
		aliases:   uint16(p.Properties.Number(packet.TopicAliasMaximum, 0)),
		maximum:   uint16(min(p.Properties.Number(packet.ReceiveMaximum, math.MaxUint16), maxFlight)),
		largest:   p.Properties.Number(packet.MaximumPacketSize, 0),
		keepAlive: time.Duration(p.KeepAlive) * time.Second,
		expiry:    p.Properties.Number(packet.SessionExpiryInterval, 0),
	}
	if p.Version == packet.V311 && !p.Clean {
		cl.expiry = math.MaxUint32
	}
	cl.lasting = cl.expiry > 0
	limit := c.s.KeepAlive
	ours := p.Version == packet.V5 && limit > 0 && (cl.keepAlive == 0 || cl.keepAlive > limit)
	if ours {
		cl.keepAlive = limit
	}
	g := &greeting{client: cl, password: p.HasPassword, keepAlive: ours, answered: make(chan struct{})}
	id := string(p.ClientID)
	if id == "" {
		id = "auto-" + rand.Text()
		g.assigned = id
	}
	if p.HasWill {
		if _, err := topic.ParseName(string(p.Will.Topic)); err != nil {
			return nil, nil, packet.TopicNameInvalid.Errorf("will: %v", err)
		}
		cl.extra().will = newWill(p, c.s.limits.HeaderCount)
	}
	return g, &parleyv1.Connect{
		Token: string(p.Password), Device: devicePrefix + id, Clean: p.Clean, ExpirySeconds: uint64(cl.expiry),
	}, nil
}

// refuse answers a CONNECT that cannot be accepted.
func (c *conn) refuse(v packet.Version, err error) {
	reason, why := packet.UnspecifiedError, err.Error()
	if bad, ok := err.(*packet.Error); ok { //nolint:errorlint // decoders wrap nothing
		reason, why = bad.Reason, bad.Message
	}
	if v != packet.V5 {
		v = packet.V311 // what a client of neither may understand
	}
	c.s.Log.Debug("a client is refused", "reason", reason, "error", why)
	r := protocol.BadProtocol
	if c.end.CompareAndSwap(nil, &r) {
		ack := packet.Connack{Reason: reason, Properties: packet.Properties(nil).AppendText(packet.ReasonString, why)}
		c.stream.End(ack.Append(nil, v))
	}
}

// greeted takes what the session answers to the connect command. The session is
// locked: it must not be called.
func (c *conn) greeted(g *greeting, r *parleyv1.Reply) {
	switch {
	case r.GetConnected() != nil:
		connected := r.GetConnected()
		g.present = connected.GetResumed()
		cl := g.client
		cl.restore(connected.GetSubscriptions())
		ack := packet.Connack{SessionPresent: g.present, Properties: c.s.offer(g, connected)}
		cl.say(&ack)
		cl.begin()
		c.client.Store(cl)
		g.end()
	case r.GetError() != nil:
		reason := c.s.refusal(r.GetError().GetCode(), g.password)
		bad := reason.Errorf("%s", r.GetError().GetMessage())
		c.refuse(g.client.version, bad)
		g.end()
	}
}

// offer is what a CONNACK says about this server.
func (s *Server) offer(g *greeting, connected *parleyv1.Connected) (p packet.Properties) {
	p = p.AppendNumber(packet.ReceiveMaximum, uint32(s.ReceiveMaximum))
	p = p.AppendNumber(packet.MaximumPacketSize, uint32(s.PacketLimit()))
	p = p.AppendNumber(packet.TopicAliasMaximum, uint32(s.TopicAliases))
	if g.assigned != "" {
		p = p.AppendText(packet.AssignedClientIdentifier, g.assigned)
	}
	if g.keepAlive {
		p = p.AppendNumber(packet.ServerKeepAlive, uint32(g.client.keepAlive/time.Second))
	}
	if kept := connected.GetExpirySeconds(); g.client.expiry > 0 && kept > 0 && kept < uint64(g.client.expiry) {
		p = p.AppendNumber(packet.SessionExpiryInterval, uint32(kept))
	}
	return p
}
