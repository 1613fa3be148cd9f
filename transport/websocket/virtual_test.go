package websocket

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/broker/localbroker"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session"
)

// world is a whole node on pipes, in a bubble where time is virtual.
type world struct {
	t        *testing.T
	start    time.Time
	service  *pubsub.Service
	router   *routing.Router
	sessions *session.Manager
	server   *Server
	accounts map[string]auth.Identity // by token

	peers sync.WaitGroup

	mu    sync.Mutex
	ended []session.Event
}

func inWorld(t *testing.T, limits session.Limits, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		w := &world{t: t, start: time.Now(), router: routing.New(0, log), accounts: make(map[string]auth.Identity)}
		engine := localbroker.New(localbroker.Limits{})
		rules, err := auth.NewRules(auth.DefaultRules()...)
		w.must(err)
		w.service, err = pubsub.New(pubsub.Config{Broker: engine, Authorizer: rules, Log: log})
		w.must(err)
		keys, err := ticket.NewKeys([]byte(strings.Repeat("k", 32)))
		w.must(err)
		w.sessions = session.NewManager(session.Config{
			PubSub: w.service, Router: w.router, Keys: keys, Limits: limits, Node: "n", Log: log,
			Verifier: auth.VerifierFunc(func(_ context.Context, token string) (auth.Identity, error) { return w.accounts[token], nil }),
		})
		w.server = New(w.sessions, log)
		w.sessions.OnEvent(func(e session.Event) {
			if !e.Connected {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ended = append(w.ended, e)
			}
		})
		ctx, stop := context.WithCancel(context.Background())
		w.must(w.service.Start(ctx, w.sessions))
		w.sessions.Start()
		defer w.end(stop, engine) // also when f gives up
		f(w)
	})
}

func (w *world) end(stop context.CancelFunc, engine broker.Broker) {
	quit, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !w.sessions.Stats().Draining {
		if err := w.sessions.Drain(quit); err != nil {
			w.t.Error(err)
		}
	}
	w.server.Wait()
	w.peers.Wait()
	w.sessions.Close()
	stop()
	w.service.Wait()
	if err := engine.Close(quit); err != nil {
		w.t.Error(err)
	}
	if st := w.sessions.Stats(); st.Open != 0 || st.Users != 0 || w.service.Stats().Topics != 0 {
		w.t.Errorf("something is left: %+v, %d topics", st, w.service.Stats().Topics)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// now is the time since the world began, in tenths of a second: what the
// server's clock can tell apart.
func (w *world) now() time.Duration { return time.Since(w.start).Truncate(100 * time.Millisecond) }

func (w *world) wait(d time.Duration) {
	<-time.NewTimer(d).C
	synctest.Wait()
}

func (w *world) endings() []session.Event {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

func (w *world) publish(n, size int) {
	for range n {
		m := &message.Message{Topic: "public/1", Type: "t", Payload: fmt.Appendf(nil, `"%s"`, strings.Repeat("x", size))}
		w.service.Publish(pubsub.Publication{Message: m}, func(_ broker.Result, err error) { w.must(err) })
	}
}

// peer is a client at the other end of a pipe.
type peer struct {
	w    *world
	nc   net.Conn
	in   *bufio.Reader
	said chan heard
}

// heard is something the server said, and when.
type heard struct {
	at    time.Duration
	reply *parleyv1.Reply // nil at the end
	code  int             // of the close frame
}

// dial connects a user whose credentials last for life, or for ever with 0.
// The peer reads nothing until it listens.
func (w *world) dial(user string, life time.Duration) *peer {
	near, far := net.Pipe()
	w.must(w.sessions.Admit("pipe"))
	who := auth.Identity{User: user}
	if life > 0 {
		who.Expires = time.Now().Add(life)
	}
	w.server.carry(far, nil, terms{codec: protocol.JSON{}}, nil, session.Info{Address: "pipe", Known: true, Identity: who})
	return &peer{w: w, nc: near, in: bufio.NewReader(near), said: make(chan heard, 1000)}
}

func (p *peer) send(text string) {
	_, err := p.nc.Write(masked(0x81, []byte(text)))
	p.w.must(err)
}

// next reads one frame.
func (p *peer) next() (ws.OpCode, []byte, error) {
	h, err := ws.ReadHeader(p.in)
	if err != nil {
		return 0, nil, err
	}
	b := make([]byte, h.Length)
	_, err = io.ReadFull(p.in, b)
	return h.OpCode, b, err
}

func (p *peer) connect(subscribe ...string) *peer {
	subs := ""
	for _, s := range subscribe {
		subs += `,{"topic":"` + s + `"}`
	}
	p.send(`{"id":1,"connect":{"subscriptions":[` + strings.TrimPrefix(subs, ",") + `]}}`)
	op, b, err := p.next()
	if err != nil || op != ws.OpText || !strings.Contains(string(b), "connected") {
		p.w.t.Fatalf("connect: %d %q %v", op, b, err)
	}
	return p
}

// listen reads everything from now on; answering answers pings.
func (p *peer) listen(answering bool) *peer {
	p.w.peers.Go(func() {
		code := 0
		for {
			op, b, err := p.next()
			if err != nil {
				p.said <- heard{p.w.now(), nil, code}
				return
			}
			if op == ws.OpClose {
				code = int(binary.BigEndian.Uint16(b))
				continue
			}
			replies, err := protocol.JSON{}.DecodeReplies(b)
			p.w.must(err)
			for _, r := range replies {
				p.said <- heard{p.w.now(), r, 0}
				if answering && r.GetPing() != nil {
					p.send(`{"pong":{}}`)
				}
			}
		}
	})
	return p
}

// until returns the first thing that ok accepts.
func (p *peer) until(ok func(heard) bool) heard {
	p.w.t.Helper()
	for {
		h, open := <-p.said
		if ok(h) {
			return h
		}
		if h.reply == nil || !open {
			p.w.t.Fatalf("it did not come before the end: %+v", h)
		}
	}
}

func (p *peer) end() heard {
	p.w.t.Helper()
	return p.until(func(h heard) bool { return h.reply == nil })
}

func (p *peer) leaving() heard {
	p.w.t.Helper()
	return p.until(func(h heard) bool { return h.reply.GetLeaving() != nil })
}
