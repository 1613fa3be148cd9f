package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// Budgets for what a person can hold in the head at once. Past the soft ones the test says so,
// past the hard ones it fails.
const (
	softFile, hardFile         = 400, 600
	softFunction, hardFunction = 45, 90
	packageLines, packageFiles = 2500, 12
	interfaceMethods           = 7
	mainLines                  = 60
)

const whySmall = "What does not fit on a few screens is not read before it is changed. Split it by what its parts know."

// Sizes checks files, functions and packages against the hard budgets. Tests count as files and
// functions but not towards their package: more tests must never be a reason to split one.
func Sizes(t *Tree) []Violation {
	found := t.measure(hardFile, hardFunction)
	for _, p := range t.Packages {
		lines, files := 0, 0
		for _, f := range p.Files {
			if !f.Test && !f.Generated {
				lines += f.Lines
				files++
			}
		}
		if lines > packageLines || files > packageFiles {
			found = append(found, Violation{
				"packages stay small", p.Dir,
				fmt.Sprintf("%d lines in %d files, allowed are %d in %d", lines, files, packageLines, packageFiles),
				"A package is the unit the compiler guards and a person learns. Move a part that has a name of its own.",
			})
		}
	}
	return found
}

// SoftSizes lists what is past the soft budgets: worth a look, no failure.
func SoftSizes(t *Tree) []Violation { return t.measure(softFile, softFunction) }

func (t *Tree) measure(file, function int) []Violation {
	var found []Violation
	t.files(func(p *Package, f *File) {
		limit := file
		if p.Dir == "cmd/parley" && path.Base(f.Path) == "main.go" {
			limit = mainLines
		}
		if f.Lines > limit {
			found = append(found, Violation{"files stay small", f.Path, fmt.Sprintf("%d lines, allowed are %d", f.Lines, limit), whySmall})
		}
		for _, d := range f.Syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := t.lines(fn); n > function {
				found = append(found, Violation{
					"functions stay small", t.at(fn),
					fmt.Sprintf("%s has %d lines, allowed are %d", fn.Name.Name, n, function), whySmall,
				})
			}
		}
	})
	return found
}

// Names checks that no folder is named after having no name, and that engines are called
// technology + contract.
func Names(t *Tree) []Violation {
	var found []Violation
	for _, dir := range t.Dirs {
		switch base := path.Base(dir); base {
		case "util", "utils", "common", "helper", "helpers", "pkg", "misc", "shared", "lib", "base":
			found = append(found, Violation{
				"a folder says what it knows", dir, fmt.Sprintf("%q says nothing", base),
				"Such folders collect what nobody found a place for, and then everything depends on them.",
			})
		default:
			parent := path.Dir(dir)
			if (parent == "broker" || parent == "store") && base != parent+"test" && !strings.HasSuffix(base, parent) {
				found = append(found, Violation{
					"engines are named technology + contract", dir, fmt.Sprintf("call it %s%s", base, parent),
					"natsbroker.New reads the same wherever it stands and never collides with the vendor's own package.",
				})
			}
		}
	}
	return found
}

// Interfaces checks that no interface has more than seven methods, those of embedded interfaces of this
// module counted. An embedded interface from elsewhere counts as one: its size is not ours to choose.
func Interfaces(t *Tree) []Violation {
	declared := map[string]*ast.InterfaceType{} // by folder + "." + name
	t.files(func(p *Package, f *File) {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if i, ok := spec.Type.(*ast.InterfaceType); ok {
					declared[p.Dir+"."+spec.Name.Name] = i
				}
			}
			return true
		})
	})
	var found []Violation
	t.files(func(p *Package, f *File) {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			i, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			if m := t.methods(p.Dir, f, i, declared, nil); m > interfaceMethods {
				found = append(found, Violation{
					"interfaces stay small", t.at(i), fmt.Sprintf("%d methods, allowed are %d", m, interfaceMethods),
					"A wide contract has few fulfillers and no honest fake. Put what is extra into a second, optional interface.",
				})
			}
			return true
		})
	})
	return found
}

func (t *Tree) methods(dir string, f *File, i *ast.InterfaceType, declared map[string]*ast.InterfaceType, seen []string) int {
	total := 0
	for _, field := range i.Methods.List {
		if len(field.Names) > 0 {
			total += len(field.Names)
			continue
		}
		var home, name string
		switch e := field.Type.(type) {
		case *ast.Ident:
			home, name = dir, e.Name
		case *ast.SelectorExpr:
			home, name = t.folderOf(f, e), e.Sel.Name
		default: // a constraint's union of types has no methods
			continue
		}
		key := home + "." + name
		if inner := declared[key]; inner != nil && !slices.Contains(seen, key) {
			total += t.methods(home, f, inner, declared, append(seen, key))
		} else {
			total++
		}
	}
	return total
}

// folderOf resolves the package of a selector to a folder of this module, or to nothing.
func (t *Tree) folderOf(f *File, e *ast.SelectorExpr) string {
	pkg, ok := e.X.(*ast.Ident)
	if !ok {
		return "?"
	}
	for _, spec := range f.Syntax.Imports {
		dir, own := t.local(importPath(spec))
		if own && (spec.Name != nil && spec.Name.Name == pkg.Name || spec.Name == nil && path.Base(dir) == pkg.Name) {
			return dir
		}
	}
	return "?"
}
