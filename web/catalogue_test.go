package web_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/web"
)

// entry is a text, or texts for one and for more.
type entry []string

func (e *entry) UnmarshalJSON(b []byte) error {
	if text := ""; json.Unmarshal(b, &text) == nil {
		*e = entry{text}
		return nil
	}
	var forms map[string]string
	if err := json.Unmarshal(b, &forms); err != nil {
		return err
	}
	*e = slices.Collect(maps.Values(forms))
	return nil
}

func catalogue(t *testing.T, name string) map[string]entry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("i18n", name))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]entry
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func holes(e entry) []string {
	all := regexp.MustCompile(`\{\w+\}`).FindAllString(strings.Join(e, " "), -1)
	slices.Sort(all)
	return slices.Compact(all)
}

func TestCataloguesAgree(t *testing.T) {
	en, zh := catalogue(t, "en.json"), catalogue(t, "zh-CN.json")
	for key, text := range en {
		other, ok := zh[key]
		if !ok {
			t.Errorf("zh-CN.json lacks %q", key)
			continue
		}
		if !slices.Equal(holes(text), holes(other)) {
			t.Errorf("%s: %v in English, %v in Chinese", key, holes(text), holes(other))
		}
		if slices.Contains(text, "") || slices.Contains(other, "") {
			t.Errorf("%s is empty", key)
		}
	}
	for key := range zh {
		if _, ok := en[key]; !ok {
			t.Errorf("en.json lacks %q", key)
		}
	}
}

// TestKeysExist reads the templates and modules for the keys they use.
func TestKeysExist(t *testing.T) {
	en := catalogue(t, "en.json")
	used := map[string]bool{}
	for pattern, key := range map[string]*regexp.Regexp{
		"templates/*.html":   regexp.MustCompile(`[{(]t "([a-z0-9_.]+)"`),
		"templates/*/*.html": regexp.MustCompile(`[{(]t "([a-z0-9_.]+)"`),
		"static/js/*.js":     regexp.MustCompile(`(?:\bt\(|, |\? |: )'([a-z]+\.[a-z0-9_.]+)'`),
	} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range key.FindAllStringSubmatch(string(b), -1) {
				if live := []string{"message.send", "message.created", "people.get", "people.find", "history.load", "read.mark"}; slices.Contains(live, m[1]) {
					continue
				}
				used[m[1]] = true
				if _, ok := en[m[1]]; !ok {
					t.Errorf("%s uses %q, which no catalogue has", name, m[1])
				}
			}
		}
	}
	if len(used) < 150 {
		t.Errorf("found only %d keys in use: does this test still look in the right way?", len(used))
	}
}

func TestText(t *testing.T) {
	site, err := web.New(web.Options{Now: func() time.Time { return fixedNow }})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		lang  web.Lang
		key   string
		pairs []any
		want  string
	}{
		{web.English, "n.comments", []any{"n", 1}, "1 comment"},
		{web.English, "n.comments", []any{"n", 2}, "2 comments"},
		{web.Chinese, "n.comments", []any{"n", 1}, "1 条评论"},
		{web.English, "typing.two", []any{"a", "Mei", "b", "{a}"}, "Mei and {a} are typing…"},
		{web.English, "no such key", nil, "no such key"},
		{"fr", "save", nil, "Save"},
	} {
		if got := site.Text(c.lang, c.key, c.pairs...); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.lang, c.key, got, c.want)
		}
	}
}
