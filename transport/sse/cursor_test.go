package sse

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/topic"
)

// Whatever a stream has got to, its id says so, and stays short.
func TestIDsSayHowFar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, want := &cursor{}, map[string]message.Position{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			name := fmt.Sprintf("room/%d", rapid.IntRange(0, 30).Draw(t, "topic"))
			p := message.Position{
				Epoch: rapid.SampledFrom([]string{"", "e1", "e2", "e3", "e4", "e5", "e6", "e7"}).Draw(t, "epoch"),
				Seq:   rapid.Uint64().Draw(t, "seq"),
			}
			at.set(name, p)
			before, known := want[name]
			if p.Epoch == "" && known {
				p.Epoch = before.Epoch
			}
			if known && p.Epoch == before.Epoch {
				p.Seq = max(p.Seq, before.Seq)
			}
			want[name] = p
		}
		id := string(at.appendID(nil))
		if strings.ContainsAny(id, "\x00\r\n =+/") || len(id) > 80+40*len(want) {
			t.Fatalf("%d topics: %q", len(want), id)
		}
		got, err := parseID(id)
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range want {
			if read, ok := got.position(name); !ok || read != p {
				t.Fatalf("%s: %+v was written, %+v read", name, p, read)
			}
		}
		if _, ok := got.position("room/elsewhere"); ok {
			t.Fatal("a topic that was never set has a place")
		}
		if again := string(got.appendID(nil)); again != id {
			t.Fatalf("%q became %q", id, again)
		}
	})
}

// The most topics that a request may have fit into an id, with large numbers.
func TestTheLongestID(t *testing.T) {
	at := &cursor{}
	for i := range maxTopics {
		at.set(fmt.Sprintf("a/very/long/topic/name/that/does/not/matter/%d", i), message.Position{Epoch: "SOMEEPOCH1.1234567", Seq: 1 << 40})
	}
	id := at.appendID(nil)
	if _, err := parseID(string(id)); err != nil || len(id) > 2200 {
		t.Errorf("%d bytes: %v", len(id), err)
	}
}

// What is no id is refused whole, however it came about.
func TestForeignIDs(t *testing.T) {
	at := &cursor{}
	at.set("a", message.Position{Epoch: "e", Seq: 300})
	good := string(at.appendID(nil))
	for i := range len(good) {
		if _, err := parseID(good[:i]); err == nil {
			t.Errorf("%q is no id", good[:i])
		}
	}
	for _, text := range []string{"", "1", "AA", "Ag", "AQ", "AQAAAA", "AQH_____DwA", "AQAB", "AQABAAAAAAAAAAA", good + "A", good + "\n", strings.Repeat("A", maxID+1)} {
		if _, err := parseID(text); err == nil {
			t.Errorf("%q is no id", text)
		}
	}
}

func FuzzID(f *testing.F) {
	at := &cursor{}
	at.set("a", message.Position{Epoch: "e", Seq: 300})
	at.set("b", message.Position{Epoch: "f", Seq: 1})
	f.Add(string(at.appendID(nil)))
	f.Add("AQAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseID(text)
		if err != nil {
			return
		}
		again, err := parseID(string(c.appendID(nil)))
		if err != nil || len(again.places) != len(c.places) {
			t.Fatalf("%q is read, and what it says is not: %v", text, err)
		}
	})
}

// Topics of patterns leave the id when everything up to a mark was sent, and
// those beyond it and those that were asked for by name stay.
func TestShorterIDs(t *testing.T) {
	at := &cursor{}
	at.set("named", message.Position{Epoch: "e", Seq: 3})
	at.set("room/#", message.Position{Seq: 10})
	for i := range 40 {
		at.pass(fmt.Sprint("room/", i), message.Position{Epoch: "e", Seq: 1}, uint64(11+i))
	}
	long := len(at.appendID(nil))
	at.rebase([]topic.Filter{"room/#"}, 48)
	id, err := parseID(string(at.appendID(nil)))
	if err != nil || at.loose != 2 || len(at.places) != 4 || len(at.appendID(nil)) > long/4 {
		t.Fatalf("%d loose, %d places, %d bytes of %d: %v", at.loose, len(at.places), len(at.appendID(nil)), long, err)
	}
	for name, want := range map[string]uint64{"named": 3, "room/#": 48, "room/39": 1, "room/38": 1} {
		if p, ok := id.position(name); !ok || p.Seq != want {
			t.Errorf("%s: %v %v", name, p, ok)
		}
	}
	if _, ok := id.position("room/5"); ok {
		t.Error("a topic that is covered has a place")
	}
	other := &cursor{}
	other.set("named", message.Position{Epoch: "e", Seq: 7})
	other.carry(id)
	if p, _ := other.position("named"); p.Seq != 7 || other.loose != 3 {
		t.Errorf("%v, %d loose", p, other.loose)
	}
}
