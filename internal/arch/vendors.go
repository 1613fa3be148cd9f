package arch

import (
	"fmt"
	"slices"
	"strings"
)

// A Vendor is a family of third-party modules and the folders that may import it.
type Vendor struct {
	Prefix  string // of the import path
	Rooms   []string
	Because string
}

// Vendors lists every third-party module that code of this project imports. One that is not
// listed is refused: to bring something in means to say where it may be used.
func Vendors() []Vendor {
	const (
		oneRoom = "Whoever does not use this engine must not depend on it, and replacing it must touch one folder."
		gin     = "Gin is how users mount Parley; the floors below must serve other transports too."
		bricks  = "The house needs one of these, in one place."
		metrics = "Lower floors count in plain numbers or in small interfaces; who measures is decided at the top."
		tables  = "Tables belong to the applications; messages are stored by engines."
		config  = "Configuration is read once, at the top; below it is options and arguments."
	)
	applications := []string{"community", "console"}
	return []Vendor{
		{"github.com/gin-gonic/gin", []string{".", "parleytest", "transport/rest", "server", "community", "console", "examples"}, gin},
		{"github.com/gobwas/", []string{"transport/websocket", "client", "parleytest"}, bricks},
		{"github.com/klauspost/compress/", []string{"transport/websocket"}, bricks},
		{"github.com/go-playground/validator/v10", []string{".", "community", "console"}, bricks},
		{"github.com/golang-jwt/jwt/v5", []string{"auth/jwt"}, oneRoom},
		{"github.com/MicahParks/keyfunc/v3", []string{"auth/jwt"}, oneRoom},
		{"github.com/casbin/", []string{"auth/rbac"}, oneRoom},
		{"github.com/prometheus/", []string{".", "server"}, metrics},
		{"github.com/oklog/ulid/v2", []string{".", "session", "pubsub", "community"}, bricks},
		{"github.com/google/cel-go", []string{"routing"}, oneRoom},
		{"cel.dev/", []string{"routing"}, oneRoom},
		{"github.com/failsafe-go/", []string{"routing"}, oneRoom},
		{"github.com/nats-io/", []string{"broker/natsbroker", "store/natsstore"}, oneRoom},
		{"github.com/redis/", []string{"broker/redisbroker", "store/redisstore"}, oneRoom},
		{"github.com/twmb/", []string{"broker/kafkabroker"}, oneRoom},
		{"github.com/cockroachdb/pebble", []string{"store/pebblestore"}, oneRoom},
		{"google.golang.org/grpc", []string{"transport/grpc"}, oneRoom},
		{"google.golang.org/protobuf", []string{"protocol", "transport/grpc"}, "The wire format is known to protocol alone; everybody else holds its types."},
		{"github.com/uptrace/bun", applications, tables},
		{"github.com/pressly/goose/v3", applications, tables},
		{"modernc.org/sqlite", applications, tables},
		{"github.com/jackc/pgx/v5", applications, tables},
		{"github.com/yuin/goldmark", []string{"community"}, bricks},
		{"github.com/microcosm-cc/bluemonday", []string{"community"}, bricks},
		{"github.com/knadh/koanf/", []string{"server"}, config},
		{"go.yaml.in/yaml/v3", []string{"server"}, "Configuration is read once, at the top; its parser also tells the line of a mistake."},
		{"github.com/fsnotify/fsnotify", []string{"server"}, config},
		{"github.com/spf13/cobra", []string{"cmd/parley"}, "The command line is the outermost skin."},
		{"github.com/HdrHistogram/", []string{"bench"}, "Measuring tools measure from outside."},
		{"golang.org/x/crypto", []string{"auth", "community", "console"}, bricks},
		{"golang.org/x/", []string{"*"}, "The Go project's own extensions may be used wherever the standard library may."},
	}
}

// TestVendors lists modules that only tests may import, from any folder.
func TestVendors() []string {
	return []string{
		"go.uber.org/goleak", "pgregory.net/rapid", "github.com/rogpeppe/go-internal",
		"github.com/anishathalye/porcupine", "github.com/chromedp/", "google.golang.org/protobuf",
		"github.com/gobwas/", "github.com/gin-gonic/gin", "github.com/prometheus/client_golang",
		"github.com/mochi-mqtt/", "github.com/eclipse/", // other people's MQTT, to be held against ours
	}
}

// VendorImports checks that third-party modules stay where Vendors puts them, and that the words of
// the system (topic, message, protocol) use the standard library only.
func VendorImports(t *Tree) []Violation {
	var found []Violation
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				name := importPath(spec)
				if _, own := t.local(name); own {
					continue
				}
				if v := t.judgeVendor(p, f, name); v != nil {
					v.Where = t.at(spec)
					found = append(found, *v)
				}
			}
		}
	}
	return found
}

func (t *Tree) judgeVendor(p *Package, f *File, name string) *Violation {
	const law = "a vendor stays in its room"
	if standard(name) {
		return judgeWord(p, f, name)
	}
	inTest := f.Test || suite(p.Dir)
	if inTest && slices.ContainsFunc(TestVendors(), func(v string) bool { return matches(name, v) }) {
		return nil
	}
	schema := under(p.Dir, "protocol") && matches(name, "google.golang.org/protobuf")
	if word(p.Dir) && !f.Test && !schema {
		return &Violation{Law: lawWords, What: fmt.Sprintf("%s imports %s", p.Dir, name), Why: whyWords}
	}
	for _, v := range Vendors() {
		if !matches(name, v.Prefix) {
			continue
		}
		if slices.ContainsFunc(v.Rooms, func(r string) bool { return r == "*" || r == p.Dir || r != "." && under(p.Dir, r) }) {
			return nil
		}
		return &Violation{
			Law:  law,
			What: fmt.Sprintf("%s imports %s, which belongs to %s", shown(p.Dir), name, strings.Join(v.Rooms, ", ")),
			Why:  v.Because,
		}
	}
	return &Violation{
		Law:  law,
		What: fmt.Sprintf("%s imports %s, which has no room yet; name its place and the reason in internal/arch/vendors.go", shown(p.Dir), name),
		Why:  "Every dependency is somebody's work for years: bringing one in is a decision to write down.",
	}
}

const (
	lawWords = "words need no tools"
	whyWords = "topic, message and protocol are the words everybody shares, clients too: " +
		"they use the standard library (protocol also protobuf) and neither log, measure nor read configuration."
)

func word(dir string) bool {
	return under(dir, "topic") || under(dir, "message") || under(dir, "protocol")
}

// judgeWord refuses the parts of the standard library that log, measure or configure.
func judgeWord(p *Package, f *File, name string) *Violation {
	if !word(p.Dir) || f.Test {
		return nil
	}
	switch name {
	case "log", "log/slog", "log/syslog", "expvar", "flag", "net/http", "database/sql", "os":
		return &Violation{Law: lawWords, What: fmt.Sprintf("%s imports %s", p.Dir, name), Why: whyWords}
	}
	return nil
}

// standard tells an import path of the standard library: its first element has no dot.
func standard(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".")
}

func matches(name, prefix string) bool {
	return name == prefix || strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/")
}
