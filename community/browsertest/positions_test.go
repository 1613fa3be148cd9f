package browsertest

import (
	"fmt"
	"slices"
	"testing"
)

// follow handles a topic in the page, with the position kept in the browser.
const follow = `(import('/sdk/parley.js').then(({ connect, indexedPositions }) => {
	window.got = [];
	window.second = connect('/ws');
	window.work = second.process('public/exact', (m) => { got.push(m.payload); }, { since: { seq: 0 }, store: indexedPositions('exact') });
	return work.ready;
}).then(() => { window.following = true; }), true)`

// Work whose position the browser keeps takes effect once, over reloads.
func TestPositionsOutliveThePage(t *testing.T) {
	w := newTown(t)
	ann := openBrowser(t, "ann", w.http.URL)
	ann.signUp("/")
	publish := func(n int) {
		t.Helper()
		if _, err := w.live.Publish(t.Context(), "public/exact", "number", n); err != nil {
			t.Fatal(err)
		}
	}
	number := 0
	for _, want := range [][]int{{1, 2, 3}, {4, 5}, {6}} {
		ann.open("/")
		publish(want[0]) // while nobody follows
		ask[bool](ann, follow)
		ann.until(`window.following === true`)
		for _, n := range want[1:] {
			publish(n)
		}
		number += len(want)
		ann.until(fmt.Sprintf(`got.at(-1) === %d`, number))
		if got := ask[[]int](ann, `got`); !slices.Equal(got, want) {
			t.Errorf("handled %v, want %v", got, want)
		}
		// The position is stored behind the work.
		ann.until(fmt.Sprintf(`(import('/sdk/parley.js').then(async ({ indexedPositions }) => {
			window.stored = (await indexedPositions('exact').load('public/exact'))?.seq;
		}), window.stored === %d)`, number))
	}
	ann.clean()
}
