package arch

import (
	"path"
	"regexp"
	"strings"
)

// makers lists functions whose result nothing changes after it is made, so that a package-level
// variable may hold it.
func makers() []string {
	return []string{
		"errors.New", "fmt.Errorf",
		"regexp.MustCompile", "template.Must", "strings.NewReplacer", "strings.Repeat", "bytes.Repeat",
		"time.Date", "time.Unix", "netip.MustParsePrefix", "netip.MustParseAddr",
		"reflect.TypeFor", "reflect.TypeOf", "language.MustParse", "language.NewMatcher",
		"base64.NewEncoding", "base32.NewEncoding", "binary.Size",
		"sync.OnceValue", "sync.OnceValues", // a constant that is worked out when first asked for
		"crc32.MakeTable", "big.NewInt",
	}
}

// excused lists the few variables that are allowed in spite of the law, each with its reason.
func excused(dir, name string) bool {
	_, ok := map[string]string{}[dir+"."+name]
	return ok
}

var version = regexp.MustCompile(`^v[0-9]+$`)

// lastElement guesses the name a package is imported under: the last element of its path, without
// a major version and without the go- that some repositories put before it.
func lastElement(importPath string) string {
	base := path.Base(importPath)
	if version.MatchString(base) {
		base = path.Base(path.Dir(importPath))
	}
	return strings.TrimPrefix(base, "go-")
}
