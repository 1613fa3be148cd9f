package arch

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/root-deps.txt and the examples in the READMEs anew")

// house is this repository.
func house(t *testing.T) (fs.FS, *Tree) {
	t.Helper()
	root := os.DirFS(filepath.Join("..", ".."))
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, tree
}

func obey(t *testing.T, found []Violation) {
	t.Helper()
	for _, v := range found {
		t.Error(v)
	}
}

func TestLaws(t *testing.T) {
	t.Parallel()
	_, tree := house(t)
	for _, law := range []struct {
		name  string
		check func(*Tree) []Violation
	}{
		{"Imports", Imports},
		{"VendorImports", VendorImports},
		{"Sizes", Sizes},
		{"Names", Names},
		{"Interfaces", Interfaces},
		{"Habits", Habits},
		{"Leaks", Leaks},
		{"State", State},
	} {
		t.Run(law.name, func(t *testing.T) {
			t.Parallel()
			obey(t, law.check(tree))
		})
	}
}

func TestSoftBudgets(t *testing.T) {
	t.Parallel()
	_, tree := house(t)
	for _, v := range SoftSizes(tree) {
		t.Logf("%s: %s", v.Where, v.What)
	}
}

func TestRootDependencies(t *testing.T) {
	t.Parallel()
	_, tree := house(t)
	if !slices.ContainsFunc(tree.Packages, func(p *Package) bool {
		return p.Dir == "." && slices.ContainsFunc(p.Files, func(f *File) bool { return !f.Test })
	}) {
		t.Skip("the root package does not exist yet")
	}
	deps, err := Dependencies(t.Context(), filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	obey(t, Burdens(deps))

	golden := filepath.Join("testdata", "root-deps.txt")
	got := strings.Join(Modules(deps, tree.Module), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the modules that come along with the public API changed.\ngot:\n%swant:\n%s"+
			"If that is meant, say why in the commit and run: go test ./internal/arch -run RootDependencies -update", got, want)
	}
}

func mustRead(t *testing.T, src fs.FS, name string) string {
	t.Helper()
	b, err := fs.ReadFile(src, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMap(t *testing.T) {
	t.Parallel()
	root, tree := house(t)
	obey(t, Map(tree, mustRead(t, root, "docs/architecture.md")))
}

func TestPromises(t *testing.T) {
	t.Parallel()
	root, _ := house(t)
	obey(t, Promises(root, mustRead(t, root, "docs/delivery.md")))
}

// examples are the source files that the READMEs show, by the language of their block.
var examples = map[string]string{
	"go":   "examples/gin-chat/main.go",
	"html": "examples/gin-chat/index.html",
}

func updateReadmes(t *testing.T, root fs.FS) {
	t.Helper()
	for _, name := range []string{"README.md", "README.zh-CN.md"} {
		page := mustRead(t, root, name)
		for language, example := range examples {
			page = Show(page, language, mustRead(t, root, example))
		}
		if err := os.WriteFile(filepath.Join("..", "..", name), []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadme(t *testing.T) {
	t.Parallel()
	root, _ := house(t)
	if *update {
		updateReadmes(t, root)
	}
	english := mustRead(t, root, "README.md")
	obey(t, Twins("README.md", english, "README.zh-CN.md", mustRead(t, root, "README.zh-CN.md")))

	for language, example := range examples {
		obey(t, Shown("README.md", english, language, example, mustRead(t, root, example)))
	}

	// The test command people are told is the one that continuous integration runs.
	const command = "make test"
	if !strings.Contains(english, "\n"+command+"\n") && !strings.Contains(english, "\n"+command+" ") {
		t.Errorf("README.md shows no %q on a line of its own", command)
	}
	if ci := mustRead(t, root, ".ci/run"); !strings.Contains(ci, "exec "+command+"\n") {
		t.Errorf(".ci/run does not run %q", command)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	root, tree := house(t)
	for _, dir := range tree.Dirs {
		pages, err := fs.Glob(root, filepath.ToSlash(filepath.Join(dir, "*.md")))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			obey(t, Links(root, page, mustRead(t, root, page)))
		}
	}
}
