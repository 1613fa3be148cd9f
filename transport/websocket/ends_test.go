package websocket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/routing"
	"github.com/parleyhq/parley/session"
)

const (
	second = time.Second
	tenth  = 100 * time.Millisecond
)

// about allows for the clock of the server, which turns every tenth of a second.
func about(got, want time.Duration) bool { return got >= want && got <= want+2*tenth }

// A client that hears but never answers: pinged after 25 s, told after 10 more,
// gone when it does not answer the close frame either.
func TestASilentPeer(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 0).connect("public/1").listen(false)
		ping := p.until(func(h heard) bool { return h.reply.GetPing() != nil })
		bye := p.leaving()
		end := p.end()
		if !about(ping.at, 25*second) || !about(bye.at, 35*second) || bye.reply.GetLeaving().GetReason() != "ping_timeout" || end.code != 4002 || !about(end.at, 37*second) {
			t.Errorf("ping at %v, leaving at %v %v, closed with %d at %v", ping.at, bye.at, bye.reply, end.code, end.at)
		}
		if e := w.endings(); len(e) != 1 || e[0].Reason != "ping_timeout" || e[0].User != "ada" {
			t.Errorf("ended: %+v", e)
		}
	})
}

// A peer that vanished takes nothing, not even the ping.
func TestAPeerThatIsGone(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		w.dial("ada", 0).connect("public/1")
		w.wait(46 * second)
		if e := w.endings(); len(e) != 1 || e[0].Reason != "ping_timeout" || w.sessions.Stats().Open != 0 {
			t.Errorf("ended: %+v", e)
		}
	})
}

func TestAPeerThatAnswersStays(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 0).connect().listen(true)
		w.wait(10 * time.Minute)
		if e := w.endings(); len(e) != 0 || len(p.said) != 24 {
			t.Errorf("ended: %+v, %d pings", e, len(p.said))
		}
	})
}

// Receivers that do not take what is sent are cut when their queue is full;
// everybody else gets everything.
func TestASlowPeer(t *testing.T) {
	const bound = 64 << 10
	inWorld(t, session.Limits{QueueBytes: bound}, func(w *world) {
		slow := w.dial("slow", 0).connect("public/1")
		quick := w.dial("quick", 0).connect("public/1").listen(true)
		w.publish(50, 1000)
		w.wait(tenth)
		if e := w.endings(); len(e) != 0 {
			t.Fatalf("cut with less than the bound: %+v", e)
		}
		w.publish(50, 1000)
		w.wait(tenth)
		if len(quick.said) != 100 {
			t.Errorf("the quick one got %d of 100", len(quick.said))
		}
		// Within half a second the slow one takes up reading: it gets what was
		// being written, and then why it is cut.
		slow.listen(false)
		end := slow.end()
		if end.code != protocol.SlowConsumer.Close || !about(end.at, 2*second+tenth) {
			t.Errorf("closed with %d at %v", end.code, end.at)
		}
		if e := w.endings(); len(e) != 1 || e[0].User != "slow" || e[0].Reason != "slow_consumer" {
			t.Errorf("ended: %+v", e)
		}
	})
}

// One that never reads again is gone half a second after it was cut.
func TestAPeerThatNeverReads(t *testing.T) {
	const bound = 64 << 10
	inWorld(t, session.Limits{QueueBytes: bound}, func(w *world) {
		w.dial("slow", 0).connect("public/1")
		w.publish(200, 1000)
		w.wait(700 * time.Millisecond)
		if e := w.endings(); len(e) != 1 || e[0].Reason != "slow_consumer" || w.sessions.Stats().Open != 0 {
			t.Errorf("ended: %+v", e)
		}
	})
}

// One that takes a little after it was cut gets no more time for it.
func TestAPeerThatReadsALittle(t *testing.T) {
	inWorld(t, session.Limits{QueueBytes: 64 << 10}, func(w *world) {
		p := w.dial("slow", 0).connect("public/1")
		w.publish(1, 1000)
		w.wait(0) // this one is being written
		w.publish(200, 1000)
		w.wait(0)
		if op, _, err := p.next(); err != nil || op != ws.OpText {
			t.Errorf("opcode %d, %v", op, err)
		}
		w.wait(700 * time.Millisecond)
		if e := w.endings(); len(e) != 1 || e[0].Reason != "slow_consumer" {
			t.Errorf("ended: %+v", e)
		}
	})
}

