package session

import (
	"testing"
	"unsafe"
)

// A node holds very many sessions, most of which do nothing: what only some
// need belongs behind a pointer. 288 is a size class of the allocator.
func TestSessionsAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); unsafe.Sizeof(uintptr(0)) == 8 && size > 288 {
		t.Errorf("a session takes %d bytes", size)
	}
}
