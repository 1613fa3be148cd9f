package config

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
)

// Markdown returns the page of settings that docs/configuration.md holds.
func Markdown() string {
	var b strings.Builder
	b.WriteString(intro)
	defaults := fields(reflect.ValueOf(Defaults()), "")
	b.WriteString("| in the file | variable | default | what it does |\n|---|---|---|---|\n")
	var lists []Setting
	for _, s := range Settings() {
		if len(s.Items) > 0 {
			lists = append(lists, s)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", s.Key, s.Env(), shown(s, defaults[s.Key]), cell(s.Doc))
	}
	b.WriteString("\n## Lists\n\nThese are given in the file only.\n")
	for _, s := range lists {
		fmt.Fprintf(&b, "\n**`%s`**: %s", s.Key, s.Doc)
		if s.Default != "" {
			fmt.Fprintf(&b, " By default: %s.", s.Default)
		}
		b.WriteString("\n\n| field | what it does |\n|---|---|\n")
		for _, item := range s.Items {
			fmt.Fprintf(&b, "| `%s` | %s |\n", item.Key, cell(item.Doc))
		}
	}
	b.WriteString(outro)
	return b.String()
}

// Example is the file that the documentation shows; a test loads it.
const Example = `addr: :8080
public_url: https://chat.example.com
trusted_proxies: [10.0.0.0/8]
log:
  level: info
limits:
  message_bytes: 65536
topics:
  - pattern: public/#
    history: 200
    history_age: 10m
rules:
  - actions: [subscribe, publish, presence, history]
    pattern: public/#
  - actions: [subscribe, history]
    pattern: user/{user}/#
  - roles: [admin]
    actions: [subscribe, publish, presence, history, manage]
    pattern: "#"
`

const intro = `# Configuration

Nothing has to be set. What is set comes from, each over the one before: the defaults below, a YAML file
(` + "`--config parley.yaml`" + `, or ` + "`PARLEY_CONFIG`" + `), environment variables, and flags.
A value that cannot be right, or a name that does not exist, is refused before anything starts, with the line where it stands.

Times are written as ` + "`25s`, `10m`, `1h30m`" + `. In a variable or a flag, several values are separated by commas.

`

const outro = "\n## An example\n\n```yaml\n" + Example + "```\n"

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func shown(s Setting, v reflect.Value) string {
	switch {
	case s.Default != "":
		return s.Default
	case s.Key == "log.level":
		return "`info`"
	case !v.IsValid() || v.IsZero() && (v.Kind() == reflect.String || v.Kind() == reflect.Slice):
		return "not set"
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// fields returns every leaf of a struct by its key.
func fields(v reflect.Value, prefix string) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("koanf")
		if key == "-" || key == "" {
			continue
		}
		if f := v.Field(i); f.Kind() == reflect.Struct {
			maps.Copy(out, fields(f, prefix+key+"."))
		} else {
			out[prefix+key] = f
		}
	}
	return out
}
