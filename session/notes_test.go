package session

import (
	"errors"
	"testing"
	"time"

	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session/vault"
)

// join opens a connection of a device that gives no name.
func join(t *testing.T, m *Manager, info Info, c *parleyv1.Connect) *line {
	t.Helper()
	if err := m.Admit("192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	info.Address = "192.0.2.1"
	l := &line{ended: make(chan protocol.Reason, 1)}
	l.session = m.Accept(l, info)
	l.session.Handle([]protocol.Incoming{{ID: 1, Command: &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: c}}}})
	return l
}

func keep(t *testing.T, s *Session, name, value string) {
	t.Helper()
	done := make(chan error, 1)
	s.SetNote(name, []byte(value), func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// What a transport keeps with a session is there for the next connection, and
// ends with the session.
func TestNotesStayWithTheSession(t *testing.T) {
	m := newManager(t, Limits{})
	device := &parleyv1.Connect{Device: "sensor-1", ExpirySeconds: 60}
	first := join(t, m, Info{ByDevice: true}, device)
	keep(t, first.session, "a", "1")
	keep(t, first.session, "b", "2")
	first.session.SetNote("b", nil, nil)
	first.session.SetNote("c", []byte("3"), nil) // it is not waited for
	first.session.End(protocol.Lost)

	second := join(t, m, Info{ByDevice: true}, device)
	if second.session.ID() != first.session.ID() {
		t.Fatal("the device does not find its session again")
	}
	for name, want := range map[string]string{"a": "1", "b": "", "c": "3"} {
		if got := string(second.session.Note(name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	anew := join(t, m, Info{ByDevice: true}, &parleyv1.Connect{Device: "sensor-1", Clean: true})
	if got := anew.session.Note("a"); got != nil {
		t.Errorf("a session that begins anew has %q", got)
	}
	<-second.ended
	anew.session.End(protocol.Closed)
}

// An older connection that does not know yet that it is over changes nothing
// any more.
func TestNotesOfAnOlderConnection(t *testing.T) {
	m := newManager(t, Limits{})
	device := &parleyv1.Connect{Device: "sensor-1", ExpirySeconds: 60}
	older := join(t, m, Info{ByDevice: true}, device)
	keep(t, older.session, "a", "1")
	newer := join(t, m, Info{ByDevice: true}, device)
	if got := string(newer.session.Note("a")); got != "1" {
		t.Fatalf("a is %q", got)
	}
	refused := make(chan error, 1)
	older.session.SetNote("a", []byte("2"), func(err error) { refused <- err })
	if err := <-refused; !errors.Is(err, vault.ErrTaken) {
		t.Errorf("the older connection wrote: %v", err)
	}
	if got := string(newer.session.Note("a")); got != "1" {
		t.Errorf("a has become %q", got)
	}
	<-older.ended
	newer.session.End(protocol.Closed)
}

// Only a transport that says so lets devices without a user come back by their
// name alone.
func TestDevicesWithoutAUser(t *testing.T) {
	m := newManager(t, Limits{})
	first := join(t, m, Info{}, &parleyv1.Connect{Device: "sensor-1"})
	second := join(t, m, Info{}, &parleyv1.Connect{Device: "sensor-1"})
	if first.session.ID() == second.session.ID() {
		t.Error("somebody else's session")
	}
	first.session.End(protocol.Closed)
	second.session.End(protocol.Closed)
}

// A transport may learn at the end for how long the session is to be kept.
func TestExpiryIsSetAtTheEnd(t *testing.T) {
	m := newManager(t, Limits{})
	l := join(t, m, Info{ByDevice: true}, &parleyv1.Connect{Device: "sensor-1", ExpirySeconds: 60})
	if got := l.session.expiry(true); got != time.Minute {
		t.Fatalf("%v", got)
	}
	l.session.SetExpiry(3 * time.Second)
	if got := l.session.expiry(true); got != 3*time.Second {
		t.Errorf("%v", got)
	}
	l.session.End(protocol.Closed)
}

// A session that ends with its connection is found by nobody, not even by the
// connection that takes its place.
func TestFleetingSessions(t *testing.T) {
	m := newManager(t, Limits{})
	enter := func() *line {
		l := &line{ended: make(chan protocol.Reason, 1)}
		if err := m.Admit("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		l.session = m.Accept(l, Info{Address: "192.0.2.1", ByDevice: true})
		return l
	}
	connect := func(l *line) {
		c := &parleyv1.Connect{Device: "sensor-1", ExpirySeconds: 60}
		l.session.Handle([]protocol.Incoming{{ID: 1, Command: &parleyv1.Command{Id: 1, Command: &parleyv1.Command_Connect{Connect: c}}}})
	}
	first := enter()
	first.session.Fleeting()
	connect(first)
	first.session.SetNote("a", []byte("1"), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	second := enter() // while the first is still there
	second.session.Fleeting()
	connect(second)
	<-first.ended
	if second.session.Note("a") != nil {
		t.Error("it goes on with a session that has ended")
	}
	second.session.End(protocol.Lost)
	third := enter()
	connect(third)
	if third.session.Note("a") != nil || m.Stats().Resumed > 0 {
		t.Error("something was kept")
	}
	third.session.End(protocol.Closed)
}
