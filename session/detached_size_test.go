package session

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Sessions with very many subscriptions push others out rather than fill the
// memory, and what is forgotten is no longer counted.
func TestDetachedSessionsAreBoundedInBytes(t *testing.T) {
	d := detached{limit: 10_000, window: time.Minute}
	now := time.Unix(1_800_000_000, 0)
	var large record
	large.user = "u"
	for range 1000 {
		large.subs = append(large.subs, saved{filter: strings.Repeat("x", 480)})
	}
	for i := range 1000 {
		d.put(fmt.Sprint(i), large, now)
		if d.bytes > maxDetachedBytes {
			t.Fatalf("%d bytes after %d sessions", d.bytes, i)
		}
	}
	if n := d.len(); n < 50 || n > 200 {
		t.Errorf("%d are kept", n)
	}
	if _, ok := d.take("999", "u", now); !ok {
		t.Error("the newest is not there")
	}
	d.dropUser("u")
	if d.bytes != 0 || d.len() != 0 {
		t.Errorf("%d bytes, %d sessions are left", d.bytes, d.len())
	}
}
