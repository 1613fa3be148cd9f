package parley_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

type send struct {
	Room string `json:"room" validate:"required"`
	Text string `json:"text" validate:"required,max=10"`
}

type ack struct {
	Seq uint64 `json:"seq"`
}

func chat() *parley.Live {
	live := parley.New()
	parley.On(live, "chat.send", func(c *parley.Ctx, in send) (ack, error) {
		at, err := c.Publish("public/"+in.Room, "chat.message", in)
		return ack{at.Seq}, err
	})
	parley.On(live, "boom", func(*parley.Ctx, struct{}) (any, error) { panic("no") })
	return live
}

func TestAMessageTravels(t *testing.T) {
	s := parleytest.Serve(t, chat())
	ada, bob, eve := s.Dial("ada"), s.Dial("bob"), s.Dial("eve")
	bob.Subscribe("public/1")
	eve.Subscribe("public/+")
	var a ack
	if err := ada.Call("chat.send", send{"1", "hi"}, &a); err != nil || a.Seq != 1 {
		t.Fatalf("call: %+v, %v", a, err)
	}
	for _, c := range []*parleytest.Client{bob, eve} {
		m := c.Expect("chat.message")
		if m.GetFrom() != "ada" || m.GetTopic() != "public/1" || m.GetSeq() != 1 || m.GetPrev() != 0 || string(m.GetPayload()) != `{"room":"1","text":"hi"}` {
			t.Errorf("got %v", m)
		}
	}
	ada.Publish("public/1", "x", 2)
	if m := bob.Expect("x"); m.GetSeq() != 2 || m.GetPrev() != 1 {
		t.Errorf("got %v", m)
	}
	ada.ExpectNothing()
}

func TestCallRefusals(t *testing.T) {
	s := parleytest.Serve(t, chat())
	c := s.Dial("ada")
	for _, tc := range []struct {
		typ        string
		in         any
		code, text string
	}{
		{"chat.send", send{Text: "hi"}, "bad_request", "room is missing"},
		{"chat.send", send{"1", "far too long"}, "bad_request", "text must have at most 10"},
		{"chat.send", map[string]any{"room": 7}, "bad_request", "room must be string"},
		{"boom", nil, "internal", "log"},
		{"nobody", nil, "unimplemented", `"nobody"`},
		{"", nil, "bad_request", "type is missing"},
	} {
		var e *protocol.Error
		if err := c.Call(tc.typ, tc.in, nil); !errors.As(err, &e) || e.Code != tc.code || !strings.Contains(e.Message, tc.text) {
			t.Errorf("%s %v: %v, want %s with %q", tc.typ, tc.in, err, tc.code, tc.text)
		}
	}
}

func TestResumeBringsWhatWasMissed(t *testing.T) {
	s := parleytest.Serve(t, chat())
	ada, bob := s.Dial("ada"), s.Dial("bob")
	at := bob.Subscribe("public/1").GetPosition()
	ada.Publish("public/1", "m", 1)
	bob.Expect("m")
	bob.Drop()
	for i := 2; i <= 5; i++ {
		ada.Publish("public/1", "m", i)
	}
	back := bob.Reconnect(&parleyv1.Subscribe{Topic: "public/1", Since: &parleyv1.Position{Epoch: at.GetEpoch(), Seq: 1}})
	if got := back.GetSubscriptions(); !back.GetResumed() || len(got) != 1 || !got[0].GetRecovered() || got[0].GetPosition().GetSeq() != 5 {
		t.Fatalf("connected %v", back)
	}
	for i := 2; i <= 5; i++ {
		if m := bob.Expect("m"); string(m.GetPayload()) != strconv.Itoa(i) {
			t.Fatalf("message %d: %v", i, m)
		}
	}
	stale := bob.SubscribeSince("public/1", &parleyv1.Position{Epoch: "another", Seq: 3})
	if stale.GetRecovered() {
		t.Errorf("a position of another epoch was recovered: %v", stale)
	}
}

func TestTheServerRemembersAcknowledgements(t *testing.T) {
	s := parleytest.Serve(t, chat())
	ada, bob := s.Dial("ada"), s.Dial("bob")
	bob.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: "public/1", Qos: 1}}})
	bob.Subscribe("public/2")
	for i := 1; i <= 3; i++ {
		ada.Publish("public/1", "m", i)
		bob.Expect("m")
	}
	bob.Send(`{"ack":{"topic":"public/1","seq":2}}`)
	bob.ExpectNothing()
	bob.Drop()
	ada.Publish("public/1", "m", 4)
	back := bob.Reconnect()
	for _, sub := range back.GetSubscriptions() {
		if sub.GetRecovered() != (sub.GetTopic() == "public/1") {
			t.Errorf("recovered: %v", sub)
		}
	}
	for i := 3; i <= 4; i++ {
		if m := bob.Expect("m"); string(m.GetPayload()) != strconv.Itoa(i) {
			t.Fatalf("message %d: %v", i, m)
		}
	}
	bob.ExpectNothing()
}

func TestConnectCarriesSubscriptions(t *testing.T) {
	s := parleytest.Serve(t, chat())
	ada := s.Dial("ada")
	ada.Publish("public/1", "m", 1)
	c := s.Open(map[string][]string{"Parley-Test-User": {"bob"}})
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Subscriptions: []*parleyv1.Subscribe{
		{Topic: "public/1", Since: &parleyv1.Position{}}, {Topic: "private/1"}, {Topic: "a/#/b"},
	}}}}).GetConnected()
	subs := r.GetSubscriptions()
	if len(subs) != 3 || subs[0].GetPosition().GetSeq() != 1 || subs[1].GetError().GetCode() != "forbidden" || subs[2].GetError().GetCode() != "bad_request" {
		t.Fatalf("connected %v", r)
	}
	if m := c.Expect("m"); m.GetSeq() != 1 {
		t.Errorf("got %v", m)
	}
}

func TestTwoSocketsWithTheSameTicket(t *testing.T) {
	s := parleytest.Serve(t, chat())
	old := s.Dial("bob")
	old.Subscribe("public/1")
	c := s.Open(map[string][]string{"Parley-Test-User": {"bob"}})
	r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Session: old.Ticket}}}).GetConnected()
	if !r.GetResumed() || len(r.GetSubscriptions()) != 1 {
		t.Fatalf("connected %v", r)
	}
	if end := old.ExpectEnd(); end.Code != protocol.TakenOver.Close {
		t.Errorf("the older connection: %v", end)
	}
	s.Dial("ada").Publish("public/1", "m", 1)
	c.Expect("m")
	thief := s.Open(map[string][]string{"Parley-Test-User": {"eve"}})
	stolen := thief.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{Session: old.Ticket}}}).GetConnected()
	if stolen == nil || stolen.GetResumed() {
		t.Errorf("another user took the session: %v", stolen)
	}
}
