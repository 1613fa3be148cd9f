package topic_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/topic"
)

func TestParseName(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"a", nil},
		{"room/1", nil},
		{"房间/一", nil},
		{"$user/u1", nil},
		{"a//b", nil},
		{"a/", nil},
		{strings.Repeat("x", topic.MaxLength), nil},
		{"", topic.ErrEmpty},
		{"/a", nil},
		{"a/+", topic.ErrWildcard},
		{"a#", topic.ErrWildcard},
		{"a\x00b", topic.ErrNUL},
		{"a\xff", topic.ErrUTF8},
		{strings.Repeat("x", topic.MaxLength+1), topic.ErrTooLong},
	} {
		if _, err := topic.ParseName(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("ParseName(%.20q) = %v, want %v", tc.in, err, tc.want)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"a", nil},
		{"#", nil},
		{"+", nil},
		{"a/+/b/#", nil},
		{"+/+", nil},
		{"a//+", nil},
		{"a/#/b", topic.ErrHash},
		{"a#", topic.ErrHash},
		{"a/b#", topic.ErrHash},
		{"##", topic.ErrHash},
		{"a+", topic.ErrPlus},
		{"a/+b", topic.ErrPlus},
		{"", topic.ErrEmpty},
		{"/#", nil},
		{"/", nil},
	} {
		if _, err := topic.ParseFilter(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("ParseFilter(%q) = %v, want %v", tc.in, err, tc.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		f, g string
		want bool
	}{
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "a/+/c", true},
		{"a/#", "a/#", true},
		{"a/#", "b", false},
		{"a/+", "a/b", true},
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"a/+", "a/#", false},
		{"a/+", "a/+", true},
		{"a/b", "a/+", false},
		{"a/+/#", "a/#", false},
		{"a/+/#", "a/b", true},
		{"#", "a", true},
		{"#", "#", true},
		{"#", "$user/u1", false},
		{"+/u1", "$user/u1", false},
		{"+/a", "/a", true},
		{"/+", "/a", true},
		{"a", "/a", false},
		{"#", "/a", true},
		{"$user/#", "$user/u1", true},
		{"+", "", true},
		{"a//b", "a/+/b", false},
		{"a/+/b", "a//b", true},
		{"ab", "a", false},
	} {
		if got := topic.Filter(tc.f).Covers(topic.Filter(tc.g)); got != tc.want {
			t.Errorf("%q covers %q = %v, want %v", tc.f, tc.g, got, tc.want)
		}
	}
}

func TestBestPrefersTheMostSpecific(t *testing.T) {
	var tree topic.Tree[string]
	for _, f := range []string{"#", "a/#", "a/+/c", "a/b/#", "a/b/c"} {
		tree.Set(topic.Filter(f), f)
	}
	for name, want := range map[string]string{"x": "#", "a": "a/#", "a/b": "a/b/#", "a/x/c": "a/+/c", "a/b/c": "a/b/c", "a/b/c/d": "a/b/#"} {
		if got, _ := tree.Best(topic.Name(name)); got != want {
			t.Errorf("Best(%q) = %q, want %q", name, got, want)
		}
	}
	if _, ok := tree.Best("$sys/x"); ok {
		t.Error("'#' must not match a name of the server")
	}
}

// The tree must find what a walk over all filters finds, whatever was set and
// deleted before.
func TestTreeAgreesWithMatches(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "+", "$s"})
	filter := rapid.Custom(func(t *rapid.T) topic.Filter {
		levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
		if rapid.Bool().Draw(t, "hash") {
			levels = append(levels, "#")
		}
		return topic.Filter(strings.Join(levels, "/"))
	}).Filter(func(f topic.Filter) bool { _, err := topic.ParseFilter(string(f)); return err == nil })
	rapid.Check(t, func(t *rapid.T) {
		var tree topic.Tree[topic.Filter]
		model := map[topic.Filter]bool{}
		for _, f := range rapid.SliceOf(filter).Draw(t, "set") {
			tree.Set(f, f)
			model[f] = true
		}
		for _, f := range rapid.SliceOf(filter).Draw(t, "delete") {
			tree.Delete(f)
			delete(model, f)
		}
		if tree.Len() != len(model) {
			t.Fatalf("Len = %d, want %d", tree.Len(), len(model))
		}
		name := filter.Filter(func(f topic.Filter) bool { return !f.Wildcard() }).Draw(t, "name")
		var got, want []topic.Filter
		tree.Match(topic.Name(name), func(f topic.Filter) bool { got = append(got, f); return true })
		for f := range model {
			if f.Matches(topic.Name(name)) {
				want = append(want, f)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: tree %q, walk %q", name, got, want)
		}
	})
}

func BenchmarkTreeMatch(b *testing.B) {
	var tree topic.Tree[int]
	for _, f := range []string{"#", "a/#", "a/+/c", "a/b/#", "x/y/z"} {
		tree.Set(topic.Filter(f), 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		sum := 0
		tree.Match("a/b/c", func(v int) bool { sum += v; return true })
		if sum != 4 {
			b.Fatal(sum)
		}
	}
}
