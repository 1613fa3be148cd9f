package arch

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// Every law is shown here to fail on source that breaks it and to pass on its closest lawful
// neighbour; a law that cannot fail protects nothing.

// source builds a module from file names and their text.
func source(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	src := fstest.MapFS{"go.mod": {Data: []byte("module example.com/m\n\ngo 1.26\n")}}
	for name, text := range files {
		src[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// expect checks that there is one violation for each want, in any order, which contains it.
func expect(t *testing.T, found []Violation, want ...string) {
	t.Helper()
	var texts []string
	for _, v := range found {
		if v.Why == "" || v.Law == "" || v.Where == "" {
			t.Errorf("a violation without law, place or reason: %#v", v)
		}
		texts = append(texts, v.String())
	}
	for _, w := range want {
		hit := -1
		for i, text := range texts {
			if strings.Contains(text, w) {
				hit = i
				break
			}
		}
		if hit < 0 {
			t.Errorf("no violation says %q; found %q", w, texts)
			continue
		}
		texts = append(texts[:hit], texts[hit+1:]...)
	}
	for _, text := range texts {
		t.Errorf("unexpected: %s", text)
	}
}

// importing is a file in package p that imports the paths given.
func importing(paths ...string) string {
	var b strings.Builder
	b.WriteString("package p\n")
	for _, p := range paths {
		fmt.Fprintf(&b, "import _ %q\n", p)
	}
	return b.String()
}

func TestImportsCanFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, target, want string
	}{
		"down":                          {"session/a.go", "example.com/m/pubsub", ""},
		"up":                            {"hub/a.go", "example.com/m/pubsub", "hub imports pubsub, which lies above it"},
		"up to the root":                {"session/a.go", "example.com/m", "session imports the public API, which lies above it"},
		"root down":                     {"a.go", "example.com/m/session", ""},
		"sideways":                      {"hub/a.go", "example.com/m/presence", "hub imports presence, which lies beside it"},
		"engine to contract":            {"broker/localbroker/a.go", "example.com/m/broker", ""},
		"contract to engine":            {"broker/a.go", "example.com/m/broker/localbroker", "one of its own rooms"},
		"engine to sibling":             {"broker/localbroker/a.go", "example.com/m/broker/natsbroker", "a sibling"},
		"transport to sibling":          {"transport/websocket/a.go", "example.com/m/transport/rest", "a sibling"},
		"within a room":                 {"transport/websocket/a.go", "example.com/m/transport/websocket/frames", ""},
		"inside a floor without rooms":  {"community/a.go", "example.com/m/community/pages", ""},
		"application to public API":     {"community/a.go", "example.com/m", ""},
		"application to identity":       {"community/a.go", "example.com/m/auth", ""},
		"application to pages":          {"community/a.go", "example.com/m/web/pages", ""},
		"application behind the API":    {"community/store/a.go", "example.com/m/hub", "an application is an outsider"},
		"application to token verifier": {"console/a.go", "example.com/m/auth/jwt", "an application is an outsider"},
		"example behind the API":        {"examples/x/a.go", "example.com/m/session", "an application is an outsider"},
		"client to server's machinery":  {"client/a.go", "example.com/m/session", "an application is an outsider"},
		"client to words":               {"client/a.go", "example.com/m/protocol", ""},
		"client to a schema version":    {"client/a.go", "example.com/m/protocol/parley/v1", ""},
		"server names engines":          {"server/a.go", "example.com/m/broker/localbroker", ""},
		"house to yard":                 {"server/a.go", "example.com/m/scenario", "never to import"},
		"yard to house":                 {"scenario/a.go", "example.com/m/broker/localbroker", ""},
		"load to words":                 {"bench/swarm/a.go", "example.com/m/protocol", ""},
		"load to the hub":               {"bench/a.go", "example.com/m/hub", "an application is an outsider"},
		"leaf stands on nothing":        {"topic/a.go", "example.com/m/internal/evloop", "It is a leaf"},
		"test in the package, up":       {"hub/a_test.go", "example.com/m/pubsub", "hub imports pubsub"},
		"test uses a suite":             {"broker/localbroker/a_test.go", "example.com/m/broker/brokertest", ""},
		"a package without a place":     {"thing/a.go", "fmt", "stands on no floor"},
		"internal without a place":      {"internal/thing/a.go", "fmt", "stands on no floor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := Imports(source(t, map[string]string{c.file: importing(c.target)}))
			if c.want == "" {
				expect(t, found)
			} else {
				expect(t, found, c.want)
			}
		})
	}
}

