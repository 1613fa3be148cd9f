package parleytest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probe is a test that may fail without failing ours.
type probe struct {
	testing.TB
	cleanups []func()
	said     []string
}

func (p *probe) Helper()          {}
func (p *probe) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *probe) Errorf(format string, args ...any) {
	p.said = append(p.said, fmt.Sprintf(format, args...))
}

func (p *probe) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	panic(p) // run stops there
}

// run runs f as a test of its own and returns what it failed with.
func run(t *testing.T, f func(p *probe)) string {
	t.Helper()
	p := &probe{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(p) {
				panic(r)
			}
		}()
		f(p)
	}()
	for _, c := range slices.Backward(p.cleanups) {
		c()
	}
	return strings.Join(p.said, "\n")
}

func TestWhatItFinds(t *testing.T) {
	release := make(chan struct{})
	for _, tc := range []struct {
		name, says string
		test       func(p *probe)
	}{
		{"nothing in a good test", "", func(p *probe) {
			s := parleytest.Serve(p, parley.New())
			ada, ben := s.Dial("ada"), s.Dial("ben", "admin")
			ben.Subscribe("public/1")
			ada.Publish("public/1", "hi", 1)
			ben.Expect("hi")
			ben.Drop()
			ben.Reconnect()
			ben.ExpectNothing()
			ada.Close()
		}},
		{"a message nobody expected", "nothing was expected", func(p *probe) {
			s := parleytest.Serve(p, parley.New())
			ada := s.Dial("ada")
			ada.Subscribe("public/1")
			ada.Publish("public/1", "hi", 1)
			ada.ExpectNothing()
		}},
		{"a refusal", "forbidden", func(p *probe) { parleytest.Serve(p, parley.New()).Dial("ada").Subscribe("secret") }},
		{"a refused publish", "forbidden", func(p *probe) { parleytest.Serve(p, parley.New()).Dial("ada").Publish("secret", "t", 1) }},
		{"nobody signed in", "unauthorized", func(p *probe) { parleytest.Serve(p, parley.New()).Dial("") }},
		{"a connection that ended", "closed with 4504 bad_protocol", func(p *probe) {
			c := parleytest.Serve(p, parley.New()).Open(nil)
			c.Send(`{"id":1,"publish":{}}`)
			c.Expect("hi")
		}},
		{"a goroutine that was left behind", "goroutines were left behind", func(p *probe) {
			live := parley.New()
			parley.On(live, "leak", func(*parley.Ctx, any) (bool, error) {
				go func() { <-release }()
				return true, nil
			})
			if err := parleytest.Serve(p, live).Dial("ada").Call("leak", nil, nil); err != nil {
				p.Fatalf("call: %v", err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if said := run(t, tc.test); (said == "") != (tc.says == "") || !strings.Contains(said, tc.says) {
				t.Errorf("it said %q, want %q", said, tc.says)
			}
		})
	}
	close(release)
}

// Drop must look like a cut cable, and Close like a good-bye.
func TestWaysToGo(t *testing.T) {
	live := parley.New()
	events := make(chan parley.Event, 4)
	live.OnDisconnect(func(e parley.Event) { events <- e })
	s := parleytest.Serve(t, live)
	s.Dial("ada").Drop()
	if e := <-events; e.Reason != "connection_lost" {
		t.Errorf("dropped: %+v", e)
	}
	s.Dial("ada").Close()
	if e := <-events; e.Reason != "closed" {
		t.Errorf("closed: %+v", e)
	}
}

func TestUnreadIsKept(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	c := s.Dial("ada")
	c.Subscribe("public/1")
	for i := range 3 {
		c.Publish("public/1", fmt.Sprint("m", i), i)
	}
	for _, i := range []int{2, 0, 1} {
		if m := c.Expect(fmt.Sprint("m", i)); m.GetSeq() != uint64(i+1) {
			t.Errorf("got %v", m)
		}
	}
	c.Send(`[{"id":50,"ping":{}},{"id":51,"ping":{}}]`)
	for _, id := range []uint64{51, 50} {
		c.Until("a pong", func(r *parleyv1.Reply) bool { return r.GetId() == id })
	}
	c.ExpectNothing()
}
