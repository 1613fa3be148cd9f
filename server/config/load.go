package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Sources are the layers of a configuration.
type Sources struct {
	// File is the path of a YAML file; "" for none.
	File string
	// Environ is the environment, as os.Environ gives it.
	Environ []string
	// Flags are the settings given on the command line, by key.
	Flags map[string]string
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Where is the place to correct it, as "parley.yaml:7" or "PARLEY_ADDR".
	Where   string
	Message string
}

func (p Problem) String() string { return p.Where + ": " + p.Message }

// Error lists everything that is wrong, in the order of the file.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// byPlace puts problems in the order of the lines they are in.
func byPlace(a, b Problem) int {
	fileA, lineA, _ := strings.Cut(a.Where, ":")
	fileB, lineB, _ := strings.Cut(b.Where, ":")
	return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(len(lineA), len(lineB)), cmp.Compare(lineA, lineB), cmp.Compare(a.Message, b.Message))
}

// loader collects the layers and remembers where each value came from.
type loader struct {
	values   *koanf.Koanf
	origins  map[string]string // of keys, and of "rules[2]" and "rules[2].roles"
	problems []Problem
	warnings []string
}

// Load reads the layers and checks the result. The error is an *Error, which
// names every problem and its place, unless the file could not be read at all.
func Load(s Sources) (Config, error) {
	l := &loader{values: koanf.New("."), origins: map[string]string{}}
	if s.File != "" {
		text, err := os.ReadFile(s.File)
		if err != nil {
			return Config{}, fmt.Errorf("configuration file: %w", err)
		}
		if err := l.file(s.File, text); err != nil {
			return Config{}, err
		}
	}
	if err := l.environment(s.Environ); err != nil {
		return Config{}, err
	}
	if err := l.flags(s.Flags); err != nil {
		return Config{}, err
	}
	cfg := l.decode()
	if len(l.problems) == 0 {
		l.validate(cfg)
	}
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, byPlace)
		return Config{}, &Error{l.problems}
	}
	cfg.Warnings = l.warnings
	return cfg, nil
}

func (l *loader) problemf(key, format string, args ...any) {
	where := l.origins[key]
	// A field that is missing in an item is reported at the item.
	for at := key; where == "" && strings.Contains(at, "."); {
		at = at[:strings.LastIndexByte(at, '.')]
		where = l.origins[at]
	}
	if where == "" {
		where = key
	}
	l.problems = append(l.problems, Problem{where, fmt.Sprintf(format, args...)})
}

// set adds a layer with one value, which came from where.
func (l *loader) set(s Setting, text, where string) error {
	var value any = text
	if s.List {
		value = splitList(text)
	}
	l.origins[s.Key] = where
	return l.values.Load(confmap.Provider(map[string]any{s.Key: value}, "."), nil)
}

func splitList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// environment takes PARLEY_ADDR and the like. A variable with our prefix that
// sets nothing may belong to something else, so it is a warning.
func (l *loader) environment(environ []string) error {
	known := map[string]Setting{}
	for _, s := range Settings() {
		if s.Env() != "" {
			known[s.Env()] = s
		}
	}
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(pair, "=")
		if s, ok := known[name]; ok {
			// A variable that is set to nothing counts as not set: that is how
			// compose files leave one out.
			if value == "" {
				continue
			}
			if err := l.set(s, value, name); err != nil {
				return err
			}
		} else if strings.HasPrefix(name, envPrefix) && !foreign(name) {
			l.warnings = append(l.warnings, fmt.Sprintf("the variable %s sets nothing%s", name, suggest(name, known)))
		}
	}
	return nil
}

// foreign tells variables that Kubernetes makes for a service called parley and
// those the command line's clients use.
func foreign(name string) bool {
	return strings.HasPrefix(name, "PARLEY_SERVICE_") || name == "PARLEY_PORT" || strings.HasPrefix(name, "PARLEY_PORT_") ||
		name == "PARLEY_TOKEN" || name == "PARLEY_URL" || name == "PARLEY_CONFIG"
}

func (l *loader) flags(flags map[string]string) error {
	for _, s := range Settings() {
		if value, given := flags[s.Key]; given {
			if err := l.set(s, value, "--"+strings.ReplaceAll(strings.ReplaceAll(s.Key, ".", "-"), "_", "-")); err != nil {
				return err
			}
		}
	}
	return nil
}

// decode fills a Config. When something does not fit, each setting is decoded on
// its own to find which.
func (l *loader) decode() Config {
	cfg := Defaults()
	if l.values.Unmarshal("", &cfg) == nil {
		return cfg
	}
	for _, s := range Settings() {
		if !l.values.Exists(s.Key) || len(s.Items) > 0 {
			continue
		}
		if err := l.alone(s.Key, l.values.Get(s.Key)); err != nil {
			value := fmt.Sprintf("%q ", fmt.Sprint(l.values.Get(s.Key)))
			if s.Secret {
				value = ""
			}
			l.problemf(s.Key, "%s: the value %sdoes not fit: %s", s.Key, value, cause(err))
		}
	}
	for _, s := range Settings() {
		if list, ok := l.values.Get(s.Key).([]any); ok && len(s.Items) > 0 {
			l.decodeItems(s, list)
		} else if l.values.Exists(s.Key) && len(s.Items) > 0 && !ok {
			l.problemf(s.Key, "%s: this is a list; begin each item with a dash", s.Key)
		}
	}
	if len(l.problems) == 0 { // cannot be: the whole did not fit, each part does
		l.problemf("", "the configuration does not fit together")
	}
	return cfg
}

func (l *loader) decodeItems(s Setting, list []any) {
	for i, item := range list {
		at := fmt.Sprintf("%s[%d]", s.Key, i)
		fields, ok := item.(map[string]any)
		if !ok {
			l.problemf(at, "%s: each item is an object with %s", s.Key, names(s.Items))
			continue
		}
		for _, f := range s.Items {
			value, given := fields[f.Key]
			if !given {
				continue
			}
			if err := l.alone(s.Key, []any{map[string]any{f.Key: value}}); err != nil {
				l.problemf(at+"."+f.Key, "%s: the value %q does not fit: %s", f.Key, fmt.Sprint(value), cause(err))
			}
		}
	}
}

// alone decodes one value into an otherwise empty Config.
func (l *loader) alone(key string, value any) error {
	one := koanf.New(".")
	if err := one.Load(confmap.Provider(map[string]any{key: value}, "."), nil); err != nil {
		return err
	}
	var cfg Config
	return one.Unmarshal("", &cfg)
}

// cause is the last line of a decoder's error, without the decoder's words.
func cause(err error) string {
	text := strings.TrimSpace(err.Error())
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = strings.TrimLeft(text[i+1:], " *")
	}
	if _, after, found := strings.Cut(text, "' "); found {
		text = after
	}
	return text
}

func names(settings []Setting) string {
	out := make([]string, len(settings))
	for i, s := range settings {
		out[i] = s.Key
	}
	return strings.Join(out, ", ")
}
