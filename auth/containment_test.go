package auth_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/topic"
)

// Whoever is let into a filter is let into everything the filter matches: no
// combination of wildcards is a way around the rules.
func TestAFilterIsNoWayAroundTheRules(t *testing.T) {
	t.Parallel()
	level := rapid.SampledFrom([]string{"a", "b", "ann", "$x", "+"})
	filter := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(level, 1, 3).Draw(t, "levels")
		if rapid.Bool().Draw(t, "open") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
	pattern := rapid.Custom(func(t *rapid.T) string {
		return strings.ReplaceAll(filter.Draw(t, "pattern"), "ann", rapid.SampledFrom([]string{"ann", "{user}"}).Draw(t, "mark"))
	})
	names := everyName()
	rapid.Check(t, func(t *rapid.T) {
		var list []auth.Rule
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			list = append(list, auth.Rule{Actions: []auth.Action{auth.ActionSubscribe}, Pattern: pattern.Draw(t, "rule")})
		}
		rs, err := auth.NewRules(list...)
		if err != nil {
			t.Skip(err)
		}
		asked := filter.Draw(t, "asked")
		if rs.Authorize(t.Context(), ann, auth.ActionSubscribe, asked) != nil {
			return
		}
		for _, name := range names {
			if !topic.Filter(asked).Matches(topic.Name(name)) {
				continue
			}
			if err := rs.Authorize(t.Context(), ann, auth.ActionSubscribe, name); err != nil {
				t.Fatalf("%v lets ann into %s, which matches %s, where she may not be: %v", list, asked, name, err)
			}
		}
	})
}

// everyName lists the names of up to four levels over a small alphabet.
func everyName() []string {
	alphabet := []string{"a", "b", "ann", "$x"}
	all, last := []string{}, []string{""}
	for range 4 {
		var next []string
		for _, prefix := range last {
			for _, l := range alphabet {
				next = append(next, strings.TrimPrefix(prefix+"/"+l, "/"))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}
