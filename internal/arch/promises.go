package arch

import (
	"io/fs"
	"regexp"
	"strings"
)

const (
	lawPromise = "a promise has a test"
	whyPromise = "docs/delivery.md is what people build on. A promise without a test that would fail is a hope."
)

// promised matches a test that docs/delivery.md names.
var promised = regexp.MustCompile(`\[(Test\w+)\]\(\.\./([^)]+)\)`)

// Promises checks that each line of the table of promises in docs/delivery.md
// names tests, and that they exist where it says.
func Promises(root fs.FS, doc string) []Violation {
	const where = "docs/delivery.md"
	var found []Violation
	say := func(what string) { found = append(found, Violation{lawPromise, where, what, whyPromise}) }
	_, table, ok := strings.Cut(doc, "<!-- promises:")
	if !ok {
		say("the table of promises is gone")
		return found
	}
	lines := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			break
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise ") {
			continue
		}
		lines++
		tests := promised.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			say("no test for: " + strings.TrimSpace(line))
		}
		for _, m := range tests {
			text, err := fs.ReadFile(root, m[2])
			if err != nil || !strings.Contains(string(text), "func "+m[1]+"(") {
				say("there is no " + m[1] + " in " + m[2])
			}
		}
	}
	if lines == 0 {
		say("the table of promises is empty")
	}
	return found
}
