// Package arch holds the laws of the house: which package may import which, who may use which
// third-party module, how long files and functions may grow, and that no package keeps state
// of its own. The laws are ordinary functions over parsed source, applied to this repository by
// the package's test and shown there, one by one, to be able to fail.
//
// The map these laws enforce is drawn for people in docs/architecture.md, and a law compares the two.
package arch

import "fmt"

// A Violation is one place that breaks one law, with the reason the law exists, so that
// whoever meets it in a failing test need not look anything up.
type Violation struct {
	Law   string // short name of the law
	Where string // file:line, folder, or package
	What  string // what is wrong there and what to do about it
	Why   string // what the law protects
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s\n\tlaw: %s. %s", v.Where, v.What, v.Law, v.Why)
}
