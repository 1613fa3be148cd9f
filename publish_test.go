package parley_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSendingToPeople(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	phone, laptop := s.Dial("ada", "admin"), s.Dial("ada", "admin")
	ben, eve := s.Dial("ben", "admin", "member"), s.Dial("eve")
	all := []*parleytest.Client{phone, laptop, ben, eve}
	ctx := t.Context()
	session := live.Sessions("ben", 1)[0].Session
	for _, tc := range []struct {
		name, topic string
		send        func(typ string) error
		to          []*parleytest.Client
	}{
		{"all devices of a user", "$user/ada", func(typ string) error { return live.SendUser(ctx, "ada", typ, 1) }, all[:2]},
		{"a user who is not there", "", func(typ string) error { return live.SendUser(ctx, "zoe", typ, 1) }, nil},
		{"one connection", "$session/" + session, func(typ string) error { return live.SendSession(ctx, session, typ, 1) }, []*parleytest.Client{ben}},
		{"a connection that is gone", "", func(typ string) error { return live.SendSession(ctx, "s-gone", typ, 1) }, nil},
		{"a role", "$role/admin", func(typ string) error { return live.SendRole(ctx, "admin", typ, 1) }, all[:3]},
		{"a part of a role's name", "", func(typ string) error { return live.SendRole(ctx, "adm", typ, 1) }, nil},
		{"everybody", "$all", func(typ string) error { return live.Broadcast(ctx, typ, 1) }, all},
		{"everybody but one", "$all", func(typ string) error { return live.Broadcast(ctx, typ, 1, parley.Except(session)) }, []*parleytest.Client{phone, laptop, eve}},
	} {
		must(t, tc.send(tc.name))
		for _, c := range all {
			if slices.Contains(tc.to, c) {
				if m := c.Expect(tc.name); m.GetTopic() != tc.topic || m.GetSeq() != 0 {
					t.Errorf("%s: got %v", tc.name, m)
				}
			}
		}
	}
	for _, c := range all {
		c.ExpectNothing()
	}
	for _, err := range []error{live.SendUser(ctx, "", "t", 1), live.SendSession(ctx, "", "t", 1), live.SendRole(ctx, "", "t", 1)} {
		if err == nil {
			t.Error("nobody is a receiver")
		}
	}
	if !live.Online("ada") || live.Online("zoe") || live.Online("") {
		t.Error("online is not who is there")
	}
}

func TestPublishOptions(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	ada, ben := s.Dial("ada"), s.Dial("ben")
	ada.Subscribe("public/1")
	ben.Subscribe("public/1")
	publish := func(typ string, v any, opts ...parley.PublishOption) parley.Position {
		t.Helper()
		at, err := live.Publish(t.Context(), "public/1", typ, v, opts...)
		must(t, err)
		return at
	}
	if at := publish("plain", map[string]int{"n": 1}, parley.From("zoe"), parley.Header("trace", "7")); at.Seq != 1 || at.Epoch == "" {
		t.Errorf("at %+v", at)
	}
	if m := ada.Expect("plain"); m.GetFrom() != "zoe" || m.GetHeaders()["trace"] != "7" || string(m.GetPayload()) != `{"n":1}` || m.GetId() == "" || time.Since(time.UnixMilli(m.GetTime())) > time.Minute {
		t.Errorf("got %v", m)
	}
	ben.Expect("plain")

	first, again := publish("keyed", 1, parley.Key("k")), publish("keyed", 2, parley.Key("k"))
	other := publish("keyed", 3, parley.Key("k"), parley.From("zoe"))
	if first != again || other.Seq != first.Seq+1 {
		t.Errorf("first %+v, again %+v, another publisher %+v", first, again, other)
	}
	for _, want := range []string{"1", "3"} {
		if m := ben.Expect("keyed"); string(m.GetPayload()) != want {
			t.Errorf("got %s", m.GetPayload())
		}
	}
	if at := publish("passing", nil, parley.Ephemeral()); at.Seq != 0 {
		t.Errorf("an ephemeral message is at %+v", at)
	}
	if m := ben.Expect("passing"); m.GetSeq() != 0 || len(m.GetPayload()) != 0 {
		t.Errorf("got %v", m)
	}
	publish("bytes", parley.Raw{0, 255})
	if m := ben.Expect("bytes"); string(m.GetData()) != "\x00\xff" || m.GetPayload() != nil {
		t.Errorf("got %v", m)
	}
	publish("dead", 1, parley.ExpiresIn(-time.Second))
	publish("except", 1, parley.Except(live.Sessions("ben", 1)[0].Session))
	if m := ada.Expect("except"); m.GetSeq() != 6 {
		t.Errorf("got %v", m)
	}
	ben.ExpectNothing()
	page, err := live.History(t.Context(), "public/1", parley.Query{Limit: 10})
	if err != nil || len(page.Messages) != 5 || page.Position.Seq != 6 {
		t.Errorf("history: %d messages, %+v, %v", len(page.Messages), page.Position, err)
	}
}

