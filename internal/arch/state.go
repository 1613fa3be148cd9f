package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

const (
	lawState = "no package-level state"
	whyState = "Two servers in one process, and two tests at once, would share it. Put it in a struct that somebody makes, owns and closes."
)

// State checks that package-level variables are constants in all but name: errors, compiled patterns,
// embedded files, tables. Such a variable is made by its declaration, is of no type that exists to
// change (locks, channels, atomics), and nothing assigns to it, into it, or takes its address.
// Nor may anybody assign to the variables of another package.
func State(t *Tree) []Violation {
	var found []Violation
	for _, p := range t.Packages {
		for _, files := range byPackageName(p.Files) {
			s := newScope(t, p, files)
			for _, f := range files {
				found = append(found, s.declarations(f)...)
				found = append(found, s.changes(f)...)
			}
		}
	}
	return found
}

// byPackageName parts a folder's files into its package and its external tests, each with the
// names of the former in sight only where the compiler has them in sight.
func byPackageName(files []*File) map[string][]*File {
	parts := map[string][]*File{}
	for _, f := range files {
		if !f.Generated {
			parts[f.Syntax.Name.Name] = append(parts[f.Syntax.Name.Name], f)
		}
	}
	return parts
}

// scope is what a package declares at its top.
type scope struct {
	tree  *Tree
	pkg   *Package
	vars  map[string]bool
	types map[string]ast.Expr
	funcs map[string]*ast.FuncDecl
}

func newScope(t *Tree, p *Package, files []*File) *scope {
	s := &scope{t, p, map[string]bool{}, map[string]ast.Expr{}, map[string]*ast.FuncDecl{}}
	for _, f := range files {
		for _, d := range f.Syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					s.funcs[d.Name.Name] = d
				}
			case *ast.GenDecl:
				s.declare(d)
			}
		}
	}
	return s
}

func (s *scope) declare(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.types[spec.Name.Name] = spec.Type
		case *ast.ValueSpec:
			if d.Tok == token.VAR {
				for _, name := range spec.Names {
					s.vars[name.Name] = true
				}
			}
		}
	}
}

// declarations judges what each variable of a file is made of.
func (s *scope) declarations(f *File) []Violation {
	var found []Violation
	for _, d := range f.Syntax.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for i, name := range v.Names {
				if name.Name == "_" || excused(s.pkg.Dir, name.Name) {
					continue
				}
				var value ast.Expr
				if i < len(v.Values) {
					value = v.Values[i]
				}
				if what := s.judge(f, name.Name, v.Type, value); what != "" {
					found = append(found, Violation{lawState, s.tree.at(name), "var " + name.Name + " " + what, whyState})
				}
			}
		}
	}
	return found
}

func (s *scope) judge(f *File, name string, typ, value ast.Expr) string {
	if s.changing(typ, nil) {
		return "is of a type that exists to change"
	}
	switch v := value.(type) {
	case *ast.CompositeLit:
		if s.changing(v.Type, nil) {
			return "is of a type that exists to change"
		}
		if _, isMap := v.Type.(*ast.MapType); isMap && len(v.Elts) == 0 {
			return "is an empty map, which is of use only to somebody who fills it"
		}
	case *ast.UnaryExpr:
		if v.Op == token.AND && !strings.HasPrefix(strings.ToLower(name), "err") {
			return "points to something that can be changed; errors excepted, keep a value"
		}
	case *ast.CallExpr:
		return s.judgeCall(f, v)
	}
	return ""
}

func (s *scope) judgeCall(f *File, call *ast.CallExpr) string {
	name := callee(call.Fun)
	if f.Test && strings.HasPrefix(name, "flag.") {
		return "" // go test parses them before a test runs
	}
	if own := s.funcs[name]; own != nil {
		if results := own.Type.Results; results != nil && len(results.List) > 0 && s.plain(results.List[0].Type) {
			return ""
		}
		return fmt.Sprintf("is made by %s, which returns more than a plain table or value", name)
	}
	if _, conversion := s.types[name]; conversion || s.conversion(call.Fun) || slices.Contains(makers(), name) {
		return ""
	}
	return fmt.Sprintf("is made by %s, which is not known to make a constant (internal/arch/allowed.go lists those that do)", name)
}

// plain tells types whose values a declaration can fill for good: basic ones, tables, functions.
func (s *scope) plain(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.MapType, *ast.ArrayType, *ast.FuncType:
		return true
	case *ast.Ident:
		if t, own := s.types[e.Name]; own {
			return !s.changing(t, nil)
		}
		return true
	}
	return false
}

func (s *scope) conversion(fun ast.Expr) bool {
	switch e := fun.(type) {
	case *ast.ArrayType, *ast.FuncType, *ast.InterfaceType:
		return true
	case *ast.ParenExpr:
		return s.conversion(e.X)
	case *ast.Ident:
		return slices.Contains([]string{"string", "int", "int64", "uint64", "uint32", "byte", "float64", "len", "min", "max"}, e.Name)
	}
	return false
}

// changing tells types whose purpose is to change: locks, atomics, channels, and structs that hold one.
func (s *scope) changing(e ast.Expr, seen []string) bool {
	switch e := e.(type) {
	case *ast.ChanType:
		return true
	case *ast.SelectorExpr:
		x, _ := e.X.(*ast.Ident)
		return x != nil && (x.Name == "sync" && e.Sel.Name != "Pool" && e.Sel.Name != "Locker" || x.Name == "atomic" || e.Sel.Name == "CancelFunc")
	case *ast.IndexExpr: // a generic type, for example atomic.Pointer[T]
		return s.changing(e.X, seen)
	case *ast.ArrayType:
		return s.changing(e.Elt, seen)
	case *ast.StructType:
		return slices.ContainsFunc(e.Fields.List, func(f *ast.Field) bool { return s.changing(f.Type, seen) })
	case *ast.Ident:
		own := s.types[e.Name]
		return own != nil && !slices.Contains(seen, e.Name) && s.changing(own, append(seen, e.Name))
	}
	return false
}

// callee writes a called function as package.Name or Name; type arguments are left out.
func callee(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return callee(e.X) + "." + e.Sel.Name
	case *ast.IndexExpr:
		return callee(e.X)
	case *ast.CallExpr:
		return callee(e.Fun) + "()"
	case *ast.ParenExpr:
		return callee(e.X)
	}
	return "a function literal"
}
