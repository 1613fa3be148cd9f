package parley_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/parleyhq/parley/parleytest"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/pubsub"
)

// However soon the client is back, the old connection's end and the new one's
// beginning leave no moment in which its subscriptions are nowhere.
func TestResumeAtOnceKeepsSubscriptions(t *testing.T) {
	s := parleytest.Serve(t, chat())
	c := s.Dial("bob")
	c.Subscribe("public/1")
	c.Subscribe("public/2")
	for i := range 200 {
		c.Drop()
		back := c.Reconnect()
		if !back.GetResumed() || len(back.GetSubscriptions()) != 2 {
			t.Fatalf("reconnect %d: %v", i, back)
		}
	}
}

func TestHistoryAnswersAreBoundedInBytes(t *testing.T) {
	s := parleytest.Serve(t, chat())
	c := s.Dial("ada")
	big := strings.Repeat("x", 50_000)
	for range 30 {
		c.Publish("public/big", "m", big)
	}
	page := c.Do(&parleyv1.Command{Command: &parleyv1.Command_History{History: &parleyv1.History{Topic: "public/big", Limit: 1000}}}).GetHistory()
	n := len(page.GetMessages())
	if n == 0 || n*len(big) > pubsub.MaxHistoryBytes || !page.GetMore() || page.GetMessages()[n-1].GetSeq() != 30 {
		t.Fatalf("%d messages up to %d, more: %v", n, page.GetMessages()[n-1].GetSeq(), page.GetMore())
	}
	after := &parleyv1.Position{Epoch: page.GetPosition().GetEpoch()}
	for got := uint64(0); got < 30; {
		page = c.Do(&parleyv1.Command{Command: &parleyv1.Command_History{History: &parleyv1.History{Topic: "public/big", After: after, Limit: 1000}}}).GetHistory()
		for _, m := range page.GetMessages() {
			if got++; m.GetSeq() != got {
				t.Fatalf("seq %d, want %d", m.GetSeq(), got)
			}
		}
		if len(page.GetMessages()) == 0 {
			t.Fatalf("the history ends at %d", got)
		}
		after.Seq = got
	}
}

func TestARefusedSubscribeKeepsTheFirst(t *testing.T) {
	s := parleytest.Serve(t, chat())
	ada, bob := s.Dial("ada"), s.Dial("bob")
	bob.Subscribe("public/+")
	refused := bob.Do(&parleyv1.Command{Command: &parleyv1.Command_Subscribe{Subscribe: &parleyv1.Subscribe{
		Topic: "public/+", Since: &parleyv1.Position{Epoch: "e", Seq: 3},
	}}})
	if refused.GetError().GetCode() != protocol.BadRequest.Code {
		t.Fatalf("got %v", refused)
	}
	ada.Publish("public/1", "m", json.Number("1"))
	bob.Expect("m")
}

func TestReadReceiptsThatNobodyWaitsForAreNoMistake(t *testing.T) {
	s := parleytest.Serve(t, chat())
	c := s.Open(http.Header{"Parley-Test-User": {"ada"}})
	c.Do(&parleyv1.Command{Command: &parleyv1.Command_Connect{Connect: &parleyv1.Connect{}}})
	c.Send(`{"read":{"topic":"public/1","seq":1}}`)
	c.ExpectNothing()
	if r := c.Do(&parleyv1.Command{Command: &parleyv1.Command_Read{Read: &parleyv1.Read{Topic: "public/1"}}}); r.GetError().GetCode() != "not_found" {
		t.Errorf("got %v", r)
	}
}
