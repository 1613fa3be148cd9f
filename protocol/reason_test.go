package protocol_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/parleyhq/parley/protocol"
)

func TestCloseCodesSayWhetherToComeBack(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range protocol.Reasons() {
		if seen[r.Code] {
			t.Errorf("%s stands in the table twice", r.Code)
		}
		seen[r.Code] = true
		comesBack := r.Close >= 4000 && r.Close < 4500
		stays := r.Close >= 4500 && r.Close < 5000
		switch {
		case r.Close < 4000: // of RFC 6455
		case !comesBack && !stays:
			t.Errorf("%s: close code %d is outside of both ranges", r.Code, r.Close)
		case comesBack == (r.Retry == protocol.RetryNever):
			t.Errorf("%s: close code %d, but retry %s", r.Code, r.Close, r.Retry)
		}
	}
}

func TestDocumentedReasons(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "<!-- reasons:")
	if !ok {
		t.Fatal("docs/protocol.md has lost the table of reasons")
	}
	var want strings.Builder
	for _, r := range protocol.Reasons() {
		fmt.Fprintf(&want, "| `%s` | %d | %d | %s |\n", r.Code, r.HTTP, r.Close, r.Retry)
	}
	_, got, _ := strings.Cut(table, "|---|---|---|---|\n")
	if got, _, _ = strings.Cut(got+"\n", "\n\n"); got+"\n" != want.String() {
		t.Errorf("docs/protocol.md says\n%s\nthe code says\n%s", got, want.String())
	}
}
