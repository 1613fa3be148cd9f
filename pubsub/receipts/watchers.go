package receipts

import (
	"sync"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/topic"
)

// Watcher is one subscription whose receiver wants to know.
type Watcher struct {
	Filter  topic.Filter
	Session string // is not told alone what it did itself
	Deliver func(*hub.Delivery)
}

// watchers are those who want to know, by filter.
type watchers struct {
	mu    sync.RWMutex
	exact map[string]map[*Watcher]struct{}
	wild  topic.Tree[map[*Watcher]struct{}]
}

func (ws *watchers) add(w *Watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.Filter.Wildcard() {
		set, ok := ws.wild.Get(w.Filter)
		if !ok {
			set = make(map[*Watcher]struct{})
			ws.wild.Set(w.Filter, set)
		}
		set[w] = struct{}{}
		return
	}
	if ws.exact == nil {
		ws.exact = make(map[string]map[*Watcher]struct{})
	}
	if ws.exact[string(w.Filter)] == nil {
		ws.exact[string(w.Filter)] = make(map[*Watcher]struct{})
	}
	ws.exact[string(w.Filter)][w] = struct{}{}
}

func (ws *watchers) remove(w *Watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if !w.Filter.Wildcard() {
		set := ws.exact[string(w.Filter)]
		if delete(set, w); len(set) == 0 {
			delete(ws.exact, string(w.Filter))
		}
		return
	}
	if set, ok := ws.wild.Get(w.Filter); ok {
		if delete(set, w); len(set) == 0 {
			ws.wild.Delete(w.Filter)
		}
	}
}

// of returns one watcher of each session that wants to know about a topic.
func (ws *watchers) of(name string) map[string]*Watcher {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	found := make(map[string]*Watcher)
	for w := range ws.exact[name] {
		found[w.Session] = w
	}
	if ws.wild.Len() > 0 {
		ws.wild.Match(topic.Name(name), func(set map[*Watcher]struct{}) bool {
			for w := range set {
				found[w.Session] = w
			}
			return true
		})
	}
	return found
}