// Whoever takes a history slowly, but takes it, is not taken for dead although
// its answers to pings wait behind the history.
func TestASlowReaderOfAHistoryStays(t *testing.T) {
	inWorld(t, session.Limits{QueueBytes: 64 << 10}, func(w *world) {
		w.publish(100, 10_000)
		p := w.dial("ada", 0).connect()
		p.send(`{"id":2,"subscribe":{"topic":"public/1","since":{"seq":0}}}`)
		for seq := 0; seq < 100; {
			op, b, err := p.next()
			if err != nil || op != ws.OpText {
				t.Fatalf("after %d messages, at %v: opcode %d %q, %v", seq, w.now(), op, b, err)
			}
			if strings.HasPrefix(string(b), `{"message"`) {
				seq++
				w.wait(second)
			}
		}
		p.listen(true)
		w.wait(time.Minute)
		if e := w.endings(); len(e) != 0 {
			t.Errorf("ended: %+v", e)
		}
	})
}

// A long history of large messages is handed over as it is taken, and cuts
// nobody who reads.
func TestALongHistoryCutsNobody(t *testing.T) {
	inWorld(t, session.Limits{QueueBytes: 64 << 10}, func(w *world) {
		w.publish(100, 10_000) // a megabyte
		p := w.dial("ada", 0).connect().listen(true)
		p.send(`{"id":2,"subscribe":{"topic":"public/1","since":{"seq":0}}}`)
		for seq := uint64(1); seq <= 100; seq++ {
			if got := p.until(func(h heard) bool { return h.reply.GetMessage() != nil }); got.reply.GetMessage().GetSeq() != seq {
				t.Fatalf("got %d instead of %d", got.reply.GetMessage().GetSeq(), seq)
			}
		}
	})
}

func TestFirstCommandLate(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 0).listen(false)
		bye, end := p.leaving(), p.end()
		if !about(bye.at, 5*second) || bye.reply.GetLeaving().GetReason() != "connect_timeout" || end.code != 4005 {
			t.Errorf("leaving at %v %v, closed with %d", bye.at, bye.reply, end.code)
		}
	})
}

func TestIdle(t *testing.T) {
	inWorld(t, session.Limits{IdleTimeout: time.Minute}, func(w *world) {
		p := w.dial("ada", 0).connect().listen(true)
		w.wait(40 * second)
		p.send(`{"id":2,"ping":{}}`)
		if bye := p.leaving(); !about(bye.at, 100*second) || bye.reply.GetLeaving().GetReason() != "idle_timeout" || p.end().code != 4006 {
			t.Errorf("leaving at %v %v", bye.at, bye.reply)
		}
	})
}

func TestCredentialsThatExpire(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 30*second).connect().listen(true)
		bye, end := p.leaving(), p.end()
		if !about(bye.at, 30*second) || bye.reply.GetLeaving().GetReason() != "token_expired" || end.code != 4100 {
			t.Errorf("leaving at %v %v, closed with %d", bye.at, bye.reply, end.code)
		}
	})
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 30*second).connect().listen(true)
		w.accounts["fresh"] = auth.Identity{User: "ada", Expires: w.start.Add(90 * second)}
		w.accounts["stale"] = auth.Identity{User: "ada", Expires: w.start.Add(10 * second)}
		w.accounts["other"] = auth.Identity{User: "ben", Expires: w.start.Add(90 * second)}
		w.wait(20 * second)
		for token, want := range map[string]string{"stale": "token_expired", "other": "forbidden", "fresh": ""} {
			p.send(fmt.Sprintf(`{"id":7,"refresh":{"token":%q}}`, token))
			got := p.until(func(h heard) bool { return h.reply.GetId() == 7 }).reply
			if got.GetError().GetCode() != want || want == "" && got.GetRefreshed().GetExpiresInMs() != 70_000 {
				t.Errorf("refresh with %s: %v", token, got)
			}
		}
		if bye := p.leaving(); !about(bye.at, 90*second) || bye.reply.GetLeaving().GetReason() != "token_expired" {
			t.Errorf("leaving at %v %v", bye.at, bye.reply)
		}
	})
}

