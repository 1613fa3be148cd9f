package receipts

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/parleyhq/parley/store"
)

// hooks tell the application, beside everything else.
type hooks struct {
	log  *slog.Logger
	work chan struct{}

	mu      sync.Mutex
	list    []func(store.Receipt)
	changed map[person]store.Receipt
}

type person struct{ topic, user string }

func (k *hooks) add(f func(store.Receipt)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, f)
}

func (k *hooks) note(r store.Receipt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) == 0 {
		return
	}
	who := person{r.Topic, r.User}
	if earlier, ok := k.changed[who]; ok && earlier.Epoch == r.Epoch {
		r.Delivered, r.Read = max(r.Delivered, earlier.Delivered), max(r.Read, earlier.Read)
	}
	k.changed[who] = r
	select {
	case k.work <- struct{}{}:
	default:
	}
}

func (k *hooks) run(ctx context.Context) {
	for {
		select {
		case <-k.work:
			k.call()
		case <-ctx.Done():
			k.call()
			return
		}
	}
}

func (k *hooks) call() {
	k.mu.Lock()
	list, changed := k.list, k.changed
	k.changed = make(map[person]store.Receipt)
	k.mu.Unlock()
	for _, r := range changed {
		for _, f := range list {
			k.hook(f, r)
		}
	}
}

func (k *hooks) hook(f func(store.Receipt), r store.Receipt) {
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("a hook for receipts panicked", "topic", r.Topic, "user", r.User, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	f(r)
}
