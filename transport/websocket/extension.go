package websocket

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/protocol"
)

const (
	minBits = 8 // of a window, RFC 7692 §7.1.2
	maxBits = 15
)

// deal is what was agreed on about compression. The zero deal is none.
type deal struct {
	bits   int    // of our window: 8 to 15
	answer string // Sec-WebSocket-Extensions
}

// agree takes the first offer of permessage-deflate that is valid and passes
// over all others (RFC 7692 §5.1, §7); extensions that we do not know are none
// of our business. A header that is no list of extensions fails the handshake
// (RFC 6455 §9.1).
func agree(lines []string) (deal, *protocol.Error) {
	for _, line := range lines {
		offers, ok := parseExtensions(line)
		if !ok {
			return deal{}, protocol.BadRequest.Errorf("Sec-WebSocket-Extensions: %.100q is no list of extensions", line)
		}
		for _, o := range offers {
			if o.name != "permessage-deflate" {
				continue
			}
			if d, ok := accept(o); ok {
				return d, nil
			}
		}
	}
	return deal{}, nil
}

// accept checks an offer. Neither side will keep a context: that we may decide
// for the client too (RFC 7692 §7.1.1.2). A client may limit our window, and we
// do not limit its own, for it is gone after each message.
func accept(offer extension) (d deal, ok bool) {
	d = deal{maxBits, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"}
	seen := make(map[string]bool, len(offer.params))
	for _, p := range offer.params {
		if seen[p.name] {
			return deal{}, false
		}
		seen[p.name] = true
		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.valued {
				return deal{}, false
			}
		case "server_max_window_bits":
			if d.bits, ok = windowBits(p.value); !ok {
				return deal{}, false
			}
			d.answer = fmt.Sprintf("%s; server_max_window_bits=%d", d.answer, d.bits)
		case "client_max_window_bits":
			if _, ok := windowBits(p.value); p.valued && !ok {
				return deal{}, false
			}
		default:
			return deal{}, false
		}
	}
	return d, true
}

// windowBits reads a number from 8 to 15 without leading zeros.
func windowBits(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= minBits && n <= maxBits && strconv.Itoa(n) == s
}

// extension is one element of Sec-WebSocket-Extensions.
type extension struct {
	name   string
	params []parameter
}

type parameter struct {
	name, value string
	valued      bool // with =
}

// parseExtensions reads one line (RFC 6455 §9.1).
func parseExtensions(line string) (list []extension, ok bool) {
	s := scanner{line}
	for {
		for s.take(',') { // empty elements are allowed in every list (RFC 9110 §5.6.1)
		}
		if s.rest == "" {
			return list, true
		}
		e := extension{name: s.token()}
		if e.name == "" {
			return nil, false
		}
		for s.take(';') {
			p, ok := s.parameter()
			if !ok {
				return nil, false
			}
			e.params = append(e.params, p)
		}
		list = append(list, e)
		if s.rest != "" && !s.take(',') {
			return nil, false
		}
	}
}

type scanner struct{ rest string }

func (s *scanner) skip() { s.rest = strings.TrimLeft(s.rest, " \t") }

// take reports whether the next character is c, and steps over it.
func (s *scanner) take(c byte) bool {
	s.skip()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	s.skip()
	return true
}

// token returns the next word, "" when there is none.
func (s *scanner) token() string {
	i := 0
	for i < len(s.rest) && tokenChar(s.rest[i]) {
		i++
	}
	word := s.rest[:i]
	s.rest = s.rest[i:]
	s.skip()
	return word
}

func (s *scanner) parameter() (p parameter, ok bool) {
	if p.name = s.token(); p.name == "" {
		return p, false
	}
	if !s.take('=') {
		return p, true
	}
	p.valued = true
	if strings.HasPrefix(s.rest, `"`) {
		p.value, ok = s.quoted()
		return p, ok
	}
	p.value = s.token()
	return p, p.value != ""
}

// quoted reads a quoted string, which must hold a token.
func (s *scanner) quoted() (value string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == '"':
			s.rest = s.rest[i+1:]
			s.skip()
			return b.String(), b.Len() > 0
		case c == '\\' && i+1 < len(s.rest):
			i++
			c = s.rest[i]
		}
		if !tokenChar(c) {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

func tokenChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
