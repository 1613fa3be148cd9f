package config

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"go.yaml.in/yaml/v3"
)

// file reads a YAML document and notes the line of every key, so that whatever
// turns out wrong later can be found.
func (l *loader) file(name string, text []byte) error {
	var doc yaml.Node
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) { // nothing but comments
			return nil
		}
		return &Error{[]Problem{yamlProblem(name, err)}}
	}
	if d.Decode(&yaml.Node{}) == nil {
		return &Error{[]Problem{{name, "the file holds more than one document: remove what follows the second ---"}}}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return &Error{[]Problem{{at(name, root), "a configuration is a list of names with values, as in addr: :8080"}}}
	}
	f := fileReader{loader: l, name: name, known: map[string]bool{}, sections: map[string]bool{}}
	for _, s := range Settings() {
		f.known[s.Key] = true
		if section, _, nested := strings.Cut(s.Key, "."); nested {
			f.sections[section] = true
		}
		for _, item := range s.Items {
			f.known[s.Key+"[]."+item.Key] = true
		}
	}
	f.mapping(root, "")
	if len(l.problems) > 0 {
		return &Error{l.problems}
	}
	var values map[string]any
	if err := root.Decode(&values); err != nil {
		return &Error{[]Problem{yamlProblem(name, err)}}
	}
	return l.values.Load(confmap.Provider(withoutEmpty(values), "."), nil)
}

type fileReader struct {
	*loader

	name            string
	known, sections map[string]bool
}

// mapping notes the keys of one object. Path is "" or ends with a dot.
func (f *fileReader) mapping(n *yaml.Node, path string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		full := path + k.Value
		if line, twice := seen[k.Value]; twice {
			f.problems = append(f.problems, Problem{at(f.name, k), fmt.Sprintf("%s was set in line %d already", full, line)})
			continue
		}
		seen[k.Value] = k.Line
		f.origins[full] = at(f.name, k)
		switch general := generic(full); {
		case f.sections[full] && (v.Kind == yaml.MappingNode || v.Tag == "!!null"):
			f.mapping(v, full+".")
		case f.sections[full]:
			f.problemf(full, "%s holds several settings: write them indented below it", full)
		case !f.known[general]:
			f.problemf(full, "there is no setting %s%s", full, suggest(general, f.known))
		case v.Kind == yaml.SequenceNode:
			for i, item := range v.Content {
				at0 := full + "[" + strconv.Itoa(i) + "]"
				f.origins[at0] = at(f.name, item)
				if item.Kind == yaml.MappingNode {
					f.mapping(item, at0+".")
				}
			}
		case v.Kind == yaml.MappingNode:
			f.problemf(full, "%s takes a value, not settings of its own", full)
		}
	}
}

// generic turns rules[2].roles into rules[].roles.
func generic(path string) string {
	open, shut := strings.IndexByte(path, '['), strings.IndexByte(path, ']')
	if open < 0 || shut < open {
		return path
	}
	return path[:open+1] + path[shut:]
}

// withoutEmpty drops keys without a value, which leave their default alone.
func withoutEmpty(m map[string]any) map[string]any {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			withoutEmpty(v)
		}
	}
	return m
}

func at(name string, n *yaml.Node) string { return name + ":" + strconv.Itoa(n.Line) }

// yamlProblem takes the line out of the parser's words.
func yamlProblem(name string, err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, message, ok := strings.Cut(rest, ": "); ok {
			return Problem{name + ":" + line, "this is not YAML: " + message}
		}
	}
	return Problem{name, "this is not YAML: " + text}
}

// suggest names the known word nearest to what was written, if one is near.
func suggest[V any](wrong string, known map[string]V) string {
	best, least := "", 4
	for k := range known {
		if d := distance(wrong, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + strings.TrimPrefix(best[strings.LastIndexByte(best, ']')+1:], ".") + "?"
}

// distance counts the letters to insert, remove or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
