package web

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Lang is a language the pages are written in, as a BCP 47 tag.
type Lang string

// Languages with a complete catalogue.
const (
	English Lang = "en"
	Chinese Lang = "zh-CN"
)

// phrase is one entry of a catalogue: text, or a form for one and a form for the rest.
type phrase struct {
	One   string `json:"one"`
	Other string `json:"other"`
}

// UnmarshalJSON takes a text or an object of forms.
func (p *phrase) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &p.Other)
	}
	type plain phrase
	return json.Unmarshal(b, (*plain)(p))
}

type catalogue map[string]phrase

type catalogues map[Lang]catalogue

func loadCatalogues(fsys fs.FS) (catalogues, error) {
	names, err := fs.Glob(fsys, "i18n/*.json")
	if err != nil {
		return nil, err
	}
	out := make(catalogues, len(names))
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		var c catalogue
		if err := json.Unmarshal(b, &c); err != nil {
			return nil, fmt.Errorf("web: %s: %w", name, err)
		}
		out[Lang(strings.TrimSuffix(path.Base(name), ".json"))] = c
	}
	return out, nil
}

// text answers the phrase of key with {name} replaced from pairs (name, value, …). A key that is
// not in the catalogue is text already: messages of the server pass through unchanged.
// A pair "n" with the number 1 chooses the form for one.
func (c catalogue) text(key string, pairs ...any) string {
	p, ok := c[key]
	if !ok {
		return key
	}
	out := p.Other
	repl := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		name, value := fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1])
		if name == "n" && value == "1" && p.One != "" {
			out = p.One
		}
		repl = append(repl, "{"+name+"}", value)
	}
	return strings.NewReplacer(repl...).Replace(out)
}

// Text translates a catalogue key for code outside the templates (mails, error answers).
func (s *Site) Text(lang Lang, key string, pairs ...any) string {
	c, ok := s.catalogues[lang]
	if !ok {
		c = s.catalogues[English]
	}
	return c.text(key, pairs...)
}
