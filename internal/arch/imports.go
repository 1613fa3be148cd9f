package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	lawDownward = "imports go down"
	whyDownward = "A floor that knows the one above it can be neither understood nor tested without it. " +
		"Let the lower floor own a small interface that the upper one passes in."
	whySideways = "Rooms on one floor are exchangeable because none knows another; what they share belongs to the contract below them."
)

// Imports checks that every import goes to a lower floor of the House.
//
// Tests in a package of their own (package x_test) may look anywhere: nobody can import them, so
// they tie no floor to another. Every test may use the contract suites and parleytest.
func Imports(t *Tree) []Violation {
	var found []Violation
	for _, p := range t.Packages {
		if _, _, ok := place(p.Dir); !ok {
			found = append(found, Violation{
				"everything has a place", p.Dir,
				"this package stands on no floor; give it a line in internal/arch/floors.go and in docs/architecture.md",
				"Without a place nobody can tell what it may import.",
			})
			continue
		}
		for _, f := range p.Files {
			if !f.External {
				found = append(found, t.importsOf(p, f)...)
			}
		}
	}
	return found
}

func (t *Tree) importsOf(p *Package, f *File) []Violation {
	var found []Violation
	for _, spec := range f.Syntax.Imports {
		target, ok := t.local(importPath(spec))
		if !ok || target == p.Dir || f.Test && suite(target) {
			continue
		}
		if law, what, why := judge(p.Dir, target); law != "" {
			found = append(found, Violation{law, t.at(spec), what, why})
		}
	}
	return found
}

// suite tells a package that exists for tests: brokertest, storetest, parleytest.
func suite(dir string) bool {
	base := path.Base(dir)
	return strings.HasSuffix(base, "test") && base != "test"
}

// judge gives the law that an import from one folder to another breaks, or nothing.
func judge(from, to string) (law, what, why string) {
	fromIndex, fromFloor, _ := place(from)
	toIndex, toFloor, ok := place(to)
	what = fmt.Sprintf("%s imports %s", shown(from), shown(to))
	if !ok {
		return "", "", "" // Imports reports the target itself
	}
	fromHome, toHome := fromFloor.home(from), toFloor.home(to)
	switch {
	case fromHome == toHome:
		return judgeRooms(fromFloor, fromHome, from, to, what)
	case toIndex < 0:
		return lawDownward, what, "What stands beside the house is for people and machines to run, never to import."
	case fromFloor.Only != nil && !slices.Contains(fromFloor.Only, to) && !insideOf(fromFloor.Only, to):
		return "an application is an outsider", what, fromFloor.Why
	case fromIndex < 0: // the yard stands on everything
		return "", "", ""
	case toIndex < fromIndex:
		return lawDownward, what + ", which lies above it", whyDownward
	case toIndex == fromIndex:
		return lawDownward, what + ", which lies beside it", whySideways
	}
	return "", "", ""
}

func judgeRooms(f Floor, home, from, to, what string) (law, broken, why string) {
	if !f.Rooms {
		return "", "", ""
	}
	if from == home {
		return lawDownward, what + ", one of its own rooms", "The contract must not know who fulfils it; only server names every engine."
	}
	if to != home && room(home, from) != room(home, to) {
		return lawDownward, what + ", a sibling", whySideways
	}
	return "", "", ""
}

// room is the part of dir that follows its floor: websocket for transport/websocket/frames.
func room(home, dir string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(dir, home+"/"), "/")
	return first
}

// insideOf tells whether to lies in one of the allowed folders that are open to their depths:
// web's sub-folders are pages, and protocol's are versions of one schema.
func insideOf(allowed []string, to string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return (a == "web" || a == "protocol") && under(to, a)
	})
}

func shown(dir string) string {
	if dir == "." {
		return "the public API"
	}
	return dir
}