func TestCallTimeout(t *testing.T) {
	inWorld(t, session.Limits{CallTimeout: 3 * second}, func(w *world) {
		w.must(w.router.Handle("stuck", func(ctx context.Context, _ *routing.Request) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		p := w.dial("ada", 0).connect().listen(true)
		p.send(`[{"id":2,"call":{"type":"stuck"}},{"id":3,"call":{"type":"stuck","timeout_ms":500}},{"id":4,"call":{"type":"stuck","timeout_ms":9000}},{"id":5,"ping":{}}]`)
		want := map[uint64]time.Duration{5: 0, 3: 500 * time.Millisecond, 2: 3 * second, 4: 3 * second}
		for len(want) > 0 {
			got := p.until(func(h heard) bool { return h.reply.GetId() != 0 })
			id := got.reply.GetId()
			if at, asked := want[id]; !asked || got.at != at || id != 5 && got.reply.GetError().GetCode() != "timeout" {
				t.Errorf("at %v %v", got.at, got.reply)
			}
			delete(want, id)
		}
	})
}

// A drain tells everybody, also those who have not connected yet, spreads
// their return, and waits until they have gone.
func TestDrain(t *testing.T) {
	inWorld(t, session.Limits{DrainSpread: 8 * second, ConnectTimeout: time.Minute}, func(w *world) {
		peers := make([]*peer, 40)
		for i := range peers {
			p := w.dial(fmt.Sprint("u", i), 0)
			if i%4 > 0 {
				p.connect("public/1")
			}
			peers[i] = p.listen(true)
		}
		w.wait(second)
		ctx, stop := context.WithTimeout(w.t.Context(), 20*second)
		defer stop()
		if err := w.sessions.Drain(ctx); err != nil || w.now() > 4*second {
			t.Errorf("drained at %v, %v", w.now(), err)
		}
		seen := make(map[uint64]bool)
		var sum uint64
		for _, p := range peers {
			ms := p.leaving().reply.GetLeaving().GetRetryAfterMs()
			seen[ms/100] = true
			sum += ms
			if end := p.end(); ms >= 8000 || end.code != 4000 {
				t.Errorf("come back in %d ms, closed with %d", ms, end.code)
			}
		}
		if mean := sum / uint64(len(peers)); len(seen) < 15 || mean < 2000 || mean > 6000 {
			t.Errorf("%d different waits, %d ms on average", len(seen), mean)
		}
		var refused *protocol.Error
		if err := w.sessions.Admit("pipe"); !errors.As(err, &refused) || refused.Code != "draining" || refused.RetryAfter == 0 {
			t.Errorf("a new connection: %v", err)
		}
	})
}

// Peers that do not go are cut at the deadline, and requests are cancelled.
func TestDrainDeadline(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		cancelled := make(chan error, 1)
		w.must(w.router.Handle("long", func(ctx context.Context, _ *routing.Request) ([]byte, error) {
			<-ctx.Done()
			cancelled <- ctx.Err()
			return nil, ctx.Err()
		}))
		stuck := w.dial("ada", 0).connect("public/1")
		stuck.send(`{"id":2,"publish":{"topic":"public/1","type":"long"}}`)
		w.dial("ben", 0) // never says anything
		w.wait(tenth)
		ctx, stop := context.WithTimeout(w.t.Context(), second)
		defer stop()
		if err := w.sessions.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
		if err := <-cancelled; !errors.Is(err, context.Canceled) {
			t.Errorf("the request: %v", err)
		}
		w.server.Wait()
		if w.now() > 2*second || w.sessions.Stats().Open != 0 {
			t.Errorf("at %v there are %+v", w.now(), w.sessions.Stats())
		}
	})
}

// Events that nobody needs are left out first.
func TestDroppableEventsGoFirst(t *testing.T) {
	inWorld(t, session.Limits{QueueBytes: 64 << 10}, func(w *world) {
		p := w.dial("ada", 0).connect("public/1")
		w.publish(40, 1000) // more than half of the bound
		for range 100 {
			p.ping()
		}
		w.wait(tenth)
		if e := w.endings(); len(e) != 0 {
			t.Errorf("cut by its own pings: %+v", e)
		}
		if n := w.server.Stats().Dropped; n != 100 {
			t.Errorf("%d were left out", n)
		}
		p.listen(false)
		w.wait(tenth)
		if len(p.said) != 40 {
			t.Errorf("%d messages came", len(p.said))
		}
	})
}

func (p *peer) ping() {
	_, err := p.nc.Write(masked(0x89, []byte(strings.Repeat("p", 100))))
	p.w.must(err)
}

// A close frame is answered although much is queued before it.
func TestCloseBehindAQueue(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		p := w.dial("ada", 0).connect("public/1")
		w.publish(100, 1000)
		_, err := p.nc.Write(masked(0x88, []byte{0x0f, 0xa0}))
		w.must(err)
		messages := 0
		for {
			op, b, err := p.next()
			w.must(err)
			if op == ws.OpClose {
				if code, _ := ws.ParseCloseFrameData(b); code != 4000 || messages != 100 {
					t.Errorf("closed with %d after %d messages", code, messages)
				}
				break
			}
			messages++
		}
		if _, _, err := p.next(); err == nil {
			t.Error("something came after the close frame")
		}
	})
}
