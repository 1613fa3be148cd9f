package topic

import "strings"

// Tree maps filters to values and finds those whose filter matches a name, in
// time that depends on the levels of the name and not on the number of
// filters. The zero Tree is empty and ready. It is not safe for concurrent
// use while it is being changed.
type Tree[V any] struct {
	root node[V]
	size int
}

type node[V any] struct {
	children map[string]*node[V]
	set      bool
	value    V
}

// Len returns the number of filters in the tree.
func (t *Tree[V]) Len() int { return t.size }

// Set stores v under f, replacing what was there.
func (t *Tree[V]) Set(f Filter, v V) {
	n := &t.root
	for rest, more := string(f), true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		child := n.children[level]
		if child == nil {
			if n.children == nil {
				n.children = make(map[string]*node[V])
			}
			child = &node[V]{}
			n.children[level] = child
		}
		n = child
	}
	if !n.set {
		t.size++
	}
	n.set, n.value = true, v
}

// Get returns the value stored under exactly f.
func (t *Tree[V]) Get(f Filter) (V, bool) {
	n := &t.root
	for rest, more := string(f), true; more && n != nil; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		n = n.children[level]
	}
	if n == nil || !n.set {
		var zero V
		return zero, false
	}
	return n.value, true
}

// Delete removes f and the branches that only led to it.
func (t *Tree[V]) Delete(f Filter) {
	if t.root.remove(string(f)) {
		t.size--
	}
}

func (n *node[V]) remove(path string) bool {
	level, rest, more := strings.Cut(path, "/")
	child := n.children[level]
	if child == nil {
		return false
	}
	found := child.set
	if more {
		found = child.remove(rest)
	} else {
		var zero V
		child.set, child.value = false, zero
	}
	if !child.set && len(child.children) == 0 {
		delete(n.children, level)
	}
	return found
}

// Match calls yield with every value whose filter matches name, the most
// specific filter first (a literal level before '+', '+' before '#'), until
// yield returns false. It allocates nothing.
func (t *Tree[V]) Match(name Name, yield func(V) bool) {
	t.root.match(string(name), true, name.System(), yield)
}

// Best returns the value of the most specific filter that matches name.
func (t *Tree[V]) Best(name Name) (best V, ok bool) {
	t.Match(name, func(v V) bool {
		best, ok = v, true
		return false
	})
	return best, ok
}

// match walks n with what is left of the name; system forbids wildcards on
// this level (the first of a "$…" name). It reports whether to go on.
func (n *node[V]) match(path string, more, system bool, yield func(V) bool) bool {
	if len(n.children) == 0 && !n.set {
		return true
	}
	if !more {
		if n.set && !yield(n.value) {
			return false
		}
		return n.hash(yield)
	}
	level, rest, tail := strings.Cut(path, "/")
	if child := n.children[level]; child != nil && level != "+" && level != "#" {
		if !child.match(rest, tail, false, yield) {
			return false
		}
	}
	if system {
		return true
	}
	if child := n.children["+"]; child != nil && !child.match(rest, tail, false, yield) {
		return false
	}
	return n.hash(yield)
}

func (n *node[V]) hash(yield func(V) bool) bool {
	child := n.children["#"]
	return child == nil || !child.set || yield(child.value)
}

// All calls yield with every filter and its value, in no order, until yield
// returns false.
func (t *Tree[V]) All(yield func(Filter, V) bool) { t.root.all("", yield) }

func (n *node[V]) all(prefix string, yield func(Filter, V) bool) bool {
	for level, child := range n.children {
		path := level
		if prefix != "" {
			path = prefix + "/" + level
		}
		if child.set && !yield(Filter(path), child.value) {
			return false
		}
		if !child.all(path, yield) {
			return false
		}
	}
	return true
}
