package sse

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/message"
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