func TestPublishRefusals(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	ctx := t.Context()
	for name, v := range map[string]any{"": 1, "a/+": 1, "a/#": 1, strings.Repeat("a", 513): 1, "chan": make(chan int), "raw": json.RawMessage("{")} {
		if _, err := live.Publish(ctx, name, "t", v); err == nil {
			t.Errorf("%.20q %T was published", name, v)
		}
	}
	if _, err := live.Publish(ctx, "a", "t", 1, parley.Key(strings.Repeat("k", 257))); err == nil {
		t.Error("a key without end was taken")
	}
	c := s.Dial("ada")
	for _, tc := range []struct {
		publish    *parleyv1.Publish
		code, says string
	}{
		{&parleyv1.Publish{}, "bad_request", "topic is empty"},
		{&parleyv1.Publish{Topic: strings.Repeat("a", 513)}, "bad_request", "too long"},
		{&parleyv1.Publish{Topic: "public/+"}, "bad_request", "wildcard"},
		{&parleyv1.Publish{Topic: "public/#"}, "bad_request", "wildcard"},
		{&parleyv1.Publish{Topic: "/public"}, "forbidden", "may not publish on /public"},
		{&parleyv1.Publish{Topic: "$user/ben"}, "forbidden", "belong to the server"},
		{&parleyv1.Publish{Topic: "$all"}, "forbidden", "belong to the server"},
		{&parleyv1.Publish{Topic: "secret/1"}, "forbidden", "may not publish on secret/1"},
		{&parleyv1.Publish{Topic: "user/ben/inbox"}, "forbidden", "may not publish"},
		{&parleyv1.Publish{Topic: "public/1", Payload: []byte("1"), Data: []byte("1")}, "bad_request", "exclude each other"},
		{&parleyv1.Publish{Topic: "public/1", Key: strings.Repeat("k", 257)}, "bad_request", "key has 257 bytes"},
		{&parleyv1.Publish{Topic: "public/1", Headers: manyHeaders(33)}, "bad_request", "33 headers"},
	} {
		e := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: tc.publish}}).GetError()
		if e.GetCode() != tc.code || !strings.Contains(e.GetMessage(), tc.says) {
			t.Errorf("%.40v: %v", tc.publish, e)
		}
	}
	c.Publish("user/ada/inbox", "t", 1)
	c.Publish(strings.Replace("public/x", "x", strings.Repeat("x", 505), 1), "t", 1)
}

func manyHeaders(n int) map[string]string {
	out := make(map[string]string)
	for i := range n {
		out[fmt.Sprint("h", i)] = "v"
	}
	return out
}

