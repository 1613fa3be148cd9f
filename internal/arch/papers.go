package arch

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	lawMap = "the map shows the house"
	whyMap = "docs/architecture.md is what newcomers believe. It is worth reading only as long as it is true."
)

var (
	mapRow   = regexp.MustCompile("^\\| *(`[^|]*`) *\\|.*\\| *([^|]+) *\\|$")
	codeSpan = regexp.MustCompile("`([^`]+)`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^#{1,6} `)
)

// A row is one line of the map: the folders it names and whether they are said to exist.
type row struct {
	dirs  []string
	state string
}

// stateOf reads "here", "to come", and "here, without x y", which says that x and y are to come.
func (r row) stateOf(dir string) string {
	state, missing, _ := strings.Cut(r.state, ", without ")
	if slices.Contains(strings.Fields(missing), dir) {
		return "to come"
	}
	return state
}

// mapRows reads every table line that begins with folders in backquotes and ends in a state.
func mapRows(doc string) []row {
	var rows []row
	for line := range strings.Lines(doc) {
		m := mapRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		r := row{state: strings.TrimSpace(m[2])}
		for _, span := range codeSpan.FindAllStringSubmatch(m[1], -1) {
			r.dirs = append(r.dirs, span[1])
		}
		rows = append(rows, r)
	}
	return rows
}

// Map checks that the table in docs/architecture.md has the floors of the House and the Yard in
// their order, that rooms stand under their floor, that what is "here" exists and what is "to come"
// does not, and that every package and every folder at the top has a line.
func Map(t *Tree, doc string) []Violation {
	var found []Violation
	report := func(where, what string) { found = append(found, Violation{lawMap, where, what, whyMap}) }
	rows := mapRows(doc)

	floors := append(House(), Yard()...)
	next := 0
	for _, r := range rows {
		switch {
		case next < len(floors) && slices.Equal(r.dirs, floors[next].Dirs):
			next++
		case next > 0 && len(r.dirs) == 1 && floors[next-1].home(r.dirs[0]) != "":
			// a part of the floor above
		default:
			want := "nothing more"
			if next < len(floors) {
				want = strings.Join(floors[next].Dirs, " ")
			}
			report("docs/architecture.md", fmt.Sprintf("the map has %s where the laws have %s", strings.Join(r.dirs, " "), want))
			return found
		}
		for _, dir := range r.dirs {
			reportState(t, r.stateOf(dir), dir, report)
		}
	}
	if next < len(floors) {
		report("docs/architecture.md", "the map lacks "+strings.Join(floors[next].Dirs, " "))
	}
	for _, dir := range t.unmapped(rows) {
		report(dir, "is not on the map in docs/architecture.md")
	}
	return found
}

func reportState(t *Tree, state, dir string, report func(where, what string)) {
	exists := slices.Contains(t.Dirs, dir)
	if dir == "." {
		exists = slices.ContainsFunc(t.Packages, func(p *Package) bool { return p.Dir == "." })
	}
	switch {
	case state != "here" && state != "to come":
		report("docs/architecture.md", fmt.Sprintf("%s is %q; say \"here\" or \"to come\"", dir, state))
	case exists && state == "to come":
		report(dir, `exists; mark it "here" in docs/architecture.md`)
	case !exists && state == "here":
		report(dir, `does not exist, and docs/architecture.md says it is "here"`)
	}
}

// unmapped lists top folders without a line, and rooms without a line of their own.
func (t *Tree) unmapped(rows []row) []string {
	var listed []string
	for _, r := range rows {
		listed = append(listed, r.dirs...)
	}
	var lost []string
	for _, dir := range t.Dirs {
		top := dir != "." && !strings.Contains(dir, "/")
		if top && !slices.ContainsFunc(listed, func(l string) bool { return under(l, dir) }) {
			lost = append(lost, dir)
		}
	}
	for _, p := range t.Packages {
		_, floor, ok := place(p.Dir)
		if !ok {
			continue // Imports says so
		}
		if home := floor.home(p.Dir); floor.Rooms && p.Dir != home && !slices.Contains(listed, path.Join(home, room(home, p.Dir))) {
			lost = append(lost, p.Dir)
		}
	}
	return lost
}

// outline reduces a page to what two languages must share: the levels of headings, and code.
func outline(page string) []string {
	var parts []string
	code, inCode := "", false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "```"):
			if inCode {
				parts = append(parts, code)
			}
			code, inCode = line+"\n", !inCode
		case inCode:
			code += line + "\n"
		case heading.MatchString(line):
			level, _, _ := strings.Cut(line, " ")
			parts = append(parts, level)
		}
	}
	return parts
}

// Twins checks that two translations of a page have the same headings and the same code blocks.
func Twins(name, page, twinName, twin string) []Violation {
	a, b := outline(page), outline(twin)
	for i := range max(len(a), len(b)) {
		var left, right string
		if i < len(a) {
			left = a[i]
		}
		if i < len(b) {
			right = b[i]
		}
		if left != right {
			return []Violation{{
				"translations are twins", twinName,
				fmt.Sprintf("part %d differs:\n%s has %q\n%s has %q", i+1, name, left, twinName, right),
				"Whoever reads the other language gets the same commands and the same chapters, or one of them is lied to.",
			}}
		}
	}
	return nil
}

// Shown checks that a page contains a source file word for word as a code block.
func Shown(name, page, language, file, source string) []Violation {
	if strings.Contains(page, "```"+language+"\n"+strings.TrimRight(source, "\n")+"\n```") {
		return nil
	}
	return []Violation{{
		"examples that run", name, "has no block that equals " + file + "; run: go test ./internal/arch -run Readme -update",
		"People copy the example from here; the one that is compiled and tested is " + file + ".",
	}}
}

// Show puts a source file into a page, in place of its first code block of that language.
func Show(page, language, source string) string {
	fence := "```" + language + "\n"
	before, rest, found := strings.Cut(page, fence)
	_, after, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		return page
	}
	return before + fence + strings.TrimRight(source, "\n") + "\n```" + after
}

// Links checks that the links of a page to files of the project lead somewhere.
func Links(src fs.FS, name, page string) []Violation {
	var found []Violation
	for _, m := range link.FindAllStringSubmatch(page, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		if _, err := fs.Stat(src, path.Join(path.Dir(name), target)); err != nil {
			found = append(found, Violation{"links lead somewhere", name, "links to " + target + ", which is not there", "A dead link ends the tour."})
		}
	}
	return found
}

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
