package browsertest

import (
	"path/filepath"
	"slices"
	"testing"
)

// unreadOf is the count beside a room in the navigation, "" when it is hidden.
const unreadOf = `(document.querySelector('.nav [data-room="lobby"] [data-unread]:not([hidden])')?.textContent.trim() ?? '')`

// A server that is replaced loses the topics' history in memory: the open page notices and asks
// the database, and what was written meanwhile is sent.
func TestServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "community.db")
	old := openTown(t, path)
	wire := lay(t, old.address())
	ann := openBrowser(t, "ann", wire.url())
	ann.signUp("/chat/lobby")
	ann.live()
	ann.fill("#composer", "before the restart")
	ann.do(ctrlEnter())
	ann.until(pendings + ` === 0 && ` + bodies + `.includes('before the restart')`)

	wire.sever()
	old.close(t)
	ann.until(`document.documentElement.dataset.live !== 'connected'`)
	ann.fill("#composer", "while it was away")
	ann.do(ctrlEnter())
	next := openTown(t, path)
	ben := openBrowser(t, "ben", next.http.URL)
	ben.signUp("/chat/lobby")
	ben.live()
	ben.fill("#composer", "ben was first")
	ben.do(ctrlEnter())
	ben.until(pendings + ` === 0 && ` + bodies + `.includes('ben was first')`)
	wire.mendTo(next.address())

	ann.until(bodies + `.includes('ben was first') && ` + pendings + ` === 0`)
	ben.until(bodies + `.includes('while it was away')`)
	hers, his := ask[[]string](ann, bodies), ask[[]string](ben, bodies)
	want := []string{"before the restart", "ben was first", "while it was away"}
	if !slices.Equal(hers, his) || len(hers) < 3 || !slices.Equal(hers[len(hers)-3:], want) {
		t.Errorf("after the restart\nann %q\nben %q", hers, his)
	}
}

func TestUnreadAndDivider(t *testing.T) {
	w := newTown(t)
	ann, ben := openBrowser(t, "ann", w.http.URL), openBrowser(t, "ben", w.http.URL)
	ben.signUp("/chat/lobby")
	ben.live()
	// Looking at a room for a second joins it.
	ben.until(`performance.now() > 2500`)
	ben.open("/")
	ben.live()
	ann.signUp("/chat/lobby")
	ann.live()
	for _, text := range []string{"one for ben", "@ben, two for you"} {
		ann.fill("#composer", text)
		ann.do(ctrlEnter())
	}
	ann.until(pendings + ` === 0`)
	ben.until(unreadOf + ` === '2'`)
	ben.until(`document.title.startsWith('(1) ')`)
	ben.shoot("unread")
	ben.open("/chat/lobby")
	ben.live()
	ben.until(`document.querySelector('.divider')?.nextElementSibling?.textContent.includes('one for ben')`)
	ben.shoot("divider")
	ben.until(unreadOf + ` === '' && !document.title.startsWith('(')`)
	if !ask[bool](ben, `!!document.querySelector('.divider')`) {
		t.Error("the divider went away while ben reads")
	}
	ben.open("/")
	ben.live()
	if left := ask[string](ben, unreadOf); left != "" {
		t.Errorf("after reading, %s unread", left)
	}
	ann.clean()
	ben.clean()
}
