package arch

import (
	"go/ast"
	"go/token"
)

// changes finds statements that change a package-level variable, of this package or another.
func (s *scope) changes(f *File) []Violation {
	var found []Violation
	report := func(e ast.Expr, how string) {
		if name := s.target(f, e); name != "" {
			found = append(found, Violation{lawState, s.tree.at(e), how + " " + name, whyState})
		}
	}
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, left := range n.Lhs {
					report(left, "assigns to")
				}
			}
		case *ast.IncDecStmt:
			report(n.X, "counts in")
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				report(n.Key, "assigns to")
				report(n.Value, "assigns to")
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				if _, literal := n.X.(*ast.CompositeLit); !literal {
					report(n.X, "takes the address of")
				}
			}
		case *ast.CallExpr:
			if fun, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (fun.Name == "delete" || fun.Name == "clear" || fun.Name == "copy") {
				report(n.Args[0], fun.Name+"s in")
			}
		}
		return true
	})
	return found
}

// target names the package-level variable that a left-hand side belongs to: x for x, x[i], x.f and *x;
// pkg.X for a variable of another package. Empty when it is local.
func (s *scope) target(f *File, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		if e.Name == "_" || excused(s.pkg.Dir, e.Name) || !s.vars[e.Name] {
			return ""
		}
		// An unresolved name is declared in another file of the package; a resolved one is the
		// package's if the file's own scope has it, else a local of the same name.
		if e.Obj == nil || f.Syntax.Scope.Lookup(e.Name) == e.Obj {
			return e.Name
		}
		return ""
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && x.Obj == nil && imported(f, x.Name) {
			return x.Name + "." + e.Sel.Name
		}
		return s.target(f, e.X)
	case *ast.IndexExpr:
		return s.target(f, e.X)
	case *ast.StarExpr:
		return s.target(f, e.X)
	case *ast.ParenExpr:
		return s.target(f, e.X)
	}
	return ""
}

func imported(f *File, name string) bool {
	for _, spec := range f.Syntax.Imports {
		if spec.Name != nil && spec.Name.Name == name || spec.Name == nil && lastElement(importPath(spec)) == name {
			return true
		}
	}
	return false
}
