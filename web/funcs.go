package web

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// funcs are what the templates of one language may call.
func (s *Site) funcs(lang Lang) template.FuncMap {
	c := s.catalogues[lang]
	return template.FuncMap{
		"t":           c.text,
		"asset":       s.assets.url,
		"modules":     s.assets.modules,
		"icon":        s.icon,
		"when":        func(l *Layout, t time.Time) template.HTML { return s.when(c, l, t) },
		"clock":       clock,
		"date":        func(l *Layout, t time.Time) string { return date(c, t.In(l.Zone)) },
		"rows":        func(l *Layout, t Thread) []row { return s.rows(c, l, t) },
		"props":       props,
		"onlineFirst": onlineFirst,
		"key":         rand.Text,
		"field":       field,
		"add":         func(a, b int) int { return a + b },
		"badge":       badge,
		"categoryURL": CategoryURL,
		"postURL":     PostURL,
		"roomURL":     RoomURL,
		"profileURL":  ProfileURL,
	}
}

// icon draws one symbol of icons.svg. It is decoration: the control around it carries the name.
func (s *Site) icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" aria-hidden="true" focusable="false"><use href="` + //nolint:gosec // name comes from the templates
		template.HTMLEscapeString(s.assets.url("icons.svg")+"#"+name) + `"></use></svg>`)
}

// props hands several values to a part: {{template "avatar" (props "Person" .User "Size" "l")}}.
func props(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("props: %d values, want pairs", len(pairs))
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("props: name %v is not a string", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// onlineFirst keeps the order otherwise.
func onlineFirst(people []Person) []Person {
	return slices.SortedStableFunc(slices.Values(people), func(a, b Person) int {
		if a.Online == b.Online {
			return 0
		}
		if a.Online {
			return -1
		}
		return 1
	})
}

// field answers the error of one form field, "" when it has none.
func field(errs map[string]string, name string) string { return errs[name] }

// badge shortens a count that must fit a small pill.
func badge(n int) string {
	if n > 99 {
		return "99+"
	}
	return strconv.Itoa(n)
}

// Shown is the name to draw.
func (p Person) Shown() string {
	if p.Display != "" {
		return p.Display
	}
	return p.Name
}

// Hue is a number 0–11 that stays the same for a person everywhere.
func (p Person) Hue() int {
	h := fnv.New32a()
	h.Write([]byte(p.ID))
	return int(h.Sum32() % 12)
}

// Initials are up to two letters, one for names written in ideographs.
func (p Person) Initials() string {
	words := strings.Fields(p.Shown())
	if len(words) == 0 {
		return "?"
	}
	first, _ := utf8.DecodeRuneInString(words[0])
	if unicode.Is(unicode.Han, first) || len(words) == 1 {
		return string(unicode.ToUpper(first))
	}
	last, _ := utf8.DecodeRuneInString(words[len(words)-1])
	return string(unicode.ToUpper(first)) + string(unicode.ToUpper(last))
}

// MarshalJSON adds what the modules need to draw the avatar.
func (p Person) MarshalJSON() ([]byte, error) {
	type plain Person
	q := plain(p)
	q.Display = p.Shown()
	return json.Marshal(struct {
		plain
		Hue      int    `json:"hue"`
		Initials string `json:"initials"`
	}{q, p.Hue(), p.Initials()})
}
