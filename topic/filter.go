package topic

import "strings"

// Filter is a pattern that matches names. A filter without wildcards matches
// exactly the name it spells.
type Filter string

// ParseFilter checks s and returns it as a Filter.
func ParseFilter(s string) (Filter, error) {
	if err := checkText(s); err != nil {
		return "", err
	}
	for rest := s; ; {
		level, tail, more := strings.Cut(rest, "/")
		switch {
		case len(level) > 1 && strings.IndexByte(level, '#') >= 0, level == "#" && more:
			return "", ErrHash
		case len(level) > 1 && strings.IndexByte(level, '+') >= 0:
			return "", ErrPlus
		}
		if !more {
			return Filter(s), nil
		}
		rest = tail
	}
}

// Wildcard reports whether f can match more than one name.
func (f Filter) Wildcard() bool { return strings.ContainsAny(string(f), "+#") }

// Matches reports whether name is one of those that f stands for.
func (f Filter) Matches(name Name) bool { return f.Covers(Filter(name)) }

// Covers reports whether every name that g matches is matched by f too. It is
// how a permission on a pattern is held against a subscription to a pattern.
func (f Filter) Covers(g Filter) bool {
	fs, gs := string(f), string(g)
	if strings.HasPrefix(gs, "$") && !strings.HasPrefix(fs, "$") {
		return false
	}
	for {
		fl, frest, fmore := strings.Cut(fs, "/")
		gl, grest, gmore := strings.Cut(gs, "/")
		switch {
		case fl == "#":
			return true
		case gl == "#", fl != "+" && fl != gl:
			return false
		case !gmore:
			return !fmore || frest == "#"
		case !fmore:
			return false
		}
		fs, gs = frest, grest
	}
}