func TestClientsPublish(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	ada, ben := s.Dial("ada"), s.Dial("ben")
	ada.Subscribe("public/#")
	ben.Subscribe("public/#")
	no := false
	do := func(p *parleyv1.Publish) *parleyv1.Published {
		t.Helper()
		r := ada.Do(&parleyv1.Command{Command: &parleyv1.Command_Publish{Publish: p}})
		if r.GetPublished() == nil {
			t.Fatalf("publish: %v", r)
		}
		return r.GetPublished()
	}
	do(&parleyv1.Publish{Topic: "public/1", Type: "quiet", Echo: &no})
	first := do(&parleyv1.Publish{Topic: "public/1", Type: "keyed", Key: "k", Payload: []byte("1")})
	again := do(&parleyv1.Publish{Topic: "public/1", Type: "keyed", Key: "k", Payload: []byte("2")})
	if first.GetDuplicate() || !again.GetDuplicate() || first.GetPosition().GetSeq() != again.GetPosition().GetSeq() {
		t.Errorf("first %v, again %v", first, again)
	}
	do(&parleyv1.Publish{Topic: "public/2", Type: "kept", Retain: true, Payload: []byte(`"v1"`)})
	do(&parleyv1.Publish{Topic: "public/2", Type: "kept", Retain: true, Payload: []byte(`"v2"`)})
	ada.Expect("keyed")
	ada.Expect("kept")
	ada.Expect("kept")
	ada.ExpectNothing() // the quiet one least of all
	if m := ben.Expect("quiet"); m.GetFrom() != "ada" {
		t.Errorf("got %v", m)
	}
	late := s.Dial("eve")
	late.Subscribe("public/2")
	if m := late.Expect("kept"); string(m.GetPayload()) != `"v2"` {
		t.Errorf("got %v", m)
	}
	late.ExpectNothing()
	do(&parleyv1.Publish{Topic: "public/2", Retain: true})
	later := s.Dial("zoe")
	later.Subscribe("public/2")
	later.ExpectNothing()
	brief := do(&parleyv1.Publish{Topic: "public/3", Type: "brief", ExpiresInMs: 1})
	if brief.GetPosition().GetSeq() != 1 {
		t.Errorf("got %v", brief)
	}
}

func TestHistoryBothWays(t *testing.T) {
	s := parleytest.Serve(t, parley.New())
	c := s.Dial("ada")
	var epoch string
	for i := range 10 {
		epoch = c.Publish("public/1", "m", i+1).GetPosition().GetEpoch()
	}
	ask := func(h *parleyv1.History) *parleyv1.HistoryPage {
		t.Helper()
		h.Topic = "public/1"
		r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_History{History: h}})
		if r.GetHistory() == nil {
			t.Fatalf("history: %v", r)
		}
		return r.GetHistory()
	}
	at := func(seq uint64) *parleyv1.Position { return &parleyv1.Position{Epoch: epoch, Seq: seq} }
	for _, tc := range []struct {
		name        string
		ask         *parleyv1.History
		first, last uint64
		more        bool
	}{
		{"the newest", &parleyv1.History{Limit: 3}, 8, 10, true},
		{"all", &parleyv1.History{}, 1, 10, false},
		{"before", &parleyv1.History{Before: at(8), Limit: 3}, 5, 7, true},
		{"before, the last page", &parleyv1.History{Before: at(3), Limit: 3}, 1, 2, false},
		{"after", &parleyv1.History{After: at(4), Limit: 3}, 5, 7, true},
		{"after, the last page", &parleyv1.History{After: at(8), Limit: 3}, 9, 10, false},
		{"between", &parleyv1.History{After: at(3), Before: at(6)}, 4, 5, false},
	} {
		p := ask(tc.ask)
		if n := len(p.GetMessages()); n != int(tc.last-tc.first+1) || p.GetMessages()[0].GetSeq() != tc.first || p.GetMessages()[n-1].GetSeq() != tc.last || p.GetMore() != tc.more || p.GetPosition().GetSeq() != 10 {
			t.Errorf("%s: %v", tc.name, p)
		}
	}
	for topic, code := range map[string]string{"secret/1": "forbidden", "public/#": "bad_request", "": "bad_request"} {
		r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_History{History: &parleyv1.History{Topic: topic}}})
		if r.GetError().GetCode() != code {
			t.Errorf("history of %q: %v", topic, r)
		}
	}
}

func TestTheDefaultsAreSafe(t *testing.T) {
	live := parley.New()
	s := parleytest.Serve(t, live)
	c := s.Dial("ada")
	for _, topic := range []string{"#", "+/1", "secret/1", "user/ben/#", "user/+/inbox", "$user/ada", "$all", "$session/#"} {
		r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{Topic: topic}}})
		if r.GetError().GetCode() != "forbidden" {
			t.Errorf("subscribe to %s: %v", topic, r)
		}
	}
	var e *protocol.Error
	if _, err := live.History(context.Background(), "a/#", parley.Query{}); !errors.As(err, &e) {
		t.Errorf("history of a pattern: %v", err)
	}
}
