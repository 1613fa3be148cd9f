package torture_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parleyhq/parley/scenario/torture"
)

// story is journals written by hand: client, promise, and entries such as
// "got t 3 c".
func story(t *testing.T, clients ...[]string) []torture.Journal {
	t.Helper()
	kinds := map[string]torture.Kind{}
	for _, k := range []torture.Kind{torture.Begun, torture.Cut, torture.Tried, torture.Accepted, torture.Refused, torture.Got, torture.Gap} {
		kinds[string(k)] = k
	}
	var out []torture.Journal
	for _, lines := range clients {
		name, promise, _ := strings.Cut(lines[0], " ")
		j := torture.Journal{Client: name, Promise: torture.Promise(promise)}
		for _, line := range lines[1:] {
			f := append(strings.Fields(line), "", "", "")
			e := torture.Entry{Kind: kinds[f[0]], Topic: f[1], Epoch: "k"}
			if e.Kind == "" {
				t.Fatalf("%q is no entry", line)
			}
			for _, digit := range f[2] {
				e.Seq = e.Seq*10 + uint64(digit-'0')
			}
			e.Value = f[3]
			j.Entries = append(j.Entries, e)
		}
		out = append(out, j)
	}
	return out
}

func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	ann := []string{"ann publisher", "begun", "tried t 0 a", "tried t 0 b", "tried t 0 c", "accepted t 1 a", "accepted t 2 b", "accepted t 3 c"}
	for name, c := range map[string]struct {
		journals [][]string
		want     string // "" for nothing
	}{
		"all is well":              {[][]string{ann, {"bob exactly-once", "begun", "got t 1 a", "got t 2 b", "got t 3 c"}}, ""},
		"lost at the end":          {[][]string{ann, {"bob at-least-once", "got t 1 a", "got t 2 b"}}, "c was accepted at 3 and never came"},
		"left out":                 {[][]string{ann, {"bob at-least-once", "got t 1 a", "got t 3 c", "begun", "got t 2 b"}}, "b at 2 did not come before it"},
		"an explained repeat":      {[][]string{ann, {"bob at-least-once", "got t 1 a", "got t 2 b", "cut", "got t 2 b", "got t 3 c"}}, ""},
		"an unexplained repeat":    {[][]string{ann, {"bob at-least-once", "got t 1 a", "got t 2 b", "got t 2 b", "got t 3 c"}}, "2 came after 2 on one connection"},
		"a repeat at exactly once": {[][]string{ann, {"bob exactly-once", "got t 1 a", "got t 2 b", "begun", "got t 2 b", "got t 3 c"}}, "2 came again"},
		"out of order":             {[][]string{ann, {"bob at-least-once", "got t 2 b", "got t 1 a", "got t 3 c"}}, "1 came after 2"},
		"stored twice": {[][]string{
			{"ann publisher", "begun", "tried t 0 a", "accepted t 1 a"}, {"bob at-least-once", "got t 1 a", "got t 2 a"},
		}, "a is stored twice"},
		"two at one place": {[][]string{ann, {"bob at-least-once", "got t 1 a", "got t 2 x", "got t 3 c"}}, "at 2 stands x"},
		"stored in another order": {[][]string{
			{"ann publisher", "begun", "tried t 0 a", "tried t 0 b", "accepted t 2 a", "accepted t 1 b"},
			{"bob exactly-once", "got t 1 b", "got t 2 a"},
		}, "b was published after a and stands before it"},
		"a life of its own order": {[][]string{
			{"ann publisher", "begun", "tried t 0 a", "begun", "tried t 0 b", "accepted t 1 b"},
			{"bob exactly-once", "got t 1 b", "got t 2 a"},
		}, ""},
		"a member has it": {[][]string{ann, {"m1 group", "got t 1 a", "got t 3 c"}, {"m2 group", "got t 2 b"}}, ""},
		"no member has it": {[][]string{ann, {"m1 group", "got t 1 a"}, {"m2 group", "got t 2 b"}}, "m1+m2 on t: c was accepted at 3 and never came"},
		"a gap":            {[][]string{ann, {"bob exactly-once", "got t 1 a", "got t 2 b", "gap t", "got t 3 c"}}, "messages are lost"},
		"not accepted, never came": {[][]string{
			{"ann publisher", "begun", "tried t 0 a", "tried t 0 b", "accepted t 1 b"}, {"bob exactly-once", "got t 1 b"},
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := torture.Check(story(t, c.journals...))
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("found %v in a story where all is well", found)
			case c.want != "" && !strings.Contains(fmt.Sprint(found), c.want):
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}

func TestAJournalOutlivesItsWriter(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/journal"
	for _, value := range []string{"a", "b|c"} {
		pen, err := torture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := pen.Write(torture.Entry{Kind: torture.Got, Topic: "t", Epoch: "k", Seq: 7, Value: value}); err != nil {
			t.Fatal(err)
		}
		if err := pen.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := torture.Read(path)
	if err != nil || len(got) != 2 || got[1] != (torture.Entry{Kind: torture.Got, Topic: "t", Epoch: "k", Seq: 7, Value: "b|c"}) {
		t.Errorf("read %v, %v", got, err)
	}
}
