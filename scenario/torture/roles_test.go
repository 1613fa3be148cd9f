package torture_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/scenario/torture"
)

// A client is this program, started with these set.
const (
	envRole    = "TORTURE_ROLE"
	envURL     = "TORTURE_URL"
	envToken   = "TORTURE_TOKEN"
	envJournal = "TORTURE_JOURNAL"
)

const (
	topics      = 4
	impatience  = 50 * time.Millisecond // between attempts to connect
	pace        = 4 * time.Millisecond  // between two messages of a publisher
	underWay    = 32
	topicPrefix = "public/durable/torture/"
)

func topicOf(n int) string { return topicPrefix + strconv.Itoa(n%topics) }

func TestMain(m *testing.M) {
	if os.Getenv(envRole) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := play(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, os.Getenv(envRole), err)
		os.Exit(1)
	}
}

// player is one life of a client.
type player struct {
	pen   *torture.Pen
	c     *client.Client
	name  string
	fatal chan error
}

// play lives until it is told to stop.
func play() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pen, err := torture.Open(os.Getenv(envJournal))
	if err != nil {
		return err
	}
	defer pen.Close()
	p := &player{pen: pen, fatal: make(chan error, 1)}
	p.note(torture.Entry{Kind: torture.Begun})
	role := torture.Promise(os.Getenv(envRole))
	if p.c, err = p.open(role); err != nil {
		return err
	}
	defer p.c.Close()
	go p.hurry(ctx)
	p.name = "v" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.Itoa(os.Getpid())
	switch role {
	case torture.Publisher:
		err = p.publish(ctx, false)
	case torture.Repeater:
		err = p.publish(ctx, true)
	case torture.AtLeastOnce, torture.ExactlyOnce, torture.Group:
		err = p.receive(ctx, role)
	}
	return err
}

func (p *player) open(role torture.Promise) (*client.Client, error) {
	options := []client.Option{
		client.WithToken(os.Getenv(envToken)), client.WithOutbox(100_000, 64<<20),
		client.WithNetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
			p.note(torture.Entry{Kind: torture.Cut}) // before anything can come again
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}),
		client.OnState(func(s client.State) {
			if s.Status == client.Closed {
				p.fail(fmt.Errorf("closed: %s (%d)", s.Reason, s.Code))
			}
		}),
		client.OnGap(func(g client.Gap) { p.note(torture.Entry{Kind: torture.Gap, Topic: g.Topic}) }),
	}
	if role != torture.Publisher && role != torture.Repeater {
		options = append(options, client.WithDevice("torture"), client.WithExpiry(time.Hour))
	}
	return client.New(os.Getenv(envURL), options...)
}

// note writes an entry; a client that cannot is worth nothing.
func (p *player) note(e torture.Entry) {
	if err := p.pen.Write(e); err != nil {
		p.fail(err)
	}
}

func (p *player) fail(err error) {
	select {
	case p.fatal <- err:
	default:
	}
}

// hurry connects again at once, whatever the client thinks of it: here it is
// known that the server comes back.
func (p *player) hurry(ctx context.Context) {
	tick := time.NewTicker(impatience)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if p.c.State().Status == client.Reconnecting {
				p.c.Reconnect()
			}
		case <-ctx.Done():
			return
		}
	}
}

// publish sends numbered values until it is told to stop, and then waits for
// what is under way. With twice, each value is published by a second client
// too, with the same key.
func (p *player) publish(ctx context.Context, twice bool) error {
	other := p.c
	if twice {
		var err error
		if other, err = p.open(torture.Repeater); err != nil {
			return err
		}
		defer other.Close()
		go (&player{c: other}).hurry(ctx)
	}
	room := make(chan struct{}, underWay)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	p.ready()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case err := <-p.fatal:
			return err
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		topic, value := topicOf(n), p.name+"-"+strconv.Itoa(n)
		p.note(torture.Entry{Kind: torture.Tried, Topic: topic, Value: value})
		var options []client.PublishOption
		clients := []*client.Client{p.c}
		if twice {
			options, clients = append(options, client.Key(value)), append(clients, other)
		}
		var sent []*client.Pending
		for _, c := range clients {
			pending, err := c.PublishAsync(topic, "torture", value, append(options, client.PublishQoS(2))...)
			if err != nil {
				return err
			}
			sent = append(sent, pending)
		}
		waiting.Go(func() {
			for _, pending := range sent {
				p.await(pending, topic, value)
			}
			<-room
		})
	}
}

// ready tells whoever started this process that it is in place.
func (p *player) ready() { _, _ = fmt.Println("ready") }

func (p *player) await(pending *client.Pending, topic, value string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := pending.Wait(ctx)
	switch {
	case err != nil:
		p.note(torture.Entry{Kind: torture.Refused, Topic: topic, Value: value + " " + strings.ReplaceAll(err.Error(), "\n", " ")})
	case answer.Seq == 0: // a repeat whose first is not known any more
	default:
		p.note(torture.Entry{Kind: torture.Accepted, Topic: topic, Epoch: answer.Epoch, Seq: answer.Seq, Value: value})
	}
}

// receive writes down what comes.
func (p *player) receive(ctx context.Context, role torture.Promise) error {
	work := func(_ context.Context, m client.Message) error {
		var value string
		if err := m.Decode(&value); err != nil {
			return err
		}
		p.note(torture.Entry{Kind: torture.Got, Topic: m.Topic, Epoch: m.Epoch, Seq: m.Seq, Value: value})
		return nil
	}
	var err error
	switch role {
	case torture.AtLeastOnce:
		_, err = p.c.Process(ctx, topicPrefix+"#", work, client.QoS(1))
	case torture.Group:
		_, err = p.c.Process(ctx, "$share/torture/"+topicPrefix+"#", work, client.QoS(1))
	default:
		for n := range topics {
			load := func(context.Context, string) (client.Position, error) { return stored(topicOf(n)) }
			if _, err = p.c.Process(ctx, topicOf(n), work, client.QoS(2), client.StoredPosition(load)); err != nil {
				break
			}
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	p.ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.fatal:
		return err
	}
}

// stored is the position that was stored with the work: the work is the
// journal. Where there is none, everything from the beginning is wanted.
func stored(topic string) (client.Position, error) {
	entries, err := torture.Read(os.Getenv(envJournal))
	var at client.Position
	for _, e := range entries {
		if e.Kind == torture.Got && e.Topic == topic {
			at = client.Position{Epoch: e.Epoch, Seq: e.Seq}
		}
	}
	return at, err
}