func TestExternalTestsMayLookUp(t *testing.T) {
	t.Parallel()
	text := "package hub_test\nimport _ \"example.com/m/pubsub\"\n"
	expect(t, Imports(source(t, map[string]string{"hub/a_test.go": text})))
}

func TestVendorImportsCanFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, target, want string
	}{
		"in its room":            {"broker/natsbroker/a.go", "github.com/nats-io/nats.go", ""},
		"outside its room":       {"broker/a.go", "github.com/nats-io/nats.go", "belongs to broker/natsbroker"},
		"gin in the root":        {"a.go", "github.com/gin-gonic/gin", ""},
		"gin below":              {"session/a.go", "github.com/gin-gonic/gin", "session imports github.com/gin-gonic/gin"},
		"gin in another room":    {"transport/websocket/a.go", "github.com/gin-gonic/gin", "transport/websocket imports"},
		"gin in an application":  {"community/web/a.go", "github.com/gin-gonic/gin", ""},
		"root is not everything": {"hub/a.go", "github.com/prometheus/client_golang/prometheus", "belongs to ., server"},
		"nobody's":               {"a.go", "github.com/x/y", "has no room yet"},
		"words, standard":        {"topic/a.go", "strings", ""},
		"words, vendor":          {"topic/a.go", "golang.org/x/text/unicode/norm", lawWords},
		"words, logging":         {"message/a.go", "log/slog", "message imports log/slog"},
		"protobuf in protocol":   {"protocol/a.go", "google.golang.org/protobuf/proto", ""},
		"protobuf elsewhere":     {"message/a.go", "google.golang.org/protobuf/proto", lawWords},
		"protobuf in a session":  {"session/a.go", "google.golang.org/protobuf/proto", "belongs to protocol"},
		"a prefix is a path":     {"transport/grpc/a.go", "google.golang.org/grpcx", "has no room yet"},
		"test tools in a test":   {"topic/a_test.go", "pgregory.net/rapid", ""},
		"test tools in a suite":  {"broker/brokertest/a.go", "go.uber.org/goleak", ""},
		"test tools elsewhere":   {"hub/a.go", "go.uber.org/goleak", "has no room yet"},
		"the Go project's own":   {"session/a.go", "golang.org/x/sync/errgroup", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := VendorImports(source(t, map[string]string{c.file: importing(c.target)}))
			if c.want == "" {
				expect(t, found)
			} else {
				expect(t, found, c.want)
			}
		})
	}
}

func TestSizesCanFail(t *testing.T) {
	t.Parallel()
	long := func(body int) string {
		return "package p\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", body) + "}\n"
	}
	comment := func(lines int) string { return "package p\n" + strings.Repeat("// x\n", lines-1) }

	expect(t, Sizes(source(t, map[string]string{"hub/a.go": comment(hardFile)})))
	expect(t, Sizes(source(t, map[string]string{"hub/a.go": comment(hardFile + 1)})), "601 lines, allowed are 600")
	expect(t, Sizes(source(t, map[string]string{"hub/a.go": long(hardFunction - 2)})))
	expect(t, Sizes(source(t, map[string]string{"hub/a.go": long(hardFunction - 1)})), "f has 91 lines, allowed are 90")
	expect(t, SoftSizes(source(t, map[string]string{"hub/a.go": long(softFunction - 1)})), "f has 46 lines, allowed are 45")
	expect(t, Sizes(source(t, map[string]string{"cmd/parley/main.go": comment(61)})), "61 lines, allowed are 60")
	expect(t, Sizes(source(t, map[string]string{"protocol/a.pb.go": "// Code generated by x. DO NOT EDIT.\n\n" + comment(700)})))

	many := map[string]string{}
	for i := range packageFiles {
		many[fmt.Sprintf("hub/f%d.go", i)] = comment(200)
		many[fmt.Sprintf("hub/f%d_test.go", i)] = comment(200)
	}
	expect(t, Sizes(source(t, many)))
	many["hub/more.go"] = comment(101)
	expect(t, Sizes(source(t, many)), "2501 lines in 13 files")
}

