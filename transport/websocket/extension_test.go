package websocket

import (
	"strings"
	"testing"
)

const agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// What clients offer, and what becomes of it (RFC 6455 §9.1, RFC 7692 §5 and §7.1).
func TestAgree(t *testing.T) {
	const x = "permessage-deflate"
	for _, tc := range []struct {
		name   string
		offers []string
		bits   int
		answer string
		bad    bool
	}{
		{"nothing", nil, 0, "", false},
		{"an empty header", []string{""}, 0, "", false},
		{"nothing but commas", []string{" , ,"}, 0, "", false},
		{"bare", []string{x}, 15, agreed, false},
		{"as Chromium and Firefox do", []string{x + "; client_max_window_bits"}, 15, agreed, false},
		{"all", []string{x + ";server_no_context_takeover;client_no_context_takeover;server_max_window_bits=10;client_max_window_bits=11"}, 10, agreed + "; server_max_window_bits=10", false},
		{"spaces and tabs", []string{"  " + x + " ;\tserver_max_window_bits = 8 , "}, 8, agreed + "; server_max_window_bits=8", false},
		{"quoted", []string{x + `; server_max_window_bits="12"`}, 12, agreed + "; server_max_window_bits=12", false},
		{"quoted and escaped", []string{x + `; server_max_window_bits="1\5"`}, 15, agreed + "; server_max_window_bits=15", false},
		{"another extension", []string{"x-webkit-deflate-frame", "bbf-usp-protocol; eid=\"doc--1\""}, 0, "", false},
		{"beside others", []string{"foo; a=1, " + x + ", bar"}, 15, agreed, false},
		{"in a second header", []string{"foo", x}, 15, agreed, false},
		{"the first good one", []string{x + "; server_max_window_bits=9, " + x}, 9, agreed + "; server_max_window_bits=9", false},
		{"a fallback", []string{x + "; new_idea, " + x + "; client_max_window_bits=16, " + x + "; client_max_window_bits=9"}, 15, agreed, false},
		{"unknown parameter", []string{x + "; level=9"}, 0, "", false},
		{"a flag with a value", []string{x + "; server_no_context_takeover=true"}, 0, "", false},
		{"the other flag with a value", []string{x + "; client_no_context_takeover=1"}, 0, "", false},
		{"a flag twice", []string{x + "; client_no_context_takeover; client_no_context_takeover"}, 0, "", false},
		{"bits twice", []string{x + "; client_max_window_bits; client_max_window_bits=10"}, 0, "", false},
		{"our bits without a value", []string{x + "; server_max_window_bits"}, 0, "", false},
		{"7 bits", []string{x + "; server_max_window_bits=7"}, 0, "", false},
		{"16 bits", []string{x + "; server_max_window_bits=16"}, 0, "", false},
		{"a leading zero", []string{x + "; server_max_window_bits=08"}, 0, "", false},
		{"a sign", []string{x + "; server_max_window_bits=+9"}, 0, "", false},
		{"no number", []string{x + "; client_max_window_bits=many"}, 0, "", false},
		{"another case is another name", []string{"Permessage-Deflate"}, 0, "", false},
		{"no list: a parameter without a name", []string{x + ";"}, 0, "", true},
		{"no list: no value", []string{x + "; server_max_window_bits="}, 0, "", true},
		{"no list: no comma", []string{x + " " + x}, 0, "", true},
		{"no list: an open quote", []string{x + `; a="b`}, 0, "", true},
		{"no list: an empty quote", []string{x + `; a=""`}, 0, "", true},
		{"no list: quoted, and no token", []string{x + `; a="b c"`}, 0, "", true},
		{"no list: an escape at the end", []string{x + `; a="\`}, 0, "", true},
		{"no list: a strange letter", []string{"é"}, 0, "", true},
		{"no list: a semicolon first", []string{"; a"}, 0, "", true},
	} {
		d, bad := agree(tc.offers)
		if d.bits != tc.bits || d.answer != tc.answer || (bad != nil) != tc.bad {
			t.Errorf("%s: %+v, %v", tc.name, d, bad)
		}
	}
}

// FuzzExtensions: whatever is read can be written and read again.
func FuzzExtensions(f *testing.F) {
	f.Add(`permessage-deflate; client_max_window_bits="10", foo;a=b;c`)
	f.Fuzz(func(t *testing.T, line string) {
		list, ok := parseExtensions(line)
		if !ok {
			return
		}
		var b strings.Builder
		for _, e := range list {
			b.WriteString(e.name)
			for _, p := range e.params {
				b.WriteString("; " + p.name)
				if p.valued {
					b.WriteString("=" + p.value)
				}
			}
			b.WriteString(", ")
		}
		again, ok := parseExtensions(b.String())
		if !ok || len(again) != len(list) {
			t.Fatalf("%q became %q", line, b.String())
		}
	})
}
