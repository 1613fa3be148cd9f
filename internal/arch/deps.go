package arch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Forbidden lists what must never come along with the public API: somebody who mounts Parley into
// an application gets neither an engine nor a database nor a second transport with it.
func Forbidden() []string {
	return []string{
		"github.com/nats-io", "github.com/redis", "github.com/twmb", "github.com/segmentio/kafka-go", "github.com/IBM/sarama",
		"github.com/cockroachdb/pebble", "database/sql", "github.com/uptrace", "modernc.org", "github.com/jackc", "github.com/pressly",
		"google.golang.org/grpc", "connectrpc.com", "github.com/eclipse", "github.com/mochi-mqtt",
		"github.com/spf13", "github.com/knadh",
	}
}

// A Dependency is a package that comes along with another, and the module it is from (empty for
// the standard library).
type Dependency struct{ Package, Module string }

// Dependencies lists everything that the package in dir imports, directly or not, as built for
// linux/amd64 without cgo so that every machine gets the same answer.
func Dependencies(ctx context.Context, dir string) ([]Dependency, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing dependencies: %w: %s", err, complaint.String())
	}
	var deps []Dependency
	for line := range strings.Lines(string(out)) {
		pkg, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		deps = append(deps, Dependency{pkg, module})
	}
	return deps, nil
}

// Burdens checks a dependency list against Forbidden.
func Burdens(deps []Dependency) []Violation {
	var found []Violation
	for _, d := range deps {
		exempt := d.Package == "database/sql/driver" // interfaces that value types implement, no database
		if !exempt && slices.ContainsFunc(Forbidden(), func(f string) bool { return matches(d.Package, f) }) {
			found = append(found, Violation{
				"the public API is light", d.Package, "comes along with the root package; go list -deps . and go mod why say by whom",
				"Somebody who adds Parley to a Gin application must not get another database, broker or transport with it.",
			})
		}
	}
	return found
}

// Modules gives the third-party modules of a dependency list, sorted, without versions: a new
// version of a module is no news, a new module is.
func Modules(deps []Dependency, own string) []string {
	var modules []string
	for _, d := range deps {
		if d.Module != "" && d.Module != own {
			modules = append(modules, d.Module)
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}
