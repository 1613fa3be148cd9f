package protocol

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a payload, and so the stack of the scanner.
const maxDepth = 128

// scanner reads JSON text (RFC 8259) from memory in one pass. The first
// mistake is kept in err and everything after it reads as zero, so that
// callers check once.
type scanner struct {
	b     []byte
	i     int
	depth int
	err   error
}

func validJSON(b []byte) bool {
	s := scanner{b: b}
	s.skip()
	s.end()
	return s.err == nil
}

func (s *scanner) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format+" at byte %d", append(args, s.i)...)
	}
}

func (s *scanner) end() {
	if s.space(); s.err == nil && s.i < len(s.b) {
		s.failf("unexpected text after the value")
	}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next value, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.err != nil || s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// object calls field for every key, which must read its value.
func (s *scanner) object(field func(key string)) {
	if !s.open('{', "an object") {
		return
	}
	if !s.take('}') {
		for s.err == nil {
			key := s.string()
			if !s.take(':') {
				s.failf("expected ':'")
			}
			if s.err != nil {
				return
			}
			field(key)
			if s.take('}') {
				break
			}
			if !s.take(',') {
				s.failf("expected ',' or '}'")
			}
		}
	}
	s.depth--
}

// array calls item before every element, which it must read.
func (s *scanner) array(item func()) {
	if !s.open('[', "an array") {
		return
	}
	if !s.take(']') {
		for s.err == nil {
			item()
			if s.take(']') {
				break
			}
			if !s.take(',') {
				s.failf("expected ',' or ']'")
			}
		}
	}
	s.depth--
}

func (s *scanner) open(c byte, what string) bool {
	if !s.take(c) {
		s.failf("expected %s", what)
		return false
	}
	if s.depth++; s.depth > maxDepth {
		s.failf("nested deeper than %d levels", maxDepth)
		return false
	}
	return true
}

// skip reads any one value.
func (s *scanner) skip() {
	switch c := s.peek(); {
	case c == '{':
		s.object(func(string) { s.skip() })
	case c == '[':
		s.array(s.skip)
	case c == '"':
		s.text()
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	default:
		s.failf("expected a value")
	}
}

func (s *scanner) word(w string) {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.failf("expected a value")
		return
	}
	s.i += len(w)
}

// null reads a null, if one is next. A null field means an absent one.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.word("null")
	return true
}

// text reads a string and returns what stands between its quotes.
func (s *scanner) text() (raw []byte, escaped bool) {
	if !s.take('"') {
		s.failf("expected a string")
		return nil, false
	}
	start, ascii := s.i, true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			raw = s.b[start:s.i]
			if !ascii && !utf8.Valid(raw) {
				s.failf("text is not valid UTF-8")
			}
			s.i++
			return raw, escaped
		case c == '\\':
			escaped = true
			if !s.escape() {
				s.failf("bad escape in a string")
				return nil, false
			}
		case c < ' ':
			s.failf("control character in a string")
			return nil, false
		default:
			ascii = ascii && c < utf8.RuneSelf
			s.i++
		}
	}
	s.failf("string without an end")
	return nil, false
}

func (s *scanner) escape() bool {
	if s.i+1 >= len(s.b) {
		return false
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return true
	case 'u':
		if s.i+6 > len(s.b) {
			return false
		}
		if _, err := strconv.ParseUint(string(s.b[s.i+2:s.i+6]), 16, 16); err != nil {
			return false
		}
		s.i += 6
		return true
	}
	return false
}

func (s *scanner) string() string {
	raw, escaped := s.text()
	if !escaped || s.err != nil {
		return string(raw)
	}
	var out string
	if err := json.Unmarshal(s.b[s.i-len(raw)-2:s.i], &out); err != nil {
		s.failf("bad string: %v", err)
	}
	return out
}

// number reads a number and returns its text (RFC 8259 §6).
func (s *scanner) number() []byte {
	start := s.i
	digits := func() bool {
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		return s.i > from
	}
	next := func(set string) bool {
		if s.i < len(s.b) {
			for k := range len(set) {
				if s.b[s.i] == set[k] {
					s.i++
					return true
				}
			}
		}
		return false
	}
	next("-")
	ok := next("0") || digits()
	if ok && next(".") {
		ok = digits()
	}
	if ok && next("eE") {
		next("+-")
		ok = digits()
	}
	if !ok {
		s.failf("bad number")
	}
	return s.b[start:s.i]
}

// uint reads a whole number of at most bits bits, given as a number or, as
// proto3 JSON allows, as a string.
func (s *scanner) uint(bits int) uint64 {
	var raw []byte
	switch c := s.peek(); {
	case c == '"':
		raw, _ = s.text()
	case c >= '0' && c <= '9':
		raw = s.number()
	default:
		s.failf("expected a whole number, not negative")
		return 0
	}
	n, err := strconv.ParseUint(string(raw), 10, bits)
	if err != nil {
		s.failf("expected a whole number of at most %d bits", bits)
	}
	return n
}

func (s *scanner) int64() int64 {
	var raw []byte
	if s.peek() == '"' {
		raw, _ = s.text()
	} else {
		raw = s.number()
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		s.failf("expected a whole number")
	}
	return n
}

func (s *scanner) bool() bool {
	if s.peek() == 't' {
		s.word("true")
		return true
	}
	if s.peek() != 'f' {
		s.failf("expected true or false")
		return false
	}
	s.word("false")
	return false
}

// raw reads any one value and returns a copy of its text.
func (s *scanner) raw() []byte {
	s.space()
	start := s.i
	s.skip()
	if s.err != nil {
		return nil
	}
	return append([]byte(nil), s.b[start:s.i]...)
}

// bytes reads base64 text, standard or URL alphabet, padded or not.
func (s *scanner) bytes() []byte {
	raw, _ := s.text()
	std := make([]byte, 0, len(raw))
	for _, c := range raw {
		switch c {
		case '-':
			c = '+'
		case '_':
			c = '/'
		case '=':
			continue
		}
		std = append(std, c)
	}
	out, err := base64.RawStdEncoding.AppendDecode(nil, std)
	if err != nil {
		s.failf("expected base64 text")
	}
	return out
}

func (s *scanner) strings() map[string]string {
	m := make(map[string]string)
	s.object(func(key string) { m[key] = s.string() })
	return m
}
