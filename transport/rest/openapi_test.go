package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The document names every route and no other.
func TestOpenAPIListsTheRoutes(t *testing.T) {
	t.Parallel()
	s, api := readSpec(t), openBench(t, nil).api
	var served, documented []string
	for _, rt := range api.routes() {
		served = append(served, rt.method+" "+rt.path)
	}
	paths, _ := s.root["paths"].(map[string]any)
	for path, item := range paths {
		operations, _ := item.(map[string]any)
		for method := range operations {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served %v\ndocumented %v", served, documented)
	}
	for _, rt := range api.routes() {
		_, free := s.at(t, s.root, "paths", rt.path, strings.ToLower(rt.method), "security").([]any)
		if free != rt.open {
			t.Errorf("%s needs credentials %v, the document says %v", rt.path, !rt.open, !free)
		}
	}
}

// Every example fits its schema, the requests are accepted as they stand, and
// what is really answered fits too.
func TestOpenAPIExamples(t *testing.T) {
	t.Parallel()
	s, b := readSpec(t), openBench(t, nil)
	for _, rt := range b.api.routes() {
		op := s.at(t, s.root, "paths", rt.path, strings.ToLower(rt.method))
		body := ""
		if media := s.at(t, op, "requestBody", "content", "application/json"); media != nil {
			example := s.at(t, media, "example")
			if wrong := s.check(s.at(t, media, "schema"), example, rt.path+" request"); wrong != "" {
				t.Error(wrong)
			}
			text, err := json.Marshal(example)
			if err != nil {
				t.Fatal(err)
			}
			body = string(text)
		}
		w := b.ask(key, rt.method, rt.path+exampleQuery(t, s, op), body)
		if w.Code != http.StatusOK {
			t.Errorf("%s: the documented request is answered %d: %s", rt.path, w.Code, w.Body)
		}
		media := s.at(t, op, "responses", "200", "content", "application/json")
		if media == nil || rt.path == "/openapi.json" {
			continue
		}
		if wrong := s.check(s.at(t, media, "schema"), s.at(t, media, "example"), rt.path+" example"); wrong != "" {
			t.Error(wrong)
		}
		var got any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if wrong := s.check(s.at(t, media, "schema"), got, rt.path+" answer"); wrong != "" {
			t.Errorf("%s in %s", wrong, w.Body)
		}
		if s.at(t, op, "responses", "default", "description") == nil && !rt.open {
			t.Errorf("%s: a refusal is not documented", rt.path)
		}
	}
}

func exampleQuery(t *testing.T, s spec, op any) string {
	t.Helper()
	var query []string
	list, _ := s.at(t, op, "parameters").([]any)
	for _, p := range list {
		if example := s.at(t, p, "example"); example != nil {
			text, err := json.Marshal(example)
			if err != nil {
				t.Fatal(err)
			}
			query = append(query, fmt.Sprintf("%v=%s", s.at(t, p, "name"), strings.Trim(string(text), `"`)))
		}
	}
	return "?" + strings.Join(query, "&")
}

func TestOpenAPIRefusal(t *testing.T) {
	t.Parallel()
	s, b := readSpec(t), openBench(t, nil)
	media := s.at(t, s.root, "components", "responses", "Refused", "content", "application/json")
	schema := s.at(t, media, "schema")
	if wrong := s.check(schema, s.at(t, media, "example"), "example"); wrong != "" {
		t.Error(wrong)
	}
	var got any
	b.read(b.ask("", http.MethodGet, "/info", ""), http.StatusUnauthorized, &got)
	if wrong := s.check(schema, got, "answer"); wrong != "" {
		t.Error(wrong)
	}
}

// Every schema that is described is used, so that none rots.
func TestOpenAPIHasNoSpareSchemas(t *testing.T) {
	t.Parallel()
	schemas, _ := readSpec(t).at(t, readSpec(t).root, "components", "schemas").(map[string]any)
	for name := range maps.Keys(schemas) {
		if !strings.Contains(openAPIText, `"#/components/schemas/`+name+`"`) {
			t.Errorf("%s is used nowhere", name)
		}
	}
}

func TestDescriptionKnowsWhereItStands(t *testing.T) {
	t.Parallel()
	b := openBench(t, func(c *Config) { c.Prefix = "/live/" })
	for path, want := range map[string]string{"/live/openapi.json": `"url": "/live"`, "/live/docs": "POST /live/publish"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		w := &strings.Builder{}
		rec := recorder{Builder: w, header: http.Header{}}
		b.api.ServeHTTP(rec, r)
		if !strings.Contains(w.String(), want) {
			t.Errorf("%s does not hold %s", path, want)
		}
		if strings.Contains(w.String(), "<script") {
			t.Errorf("%s runs scripts", path)
		}
	}
}

type recorder struct {
	*strings.Builder

	header http.Header
}

func (r recorder) Header() http.Header { return r.header }
func (recorder) WriteHeader(int)       {}
