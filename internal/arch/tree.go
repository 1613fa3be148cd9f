package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Tree is the parsed source of one module. Every .go file is in it, whatever its build
// constraints, because a law holds on every system.
type Tree struct {
	Module   string // module path from go.mod
	Packages []*Package
	Dirs     []string // every folder of the project that holds a file somewhere below it, slash-separated
	fset     *token.FileSet
}

// A Package is the Go files of one folder, those of its tests included.
type Package struct {
	Dir   string // relative to the module, "." for the root
	Files []*File
}

// A File is one parsed Go file.
type File struct {
	Path      string // relative to the module
	Syntax    *ast.File
	Lines     int
	Test      bool // name ends in _test.go
	External  bool // a test in a package of its own (package x_test)
	Generated bool
}

// Load parses the module whose go.mod lies at the top of src. Folders that are no part of the
// project are left out: hidden ones, testdata, installed npm packages, what building and running
// leave behind, and modules of their own.
func Load(src fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	manifest, err := fs.ReadFile(src, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("reading the module's name: %w", err)
	}
	t.Module = moduleName(manifest)
	if t.Module == "" {
		return nil, fmt.Errorf("go.mod names no module")
	}
	err = fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if foreign(src, name) {
				return fs.SkipDir
			}
			return nil
		}
		t.addDirs(path.Dir(name))
		if path.Ext(name) != ".go" {
			return nil
		}
		return t.add(src, name)
	})
	return t, err
}

// addDirs remembers a folder that holds a file, and those above it. Empty folders are left by editors
// and branches; git does not carry them, so they are not there.
func (t *Tree) addDirs(dir string) {
	for !slices.Contains(t.Dirs, dir) {
		t.Dirs = append(t.Dirs, dir)
		dir = path.Dir(dir)
	}
}

func moduleName(manifest []byte) string {
	for line := range strings.Lines(string(manifest)) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "module "); found {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func foreign(src fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	switch base {
	case "testdata", "node_modules":
		return true
	}
	switch dir { // written by make and by the server, see .gitignore
	case "bin", "data", "out":
		return true
	}
	_, err := fs.Stat(src, path.Join(dir, "go.mod"))
	return err == nil
}

func (t *Tree) add(src fs.FS, name string) error {
	text, err := fs.ReadFile(src, name)
	if err != nil {
		return fmt.Errorf("reading source: %w", err)
	}
	// Identifiers are resolved within the file: the law about package state needs to know
	// which names are local.
	syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parsing source: %w", err)
	}
	dir := path.Dir(name)
	i := slices.IndexFunc(t.Packages, func(p *Package) bool { return p.Dir == dir })
	if i < 0 {
		i = len(t.Packages)
		t.Packages = append(t.Packages, &Package{Dir: dir})
	}
	test := strings.HasSuffix(name, "_test.go")
	t.Packages[i].Files = append(t.Packages[i].Files, &File{
		Path:      name,
		Syntax:    syntax,
		Lines:     bytes.Count(text, []byte("\n")),
		Test:      test,
		External:  test && strings.HasSuffix(syntax.Name.Name, "_test"),
		Generated: ast.IsGenerated(syntax),
	})
	return nil
}

// at gives the place of a node as file:line.
func (t *Tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// lines counts the lines from the first of a node to its last.
func (t *Tree) lines(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}

// files calls f for every file that a person wrote.
func (t *Tree) files(f func(*Package, *File)) {
	for _, p := range t.Packages {
		for _, file := range p.Files {
			if !file.Generated {
				f(p, file)
			}
		}
	}
}

// local turns an import path into a folder of this module.
func (t *Tree) local(importPath string) (dir string, ok bool) {
	if importPath == t.Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, t.Module+"/")
}

func importPath(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil { // cannot happen in a file that was parsed
		return spec.Path.Value
	}
	return name
}

// under tells whether dir is folder or lies in it.
func under(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}
