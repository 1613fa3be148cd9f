package topic

import (
	"errors"
	"strings"
)

// ErrShare tells that a filter begins as a shared one and is none.
var ErrShare = errors.New("a shared subscription is $share/group/filter, and the group has no '+' or '#'")

const sharePrefix = "$share/"

// ParseShare checks s and takes it apart: of $share/group/filter it returns the
// group and the filter, of every other filter an empty group and the filter
// itself (MQTT 5 §4.8.2).
func ParseShare(s string) (group string, f Filter, err error) {
	rest, shared := strings.CutPrefix(s, sharePrefix)
	if !shared {
		f, err = ParseFilter(s)
		return "", f, err
	}
	if err := checkText(s); err != nil {
		return "", "", err
	}
	group, inner, ok := strings.Cut(rest, "/")
	if !ok || group == "" || strings.ContainsAny(group, "+#") || strings.HasPrefix(inner, sharePrefix) {
		return "", "", ErrShare
	}
	f, err = ParseFilter(inner)
	return group, f, err
}
