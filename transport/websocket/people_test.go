package websocket

import (
	"fmt"
	"testing"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session"
)

// Two devices are one person, who has left when both have been gone for the
// grace period; a reload is not seen.
func TestComingAndGoing(t *testing.T) {
	inWorld(t, session.Limits{}, func(w *world) {
		watcher := w.dial("eve", 0).connect().listen(true)
		watcher.send(`{"id":2,"subscribe":{"topic":"public/1","presence":true}}`)
		seen := func() (out []string) {
			w.wait(0)
			for len(watcher.said) > 0 {
				switch r := (<-watcher.said).reply; {
				case r.GetJoined() != nil:
					out = append(out, "+"+r.GetJoined().GetUser())
				case r.GetLeft() != nil:
					out = append(out, "-"+r.GetLeft().GetUser())
				}
			}
			return out
		}
		want := func(what string, events ...string) {
			t.Helper()
			if got := seen(); fmt.Sprint(got) != fmt.Sprint(events) {
				t.Errorf("%s: %q, want %q", what, got, events)
			}
		}
		w.wait(tenth)
		want("the watcher itself", "+eve")
		phone, laptop := w.dial("ada", 0).connect("public/1").listen(true), w.dial("ada", 0).connect("public/1").listen(true)
		want("two devices", "+ada")
		w.must(phone.nc.Close())
		w.wait(20 * second)
		want("one of them is left")
		w.must(laptop.nc.Close())
		w.wait(4 * second)
		again := w.dial("ada", 0).connect("public/1").listen(true)
		w.wait(20 * second)
		want("a reload")
		w.must(again.nc.Close())
		w.wait(4 * second)
		want("not yet")
		w.wait(2 * second)
		want("gone for good", "-ada")
		members, err := w.service.Presence("public/1")
		if err != nil || len(members) != 1 {
			t.Errorf("%+v, %v", members, err)
		}
		if at, ok := w.service.LastSeen("ada"); !ok || time.Since(at) < 5*second {
			t.Errorf("last seen at %v, %v", at, ok)
		}
	})
}

// again connects with a resume ticket and returns the answer.
func (p *peer) again(ticket, rest string) *parleyv1.Connected {
	p.w.t.Helper()
	p.send(fmt.Sprintf(`{"id":1,"connect":{"session":%q%s}}`, ticket, rest))
	_, b, err := p.next()
	p.w.must(err)
	replies, err := protocol.JSON{}.DecodeReplies(b)
	p.w.must(err)
	c := replies[0].GetConnected()
	if c == nil {
		p.w.t.Fatalf("connect: %v", replies)
	}
	return c
}

func TestResuming(t *testing.T) {
	inWorld(t, session.Limits{ResumeWindow: time.Minute}, func(w *world) {
		p := w.dial("ada", 0)
		first := p.again("", `,"subscriptions":[{"topic":"public/1","qos":1},{"topic":"public/2"}]`)
		if first.GetResumed() || first.GetSession() == "" {
			t.Errorf("first: %v", first)
		}
		drop := func() {
			w.must(p.nc.Close())
			w.wait(tenth)
		}
		drop()
		w.publish(2, 10)
		p = w.dial("ada", 0)
		back := p.again(first.GetSession(), "")
		recovered := make(map[string]bool)
		for _, s := range back.GetSubscriptions() {
			recovered[s.GetTopic()] = s.GetRecovered()
		}
		if !back.GetResumed() || len(recovered) != 2 || !recovered["public/1"] || recovered["public/2"] {
			t.Errorf("resumed: %v", back)
		}
		for seq := range uint64(2) {
			_, b, err := p.next()
			w.must(err)
			if r, err := (protocol.JSON{}).DecodeReplies(b); err != nil || r[0].GetMessage().GetSeq() != seq+1 {
				t.Errorf("got %s", b)
			}
		}
		drop()
		p = w.dial("ada", 0)
		if clean := p.again(back.GetSession(), `,"clean":true`); clean.GetResumed() || len(clean.GetSubscriptions()) != 0 {
			t.Errorf("clean: %v", clean)
		}
		drop()
		w.wait(2 * time.Minute)
		p = w.dial("ada", 0)
		if late := p.again(back.GetSession(), ""); late.GetResumed() {
			t.Errorf("after the window: %v", late)
		}
		drop()
		p = w.dial("ada", 0)
		if forged := p.again(back.GetSession()+"x", ""); forged.GetResumed() {
			t.Errorf("forged: %v", forged)
		}
	})
}

// A session that is turned away for a limit can be resumed later.
func TestAResumeThatIsTurnedAwayLosesNothing(t *testing.T) {
	inWorld(t, session.Limits{ConnectionsUser: 1}, func(w *world) {
		p := w.dial("ada", 0)
		ticket := p.again("", `,"subscriptions":[{"topic":"public/1"}]`).GetSession()
		w.must(p.nc.Close())
		w.wait(tenth)
		other := w.dial("ada", 0).connect()
		p = w.dial("ada", 0).listen(true)
		p.send(fmt.Sprintf(`{"id":1,"connect":{"session":%q}}`, ticket))
		if end := p.end(); end.code != protocol.LimitReached.Close {
			t.Errorf("closed with %d", end.code)
		}
		w.must(other.nc.Close())
		w.wait(3 * second)
		if back := w.dial("ada", 0).again(ticket, ""); !back.GetResumed() || len(back.GetSubscriptions()) != 1 {
			t.Errorf("resumed: %v", back)
		}
	})
}
