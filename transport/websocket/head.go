package websocket

import (
	"bytes"
	"strings"
)

// maxHead is the longest head that is looked at here. No http.Server refuses
// one of that size: the least it can be told to take is 4 KB more than nothing.
const maxHead = 4096

// head is the head of a plain handshake.
type head struct {
	request

	host, origin string
	lines        [4]string // what request refers to
}

// parse reads the head of a handshake for a path that is plain: GET over
// HTTP/1.1, without a query, every header once, and none but those that mean
// nothing to anybody or something to us. It is no parser of HTTP: whatever it
// does not know, or would have to think about, is somebody else's, and ok is
// false then. first is what the head begins with, and rest what comes behind it.
func (h *head) parse(first string, data []byte) (rest []byte, ok bool) {
	const end = "\r\n\r\n"
	if len(data) < len(first) || string(data[:len(first)]) != first {
		return nil, false
	}
	size := bytes.Index(data[:min(len(data), maxHead)], []byte(end))
	if size < 0 {
		return nil, false
	}
	text := string(data[len(first) : size+2]) // with the end of the last line
	for text != "" {
		line, more, _ := strings.Cut(text, "\r\n")
		if text = more; !h.field(line) {
			return nil, false
		}
	}
	return data[size+len(end):], h.host != ""
}

// firstLine is how a handshake for a path begins.
func firstLine(path string) string { return "GET " + path + " HTTP/1.1\r\n" }

// field takes one header, and reports false for what net/http must judge.
func (h *head) field(line string) bool {
	colon := strings.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	var lower [32]byte
	if colon > len(lower) {
		return false
	}
	for i := range colon {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	value := strings.Trim(line[colon+1:], " \t")
	if value == "" || !plain(value) {
		return false
	}
	switch string(lower[:colon]) {
	case "host":
		return once(&h.host, value) && plainHost(value)
	case "origin":
		return once(&h.origin, value)
	case "sec-websocket-key":
		return once(&h.key, value)
	case "sec-websocket-version":
		return once(&h.version, value)
	case "connection":
		return h.line(0, &h.connection, value)
	case "upgrade":
		return h.line(1, &h.upgrade, value)
	case "sec-websocket-protocol":
		return h.line(2, &h.protocols, value)
	case "sec-websocket-extensions":
		return h.line(3, &h.extensions, value)
	case "user-agent", "accept", "accept-encoding", "accept-language", "cache-control", "pragma", "dnt", "sec-gpc",
		"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "sec-fetch-storage-access":
		return true // browsers send them, and they change nothing
	}
	return false
}

func once(field *string, value string) bool {
	first := *field == ""
	*field = value
	return first
}

// line is once for a header of which there may be several lines.
func (h *head) line(i int, field *[]string, value string) bool {
	first := *field == nil
	h.lines[i] = value
	*field = h.lines[i : i+1]
	return first
}

// plain reports whether a value is what every parser takes as it is.
func plain(value string) bool {
	for i := range len(value) {
		if c := value[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

func plainHost(value string) bool {
	for i := range len(value) {
		c := value[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte(".-_:[]", c) < 0 {
			return false
		}
	}
	return true
}
