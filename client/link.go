package client

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/client/internal/socket"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

const (
	connectTimeout = 15 * time.Second // from the dial to `connected`
	requestTimeout = 10 * time.Second
	pingGrace      = 10 * time.Second
)

// link is one connection from its opening to its end. The run loop reads it.
type link struct {
	*socket.Socket

	codec   protocol.ClientCodec
	silence time.Duration // the longest that the server may be silent; 0: for ever

	// The client's lock guards these.
	asks       map[uint64]*ask
	retryAfter time.Duration // the server wants us to stay away for so long
	leaving    string
	listed     bool      // connect named all subscriptions
	refused    *Error    // the answer to connect
	since      time.Time // when that was answered; zero before

	mu   sync.Mutex // guards what follows; taken after the client's lock
	acks map[string]uint64
}

// ask is a command that ends with its connection.
type ask struct {
	answer answer
	until  time.Time
}

// newLink takes a connection over whose handshake is done. expire is called when an ask may have waited too long.
func newLink(ctx context.Context, line socket.Config, codec protocol.ClientCodec, expire func(*link)) *link {
	l := &link{codec: codec, silence: connectTimeout, asks: make(map[uint64]*ask), acks: make(map[string]uint64)}
	begun := make(chan struct{})
	line.Binary, line.More = codec.Binary(), l.acknowledgements
	line.Alarm = func() { <-begun; expire(l) }
	l.Socket = socket.New(ctx, line)
	close(begun)
	return l
}

// read returns the next replies. Only the run loop calls it.
func (l *link) read() ([]*parleyv1.Reply, error) {
	frame, err := l.Read(l.silence)
	if err != nil {
		return nil, err
	}
	return l.codec.DecodeReplies(frame)
}

// send queues a command.
func (l *link) send(c *parleyv1.Command) { l.Send(l.codec.AppendCommand(nil, c)) }

// ack acknowledges everything of a topic up to seq, together with whatever is
// acknowledged until the next write.
func (l *link) ack(topic string, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks[topic] = seq
	l.Rouse()
}

// ackShared says that one message of a group was handled, or could not be.
func (l *link) ackShared(m Message, failed bool) {
	l.send(&parleyv1.Command{Command: &parleyv1.Command_Ack{
		Ack: &parleyv1.Ack{Topic: m.Topic, Seq: m.Seq, Share: m.Share, Failed: failed},
	}})
}

func (l *link) acknowledgements() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out [][]byte
	for topic, seq := range l.acks {
		c := &parleyv1.Command{Command: &parleyv1.Command_Ack{Ack: &parleyv1.Ack{Topic: topic, Seq: seq}}}
		out = append(out, l.codec.AppendCommand(nil, c))
	}
	clear(l.acks)
	return out
}
