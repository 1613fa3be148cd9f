package rest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// spec is the OpenAPI document as plain JSON, with just enough of JSON Schema
// to hold an example or an answer against it.
type spec struct{ root map[string]any }

func readSpec(t *testing.T) spec {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(openAPIText), &root); err != nil {
		t.Fatal(err)
	}
	return spec{root}
}

// at follows keys from the root and resolves references on the way.
func (s spec) at(t *testing.T, from any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		m, ok := s.resolve(from).(map[string]any)
		if !ok || m[k] == nil {
			return nil
		}
		from = m[k]
	}
	return s.resolve(from)
}

func (s spec) resolve(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	var found any = s.root
	for k := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		inner, _ := found.(map[string]any)
		found = inner[k]
	}
	return found
}

// check returns what is wrong with v, or "". Properties that the schema does not
// name are wrong too: an undocumented field is a mistake of ours.
func (s spec) check(schema, v any, path string) string {
	sc, _ := s.resolve(schema).(map[string]any)
	if sc == nil {
		return path + ": there is no schema"
	}
	if alternatives, ok := sc["oneOf"].([]any); ok {
		fits := 0
		for _, alternative := range alternatives {
			if s.check(alternative, v, path) == "" {
				fits++
			}
		}
		if fits != 1 {
			return fmt.Sprintf("%s: %d alternatives fit", path, fits)
		}
		return ""
	}
	switch sc["type"] {
	case "object":
		return s.checkObject(sc, v, path)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return path + ": no array"
		}
		for i, item := range list {
			if wrong := s.check(sc["items"], item, fmt.Sprintf("%s[%d]", path, i)); wrong != "" {
				return wrong
			}
		}
	case "string":
		return checkString(sc, v, path)
	case "integer":
		n, ok := v.(float64)
		low, bounded := sc["minimum"].(float64)
		high, capped := sc["maximum"].(float64)
		if !ok || n != float64(int64(n)) || bounded && n < low || capped && n > high {
			return fmt.Sprintf("%s: %v is not the integer that is meant", path, v)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return path + ": no boolean"
		}
	case nil: // any JSON
	default:
		return fmt.Sprintf("%s: the test does not know the type %v", path, sc["type"])
	}
	return ""
}

func (s spec) checkObject(sc map[string]any, v any, path string) string {
	m, ok := v.(map[string]any)
	if !ok {
		return path + ": no object"
	}
	required, _ := sc["required"].([]any)
	for _, r := range required {
		name, _ := r.(string)
		if _, there := m[name]; !there {
			return fmt.Sprintf("%s: %v is missing", path, r)
		}
	}
	properties, _ := sc["properties"].(map[string]any)
	for k, inner := range m {
		schema := properties[k]
		if schema == nil {
			schema = sc["additionalProperties"]
		}
		if schema == nil {
			return path + ": " + k + " is not documented"
		}
		if wrong := s.check(schema, inner, path+"."+k); wrong != "" {
			return wrong
		}
	}
	return ""
}

func checkString(sc map[string]any, v any, path string) string {
	text, ok := v.(string)
	if !ok {
		return path + ": no string"
	}
	if allowed, ok := sc["enum"].([]any); ok && !slices.Contains(allowed, v) {
		return fmt.Sprintf("%s: %q is not among %v", path, text, allowed)
	}
	if least, ok := sc["minLength"].(float64); ok && len(text) < int(least) {
		return path + ": too short"
	}
	if most, ok := sc["maxLength"].(float64); ok && len(text) > int(most) {
		return path + ": too long"
	}
	if sc["contentEncoding"] == "base64" {
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return path + ": no base64"
		}
	}
	return ""
}
