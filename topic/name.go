// Package topic holds the grammar of topic names and filters, and a tree that
// finds the filters matching a name.
//
// A name is levels separated by '/', as in "room/42/typing". A filter is a
// name in which '+' stands for exactly one level and a final '#' for any
// number of levels, including none (MQTT 5 §4.7).
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLength is the most bytes a name or filter may have.
const MaxLength = 512

// Errors that a name or filter can have. Each is wrapped with the detail of
// the case; match them with errors.Is.
var (
	ErrEmpty    = errors.New("topic is empty: give it a name such as room/1")
	ErrTooLong  = errors.New("topic is too long")
	ErrUTF8     = errors.New("topic is not valid UTF-8 text")
	ErrNUL      = errors.New("topic holds a NUL byte")
	ErrWildcard = errors.New("topic holds a wildcard: publish to one topic, without + and #")
	ErrPlus     = errors.New("'+' must stand alone in its level, as in room/+/typing")
	ErrHash     = errors.New("'#' must stand alone in the last level, as in room/#")
)

// Name is a topic that a message can be published to. The zero value is not a
// valid name; use ParseName.
type Name string

// ParseName checks s and returns it as a Name.
func ParseName(s string) (Name, error) {
	if err := checkText(s); err != nil {
		return "", err
	}
	if strings.ContainsAny(s, "+#") {
		return "", ErrWildcard
	}
	return Name(s), nil
}

// System reports whether the name belongs to the server ("$…"), which no
// wildcard in the first level matches (MQTT 5 §4.7.2).
func (n Name) System() bool { return strings.HasPrefix(string(n), "$") }

func checkText(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxLength:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(s), MaxLength)
	case strings.IndexByte(s, 0) >= 0:
		return ErrNUL
	case !utf8.ValidString(s):
		return ErrUTF8
	}
	return nil
}