func TestNamesCanFail(t *testing.T) {
	t.Parallel()
	expect(t, Names(source(t, map[string]string{"session/utils/a.go": "package p"})), `"utils" says nothing`)
	expect(t, Names(source(t, map[string]string{"pkg/hub/a.go": "package p"})), `"pkg" says nothing`)
	expect(t, Names(source(t, map[string]string{"broker/nats/a.go": "package p"})), "call it natsbroker")
	expect(t, Names(source(t, map[string]string{
		"broker/natsbroker/a.go": "package p", "broker/brokertest/a.go": "package p", "store/sqlstore/a.go": "package p",
	})))
}

func TestInterfacesCanFail(t *testing.T) {
	t.Parallel()
	const seven = "package p\ntype I interface { A(); B(); C(); D(); E(); F(); G() }\n"
	expect(t, Interfaces(source(t, map[string]string{"hub/a.go": seven})))
	expect(t, Interfaces(source(t, map[string]string{"hub/a.go": seven + "type J interface { I; H() }\n"})), "8 methods")
	expect(t, Interfaces(source(t, map[string]string{
		"hub/a.go":     seven,
		"session/a.go": "package p\nimport \"example.com/m/hub\"\ntype J interface { hub.I; H() }\n",
	})), "session/a.go:3: 8 methods")
	expect(t, Interfaces(source(t, map[string]string{
		"hub/a.go": "package p\nfunc f(x interface { A(); B(); C(); D(); E(); F(); G(); H() }) {}\n",
	})), "8 methods")
	expect(t, Interfaces(source(t, map[string]string{"hub/a.go": "package p\ntype N interface { ~int | ~string }\n"})))
}

func TestHabitsCanFail(t *testing.T) {
	t.Parallel()
	expect(t, Habits(source(t, map[string]string{"hub/a.go": "package p\nfunc init() {}\n"})), "func init")
	expect(t, Habits(source(t, map[string]string{"hub/a.go": "package p\ntype t int\nfunc (t) init() {}\n"})))
	const sleep = "package p\nimport %s\"time\"\nfunc f() { %s.Sleep(1) }\n"
	expect(t, Habits(source(t, map[string]string{"hub/a.go": fmt.Sprintf(sleep, "", "time")})), "hub/a.go:3: time.Sleep")
	expect(t, Habits(source(t, map[string]string{"hub/a_test.go": fmt.Sprintf(sleep, "clock ", "clock")})), "time.Sleep")
	expect(t, Habits(source(t, map[string]string{
		"hub/a.go": "package p\ntype c struct{}\nfunc (c) Sleep(int) {}\nfunc f() { var time c; time.Sleep(1) }\n",
	})))
}

func TestLeaksCanFail(t *testing.T) {
	t.Parallel()
	const counts = "package p\nimport _ \"go.uber.org/goleak\"\n"
	const starts = "package p\nfunc f() { go f() }\n"
	const groups = "package p\nimport \"sync\"\nfunc f() { var g sync.WaitGroup; g.Go(f) }\n"
	expect(t, Leaks(source(t, map[string]string{"hub/a.go": starts})), "hub starts a goroutine")
	expect(t, Leaks(source(t, map[string]string{"hub/a.go": groups})), "hub/a.go:3: hub starts a goroutine")
	expect(t, Leaks(source(t, map[string]string{"hub/a.go": starts, "hub/a_test.go": counts})))
	expect(t, Leaks(source(t, map[string]string{"hub/a_test.go": starts})))
	expect(t, Leaks(source(t, map[string]string{"broker/brokertest/a.go": starts})))
	expect(t, Leaks(source(t, map[string]string{"cmd/parley/main.go": "package main\nfunc main() { go main() }\n"})))
}
