package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// trueMap draws the map that the laws ask for, with the folders given marked as here.
func trueMap(here ...string) string {
	var b strings.Builder
	b.WriteString("| floor | knows | today |\n|---|---|---|\n")
	for _, f := range append(House(), Yard()...) {
		state := "to come"
		if slices.Contains(here, f.Dirs[0]) {
			state = "here"
		}
		fmt.Fprintf(&b, "| `%s` | something | %s |\n", strings.Join(f.Dirs, "` `"), state)
	}
	return b.String()
}

func TestMapCanFail(t *testing.T) {
	t.Parallel()
	tree := source(t, map[string]string{"topic/a.go": "package topic"})
	good := trueMap("topic")
	expect(t, Map(tree, good))

	expect(t, Map(tree, trueMap()), `topic: exists; mark it "here"`)
	expect(t, Map(tree, trueMap("topic", "message")), "message: does not exist")
	expect(t, Map(tree, strings.Replace(good, "| here |", "| half |", 1)), `topic is "half"`)
	expect(t, Map(tree, good[:strings.LastIndex(good, "| `scripts`")]), "the map lacks scripts")

	half := source(t, map[string]string{"topic/a.go": "package topic", "hub/a.go": "package hub"})
	lone := strings.Replace(trueMap("topic", "hub"), "`hub` `presence` | something | here |", "`hub` `presence` | something | here, without presence |", 1)
	expect(t, Map(half, lone))
	expect(t, Map(half, strings.Replace(lone, "without presence", "without hub", 1)), "hub: exists", "presence: does not exist")

	swapped := strings.NewReplacer("`message`", "`topic`", "`topic`", "`message`").Replace(good)
	expect(t, Map(tree, swapped), "the map has topic where the laws have message")

	stray := source(t, map[string]string{"topic/a.go": "package topic", "attic/a.go": "package attic"})
	expect(t, Map(stray, good), "attic: is not on the map")

	room := source(t, map[string]string{"transport/sse/a.go": "package sse"})
	expect(t, Map(room, trueMap("transport")), "transport/sse: is not on the map")
	withRoom := strings.Replace(trueMap("transport"), "| `session`", "| `transport/sse` | x | here |\n| `session`", 1)
	expect(t, Map(room, withRoom))
}

func TestTwinsCanFail(t *testing.T) {
	t.Parallel()
	const english = "# Parley\nText.\n## Start\n```sh\nmake run\n```\n## End\n"
	const chinese = "# Parley\n文字。\n## 开始\n```sh\nmake run\n```\n## 结束\n"
	expect(t, Twins("a", english, "b", chinese))
	expect(t, Twins("a", english, "b", strings.Replace(chinese, "make run", "make all", 1)), "part 3 differs")
	expect(t, Twins("a", english, "b", strings.Replace(chinese, "## 结束\n", "", 1)), "part 4 differs")
	expect(t, Twins("a", english, "b", strings.Replace(chinese, "## 结束", "### 结束", 1)), "part 4 differs")
}

func TestShownCanFail(t *testing.T) {
	t.Parallel()
	const file = "package main\n\nfunc main() {}\n"
	expect(t, Shown("a", "x\n```go\n"+file+"```\n", "go", "main.go", file))
	expect(t, Shown("a", "x\n```go\n// old\n"+file+"```\n", "go", "main.go", file), "no block that equals main.go")
}

func TestShow(t *testing.T) {
	t.Parallel()
	const page = "x\n```sh\nls\n```\n```go\nold\n```\ny\n"
	shown := Show(page, "go", "new\n")
	if want := strings.Replace(page, "old", "new", 1); shown != want {
		t.Errorf("got %q, want %q", shown, want)
	}
	if got := Show(page, "html", "new"); got != page {
		t.Errorf("a page without such a block became %q", got)
	}
}

func TestLinksCanFail(t *testing.T) {
	t.Parallel()
	src := fstest.MapFS{"docs/a.md": {}, "LICENSE": {}}
	expect(t, Links(src, "docs/b.md", "[a](a.md#x) [l](../LICENSE) [w](https://example.com) [h](#here)"))
	expect(t, Links(src, "docs/b.md", "[gone](c.md)"), "links to c.md")
}

func TestBurdensCanFail(t *testing.T) {
	t.Parallel()
	expect(t, Burdens([]Dependency{{"github.com/gin-gonic/gin", "github.com/gin-gonic/gin"}, {"database/sql/driver", ""}}))
	expect(t, Burdens([]Dependency{{"database/sql", ""}}), "database/sql: comes along")
	expect(t, Burdens([]Dependency{{"github.com/nats-io/nats.go/jetstream", "github.com/nats-io/nats.go"}}), "jetstream: comes along")
}

func TestModules(t *testing.T) {
	t.Parallel()
	got := Modules([]Dependency{{"z/a", "z"}, {"fmt", ""}, {"m/hub", "m"}, {"a", "a"}, {"z/b", "z"}}, "m")
	if want := []string{"a", "z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPromisesCanFail(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"a/b_test.go": {Data: []byte("func TestIt(t *testing.T) {}")}}
	doc := "<!-- promises: checked -->\n| promise | setting | test |\n|---|---|---|\n| it holds | – | [TestIt](../a/b_test.go) |\n"
	expect(t, Promises(root, doc))
	expect(t, Promises(root, "no table"), "the table of promises is gone")
	expect(t, Promises(root, doc+"| it holds, too | – | nothing |\n"), "no test for: | it holds, too")
	expect(t, Promises(root, strings.Replace(doc, "TestIt]", "TestHer]", 1)), "there is no TestHer in a/b_test.go")
	expect(t, Promises(root, strings.Replace(doc, "a/b", "a/c", 1)), "there is no TestIt in a/c_test.go")
	expect(t, Promises(root, "<!-- promises: checked -->\n## Next\n"), "the table of promises is empty")
}
