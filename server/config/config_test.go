package config

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/pubsub/receipts"
)

func load(t *testing.T, yaml string, environ []string, flags map[string]string) (Config, error) {
	t.Helper()
	s := Sources{Environ: environ, Flags: flags}
	if yaml != "" {
		s.File = filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(s.File, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(s)
}

func TestNothingSet(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{"", "# nothing\n", "limits:\naddr:\n", "{}"} {
		cfg, err := load(t, yaml, []string{"PARLEY_ADDR=", "HOME=/x"}, nil)
		if err != nil || !reflect.DeepEqual(cfg, Defaults()) {
			t.Errorf("%q: %+v, %v", yaml, cfg, err)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	yaml := "addr: :1\ndata: file\nnode: file\nlog: {level: warn}\nlimits:\n  calls: 3\n  idle_timeout: 1h\norigins: https://one.example\n"
	cfg, err := load(t, yaml,
		[]string{"PARLEY_ADDR=:2", "PARLEY_NODE=env", "PARLEY_API_KEY=key-number-one-abc, key-number-two-abc", "PARLEY_LIMITS_CALLS=4", "PARLEY_TRUSTED_PROXIES=10.0.0.0/8,fd00::/8", "PARLEY_COMMUNITY=false"},
		map[string]string{"addr": ":3"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Addr != ":3" || cfg.Node != "env" || cfg.Data != "file" || cfg.Log.Level != slog.LevelWarn || cfg.Limits.Calls != 4 ||
		cfg.Limits.IdleTimeout != time.Hour || cfg.Community || len(cfg.TrustedProxies) != 2 ||
		!slices.Equal(cfg.APIKeys, []string{"key-number-one-abc", "key-number-two-abc"}) || !slices.Equal(cfg.Origins, []string{"https://one.example"}) {
		t.Errorf("%+v", cfg)
	}
	if cfg.Limits.QueueBytes != Defaults().Limits.QueueBytes || len(cfg.Warnings) != 0 {
		t.Errorf("%+v", cfg)
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]receipts.Mode{"auto": receipts.Auto, "counts": receipts.Counts, "none": receipts.None, "true": receipts.Auto} {
		cfg, err := load(t, "topics:\n  - {pattern: a, receipts: "+text+"}\n", nil, nil)
		if err != nil || cfg.Topics[0].Receipts != want {
			t.Errorf("%s: %+v, %v", text, cfg.Topics, err)
		}
	}
}

func TestProblemsNameTheirPlace(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s", 40)
	tests := []struct {
		name, yaml string
		env        string
		flags      map[string]string
		want       []string // place and a part of the message of each problem, in order
	}{
		{"unknown key", "node: a\nadr: :8080\n", "", nil, []string{"p.yaml:2", "no setting adr; did you mean addr?"}},
		{"unknown nested key", "limits:\n  call: 3\n", "", nil, []string{"p.yaml:2", "no setting limits.call; did you mean limits.calls?"}},
		{"unknown key of an item", "rules:\n  - pattern: a\n    action: [publish]\n", "", nil, []string{"p.yaml:3", "did you mean actions?"}},
		{"far from anything", "quux_frobnicate: 1\n", "", nil, []string{"p.yaml:1", "no setting quux_frobnicate"}},
		{"twice", "addr: :1\n\naddr: :2\n", "", nil, []string{"p.yaml:3", "was set in line 1"}},
		{"section as value", "limits: 7\n", "", nil, []string{"p.yaml:1", "several settings"}},
		{"value as section", "addr:\n  port: 1\n", "", nil, []string{"p.yaml:1", "takes a value"}},
		{"no YAML", "addr: :1\nnode: [a\n", "", nil, []string{"p.yaml:", "not YAML"}},
		{"a list of nothing", "- a\n", "", nil, []string{"p.yaml:1", "names with values"}},
		{"two documents", "addr: :1\n---\naddr: :2\n", "", nil, []string{"p.yaml", "more than one document"}},
		{"no number", "node: x\nlimits:\n  calls: many\n", "", nil, []string{"p.yaml:3", `limits.calls: the value "many" does not fit`}},
		{"no time", "heartbeat:\n  interval: 25\n", "", nil, []string{"p.yaml:2", "heartbeat.interval"}},
		{"no bool", "community: perhaps\n", "", nil, []string{"p.yaml:1", "community"}},
		{"no level", "log:\n  level: loud\n", "", nil, []string{"p.yaml:2", "log.level"}},
		{"no network", "trusted_proxies:\n  - 10.0.0.0/99\n", "", nil, []string{"p.yaml:1", "trusted_proxies"}},
		{"variable", "", "PARLEY_LIMITS_CALLS=x", nil, []string{"PARLEY_LIMITS_CALLS", "limits.calls"}},
		{"variable over file", "limits:\n  calls: 7\n", "PARLEY_LIMITS_CALLS=0", nil, []string{"PARLEY_LIMITS_CALLS", "at least 1"}},
		{"flag", "", "", map[string]string{"addr": "8080"}, []string{"--addr", `"8080" is no address`}},
		{"flag with dashes", "", "", map[string]string{"log.format": "xml"}, []string{"--log-format", "auto, text or json"}},
		{"secret is not repeated", "jwt:\n  secret: [" + long + "]\n", "PARLEY_JWT_SECRET=short", nil, []string{"PARLEY_JWT_SECRET", "5 bytes are too few"}},
		{"issuer of nobody", "jwt:\n  issuer: me\n", "", nil, []string{"p.yaml:2", "neither"}},
		{"key file is missing", "jwt:\n  public_key: nowhere.pem\n", "", nil, []string{"p.yaml:2", "nowhere.pem"}},
		{"origin without scheme", "origins:\n  - https://a.example\n  - b.example\n", "", nil, []string{"p.yaml:3", "b.example"}},
		{"rule without action", "node: a\nrules:\n  - pattern: a\n  - pattern: b\n    actions: [fly]\n", "", nil, []string{"p.yaml:3", "no action", "p.yaml:4", "fly"}},
		{"rule with a wrong field", "rules:\n  - pattern: {a: b}\n    actions: [publish]\n", "", nil, []string{"p.yaml:2", "pattern"}},
		{"rules are a list", "rules: hello\n", "", nil, []string{"p.yaml:1", "list"}},
		{"topic pattern", "topics:\n  - history: 3\n    pattern: a#b\n", "", nil, []string{"p.yaml:3", "must stand alone"}},
		{"durable in memory", "broker: 'memory:'\ntopics:\n  - pattern: a\n    history: 5\n    durable: true\n", "", nil, []string{"p.yaml:5", "broker memory:"}},
		{"durable without history", "topics:\n  - pattern: a\n    durable: true\n", "", nil, []string{"p.yaml:3", "set history"}},
		{"sync of nothing", "topics:\n  - pattern: a\n    sync: never\n", "", nil, []string{"p.yaml:3", "set durable: true"}},
		{"no such receipts", "topics:\n  - pattern: a\n    receipts: everybody\n", "", nil, []string{"p.yaml:3", "none, auto, who, counts"}},
		{"a session is kept for no time", "limits:\n  session_expiry: 1ms\n", "", nil, []string{"p.yaml:2", "too short"}},
		{"no way to sync", "topics:\n  - pattern: a\n    sync: sometimes\n", "", nil, []string{"p.yaml:3", "always, interval, never"}},
		{"order of lines", "shutdown: {timeout: 0s}\n\n\n\n\n\n\n\nnode: a b\naddr: x\n", "", nil, []string{"p.yaml:1", "shutdown", "p.yaml:9", "node", "p.yaml:10", "addr"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.yaml, []string{tt.env}, tt.flags)
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("%v", err)
			}
			if len(bad.Problems)*2 != len(tt.want) {
				t.Fatalf("%d problems:\n%v", len(bad.Problems), err)
			}
			for i, p := range bad.Problems {
				if !strings.Contains(p.Where, tt.want[2*i]) || !strings.Contains(p.Message, tt.want[2*i+1]) {
					t.Errorf("%v, want %q at %q", p, tt.want[2*i+1], tt.want[2*i])
				}
			}
			if strings.Contains(err.Error(), long) {
				t.Errorf("a secret was repeated: %v", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	if _, err := Load(Sources{File: "nowhere.yaml"}); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, "", []string{"PARLEY_ADR=:1", "PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_PORT_80_TCP=x", "PARLEY_TOKEN=t", "PARLEY_API_KEY=k"}, nil)
	if err != nil || len(cfg.Warnings) != 2 {
		t.Fatalf("%v, %v", cfg.Warnings, err)
	}
	if all := strings.Join(cfg.Warnings, "\n"); !strings.Contains(all, "PARLEY_ADR sets nothing; did you mean PARLEY_ADDR?") || !strings.Contains(all, "could be guessed") {
		t.Error(all)
	}
}

// Every field is documented, and everything documented is a field.
func TestSettingsAreTheStruct(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, s := range Settings() {
		documented = append(documented, s.Key)
		kind := fields(reflect.ValueOf(Defaults()), "")[s.Key].Kind()
		if (kind == reflect.Slice) != (s.List || len(s.Items) > 0) {
			t.Errorf("%s: a list in one place and not in the other", s.Key)
		}
	}
	var there []string
	for key, v := range fields(reflect.ValueOf(Defaults()), "") {
		there = append(there, key)
		if v.Kind() != reflect.Slice || v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem().Field(0).Tag.Get("koanf") == "" {
			continue
		}
		i := slices.IndexFunc(Settings(), func(s Setting) bool { return s.Key == key })
		var items []string
		for _, item := range Settings()[i].Items {
			items = append(items, item.Key)
		}
		var inner []string
		for k := range fields(reflect.New(v.Type().Elem()).Elem(), "") {
			inner = append(inner, k)
		}
		if slices.Sort(items); !slices.Equal(items, slices.Sorted(slices.Values(inner))) {
			t.Errorf("%s: documented %v, there are %v", key, items, inner)
		}
	}
	slices.Sort(documented)
	slices.Sort(there)
	if !slices.Equal(documented, there) {
		t.Errorf("documented %v\nthere are  %v", documented, there)
	}
}

var update = flag.Bool("update", false, "write docs/configuration.md anew") //nolint:gochecknoglobals // how the flag package works

func TestDocumentation(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "configuration.md")
	want := Markdown()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/configuration.md is not what the settings say (%v): run go test ./server/config -update", err)
	}
	if cfg, err := load(t, Example, nil, nil); err != nil || cfg.Addr != ":8080" || len(cfg.Rules) != 3 || len(cfg.AuthRules()) != 3 {
		t.Errorf("the example: %+v, %v", cfg, err)
	}
	if len(Defaults().AuthRules()) != 2 {
		t.Error("without rules the default ones hold")
	}
}

func FuzzFile(f *testing.F) {
	f.Add(Example)
	f.Add("a: &a [*a]\n")
	f.Add("? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		_, err := load(t, text+"\n", nil, nil)
		var bad *Error
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%v", err)
		}
	})
}
