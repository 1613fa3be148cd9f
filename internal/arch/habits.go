package arch

import (
	"go/ast"
)

// Habits checks for what a package may not do behind its caller's back: run code when it is merely
// imported, and wait by guessing how long something takes.
func Habits(t *Tree) []Violation {
	var found []Violation
	t.files(func(_ *Package, f *File) {
		for _, d := range f.Syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, Violation{
					"no init()", t.at(fn), "func init runs because of an import",
					"Who imports a package must see what it does. Let the caller call a function, and register by passing a value.",
				})
			}
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if e, ok := n.(*ast.SelectorExpr); ok && e.Sel.Name == "Sleep" && importedAs(f, e, "time") {
				found = append(found, Violation{
					"no time.Sleep", t.at(e), "time.Sleep",
					"A sleep is a guess: too short on a busy machine, too long on all others. Wait for the event itself " +
						"(a channel, a condition, a timer that a context can end); under testing/synctest, wait for a timer's channel.",
				})
			}
			return true
		})
	})
	return found
}

// importedAs tells whether the selector's package is the given standard library package, under
// whatever name the file imports it.
func importedAs(f *File, e *ast.SelectorExpr, pkg string) bool {
	x, ok := e.X.(*ast.Ident)
	if !ok || x.Obj != nil { // a local variable hides the import
		return false
	}
	for _, spec := range f.Syntax.Imports {
		if importPath(spec) == pkg {
			return spec.Name == nil && x.Name == pkg || spec.Name != nil && spec.Name.Name == x.Name
		}
	}
	return false
}

// Leaks checks that a package which starts goroutines has a test that counts them afterwards.
// Programs are exempt, because what they start ends with the process, and so are suites, because
// the tests of the packages that use them count.
func Leaks(t *Tree) []Violation {
	var found []Violation
	for _, p := range t.Packages {
		var start ast.Node
		counted := false
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				counted = counted || f.Test && importPath(spec) == "go.uber.org/goleak"
			}
			if !f.Test && f.Syntax.Name.Name != "main" && start == nil {
				start = starts(f)
			}
		}
		if start != nil && !counted && !suite(p.Dir) {
			found = append(found, Violation{
				"every goroutine has an owner who waits", t.at(start), p.Dir + " starts a goroutine and no test of it uses goleak",
				"A leaked goroutine costs nothing today and the server next month. goleak.VerifyTestMain(m) in TestMain shows it at once.",
			})
		}
	}
	return found
}

// starts finds the first statement of a file that starts a goroutine: go f(), or the Go method of a
// wait group or an error group.
func starts(f *File) (first ast.Node) {
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			first = n
		case *ast.CallExpr:
			if e, ok := n.Fun.(*ast.SelectorExpr); ok && e.Sel.Name == "Go" {
				first = n
			}
		}
		return first == nil
	})
	return first
}
