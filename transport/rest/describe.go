package rest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/protocol"
)

//go:embed openapi.json
var openAPIText string

//go:embed docs.html
var docsText string

// openAPI serves the document with the path this door is really mounted at.
func (a *API) openAPI(w http.ResponseWriter, _ *http.Request, _ caller) error {
	w.Header().Set("Cache-Control", "public, max-age=300")
	send(w, http.StatusOK, []byte(strings.Replace(openAPIText, `"url": "`+Prefix+`"`, `"url": "`+a.cfg.Prefix+`"`, 1)))
	return nil
}

// document is as much of OpenAPI as the page for people shows.
type document struct {
	Info struct {
		Title       string `json:"title"`
		Summary     string `json:"summary"`
		Description string `json:"description"`
	} `json:"info"`
	Paths      map[string]map[string]documented `json:"paths"`
	Components struct {
		Responses map[string]response `json:"responses"`
	} `json:"components"`
}

type documented struct {
	Summary     string              `json:"summary"`
	Description string              `json:"description"`
	Parameters  []parameter         `json:"parameters"`
	RequestBody response            `json:"requestBody"`
	Responses   map[string]response `json:"responses"`
}

type response struct {
	Content map[string]struct {
		Example json.RawMessage `json:"example"`
	} `json:"content"`
}

type parameter struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Required    bool   `json:"required"`
}

type operation struct {
	Method, Path, Summary, Description string
	Parameters                         []parameter
	Request, Response                  string
}

// docs shows the document as one page without scripts, in the order of the
// routes.
func (a *API) docs(w http.ResponseWriter, _ *http.Request, _ caller) error {
	var d document
	if err := json.Unmarshal([]byte(openAPIText), &d); err != nil {
		return protocol.Internal.Hide(err, "the description could not be read")
	}
	page, err := template.New("docs").Parse(docsText)
	if err != nil {
		return protocol.Internal.Hide(err, "the page could not be read")
	}
	var operations []operation
	for _, rt := range a.routes() {
		o := d.Paths[rt.path][strings.ToLower(rt.method)]
		operations = append(operations, operation{
			Method: rt.method, Path: a.cfg.Prefix + rt.path, Summary: o.Summary, Description: o.Description,
			Parameters: o.Parameters, Request: o.RequestBody.example(), Response: o.Responses["200"].example(),
		})
	}
	var out strings.Builder
	err = page.Execute(&out, map[string]any{
		"Info": d.Info, "Operations": operations, "Refusal": d.Components.Responses["Refused"].example(), "Spec": a.cfg.Prefix + "/openapi.json",
	})
	if err != nil {
		return protocol.Internal.Hide(err, "the page could not be shown")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(out.String()))
	return nil
}

func (r response) example() string {
	raw := r.Content["application/json"].Example
	if len(raw) == 0 {
		return ""
	}
	// The examples are indented for where they stand in the document.
	var flat, text bytes.Buffer
	if json.Compact(&flat, raw) != nil || json.Indent(&text, flat.Bytes(), "", "  ") != nil {
		return ""
	}
	return text.String()
}
