package client_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a network without a network: the other end of every connection is
// the test.
type network struct {
	t     *testing.T
	peers chan *peer
	down  bool // dials fail
}

// inBubble runs f with virtual time and the test of that time, n.t.
func inBubble(t *testing.T, f func(n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(&network{t: t, peers: make(chan *peer, 1000)}) })
}

// open makes a client that speaks JSON over n; it is closed with the test.
func (n *network) open(options ...client.Option) *client.Client {
	n.t.Helper()
	all := append([]client.Option{
		client.WithNetDial(n.dial), client.WithJSON(), client.WithRandom(func() float64 { return 0.5 }),
	}, options...)
	c, err := client.New("ws://fake/ws", all...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if n.down {
		return nil, &net.OpError{Op: "dial", Err: net.UnknownNetworkError("the cable is out")}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	p := &peer{t: n.t, conn: far, commands: make(chan *parleyv1.Command, 10_000), gone: make(chan struct{})}
	n.peers <- p
	go p.serve()
	return near, nil
}

// peer returns the next connection, once its handshake is done.
func (n *network) peer() *peer {
	n.t.Helper()
	select {
	case p := <-n.peers:
		return p
	case <-time.After(time.Hour):
		n.t.Fatal("nobody connected")
		return nil
	}
}

// waiting reports how many connections were made and not looked at.
func (n *network) waiting() int {
	synctest.Wait()
	return len(n.peers)
}

// pass lets virtual time go by, and what follows from it happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// peer is one connection, seen from the server.
type peer struct {
	t        *testing.T
	conn     net.Conn
	commands chan *parleyv1.Command
	gone     chan struct{}
	code     ws.StatusCode // of the client's close frame
}

// serve reads until the connection ends.
func (p *peer) serve() {
	defer close(p.gone)
	defer p.conn.Close()
	u := ws.Upgrader{Protocol: func(name []byte) bool { return string(name) == protocol.NameJSON }}
	if _, err := u.Upgrade(p.conn); err != nil {
		return
	}
	for {
		h, err := ws.ReadHeader(p.conn)
		if err != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(p.conn, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode == ws.OpClose {
			p.code, _ = ws.ParseCloseFrameData(payload)
			return
		}
		if h.OpCode == ws.OpPong {
			continue
		}
		for _, in := range (protocol.JSON{}).Decode(nil, payload) {
			if in.Err != nil {
				p.t.Errorf("the client sent %s: %v", payload, in.Err)
				return
			}
			p.commands <- in.Command
		}
	}
}

// next returns the client's next command.
func (p *peer) next() *parleyv1.Command {
	p.t.Helper()
	select {
	case c := <-p.commands:
		return c
	case <-time.After(time.Hour):
		p.t.Fatal("the client said nothing")
		return nil
	}
}

// quiet fails when the client has said anything else.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	select {
	case c := <-p.commands:
		p.t.Fatalf("the client said %v", c)
	default:
	}
}

// say sends a reply and lets the client digest it.
func (p *peer) say(r *parleyv1.Reply) {
	p.t.Helper()
	p.raw(ws.NewTextFrame((protocol.JSON{}).AppendReply(nil, r)))
}

func (p *peer) raw(f ws.Frame) {
	p.t.Helper()
	if _, err := p.conn.Write(ws.MustCompileFrame(f)); err != nil {
		p.t.Fatalf("write to the client: %v", err)
	}
	synctest.Wait()
}

// end closes with a code, or breaks off with 0.
func (p *peer) end(code ws.StatusCode, reason string) {
	p.t.Helper()
	if code != 0 {
		p.raw(ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason)))
	}
	_ = p.conn.Close()
	<-p.gone
	synctest.Wait()
}

// welcome answers connect and returns what the client said in it.
func (p *peer) welcome(edit ...func(*parleyv1.Connected)) *parleyv1.Connect {
	p.t.Helper()
	c := p.next()
	if c.GetConnect() == nil {
		p.t.Fatalf("the first command is %v", c)
	}
	answer := &parleyv1.Connected{Session: "ticket-1", User: "ann", PingSeconds: 25}
	for _, e := range edit {
		e(answer)
	}
	p.say(&parleyv1.Reply{Id: c.GetId(), Reply: &parleyv1.Reply_Connected{Connected: answer}})
	return c.GetConnect()
}

// subscribed answers the next command, which is a subscribe.
func (p *peer) subscribed(seq uint64) *parleyv1.Subscribe {
	p.t.Helper()
	c := p.next()
	s := c.GetSubscribe()
	if s == nil {
		p.t.Fatalf("instead of a subscribe: %v", c)
	}
	p.say(&parleyv1.Reply{Id: c.GetId(), Reply: &parleyv1.Reply_Subscribed{Subscribed: &parleyv1.Subscribed{
		Topic: s.GetTopic(), Qos: s.GetQos(), Recovered: true, Position: &parleyv1.Position{Epoch: "k", Seq: seq},
	}}})
	return s
}

func (p *peer) message(topic string, seqs ...uint64) {
	p.t.Helper()
	for _, seq := range seqs {
		p.say(&parleyv1.Reply{Reply: &parleyv1.Reply_Message{Message: wire(topic, seq)}})
	}
}

// wire is a message whose payload is its number.
func wire(topic string, seq uint64) *parleyv1.Message {
	return &parleyv1.Message{
		Topic: topic, Seq: seq, Prev: seq - 1, Id: "m", Type: "t", From: "ben", Time: int64(seq),
		Payload: []byte{byte('0' + seq%10)},
	}
}

// page answers a history command, which is returned.
func (p *peer) page(topic string, more bool, seqs ...uint64) *parleyv1.History {
	p.t.Helper()
	c := p.next()
	h := c.GetHistory()
	if h == nil {
		p.t.Fatalf("instead of a history: %v", c)
	}
	page := &parleyv1.HistoryPage{Topic: topic, More: more, Position: &parleyv1.Position{Epoch: "k"}}
	for _, seq := range seqs {
		page.Messages = append(page.Messages, wire(topic, seq))
		page.Position.Seq = seq
	}
	p.say(&parleyv1.Reply{Id: c.GetId(), Reply: &parleyv1.Reply_History{History: page}})
	return h
}

func (p *peer) refuse(id uint64, e *parleyv1.Error) {
	p.t.Helper()
	p.say(&parleyv1.Reply{Id: id, Reply: &parleyv1.Reply_Error{Error: e}})
}
