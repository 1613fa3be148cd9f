// Package receipts keeps how far people have got in topics, and tells the
// others: what has reached them, and what they have read. Both are cursors,
// so a person costs the same however much is published, and what is told a few
// times a second is always the latest.
package receipts

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

// pause is how long news wait for others of their topic.
const pause = 250 * time.Millisecond

// maxPeople bounds the people of all halls that are remembered.
const maxPeople = 1 << 18

// Config is what a Book is made of.
type Config struct {
	Store store.Receipts
	Mode  func(topic.Name) Mode
	// Position returns that of a topic's newest message.
	Position func(context.Context, topic.Name) (message.Position, error)
	Log      *slog.Logger
}

// Book keeps receipts. Methods may be called concurrently.
type Book struct {
	Config
	watchers watchers
	work     chan struct{} // of capacity 1
	hooks    hooks

	mu     sync.Mutex
	moving map[string]map[string]move // topic, user: what has not been looked at
	halls  map[string]*hall           // changed by who runs alone
	people int                        // of halls
}

// move is how far somebody has got of late.
type move struct {
	epoch string
	to    cursors
	// session did it; "" when several did.
	session string
}

// New returns a Book. Run must be called.
func New(c Config) *Book {
	return &Book{
		Config: c, work: make(chan struct{}, 1), hooks: hooks{log: c.Log, work: make(chan struct{}, 1), changed: make(map[person]store.Receipt)},
		moving: make(map[string]map[string]move), halls: make(map[string]*hall),
	}
}

// Delivered notes that everything up to a position of a topic has reached a
// session of a person.
func (b *Book) Delivered(name topic.Name, at message.Position, user, session string) {
	b.move(name, user, move{epoch: at.Epoch, to: cursors{delivered: at.Seq}, session: session})
}

// Read notes that a person has read everything up to a position.
func (b *Book) Read(name topic.Name, at message.Position, user, session string) {
	b.move(name, user, move{epoch: at.Epoch, to: cursors{at.Seq, at.Seq}, session: session})
}

func (b *Book) move(name topic.Name, user string, m move) {
	if user == "" || b.Mode(name) == None {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.moving[string(name)]
	if of == nil {
		of = make(map[string]move)
		b.moving[string(name)] = of
	}
	earlier, ok := of[user]
	if ok && earlier.epoch == m.epoch {
		m.to = cursors{max(m.to.delivered, earlier.to.delivered), max(m.to.read, earlier.to.read)}
		if m.session != earlier.session {
			m.session = ""
		}
	}
	of[user] = m
	select {
	case b.work <- struct{}{}:
	default:
	}
}

// Watch begins telling w, and Unwatch ends it.
func (b *Book) Watch(w *Watcher) { b.watchers.add(w) }

// Unwatch is described at Watch.
func (b *Book) Unwatch(w *Watcher) { b.watchers.remove(w) }

// List returns how far people have got in a topic as it is told: who, or how
// many, or nothing.
func (b *Book) List(ctx context.Context, name topic.Name) ([]*parleyv1.Receipt, error) {
	h, err := b.snapshot(ctx, name)
	if err != nil {
		return nil, err
	}
	return h.list(b.Mode(name)), nil
}

// People returns how far people have got in a topic, whatever is told of it;
// empty when they are more than MaxCounted.
func (b *Book) People(ctx context.Context, name topic.Name) ([]store.Receipt, error) {
	h, err := b.snapshot(ctx, name)
	if err != nil {
		return nil, err
	}
	out := make([]store.Receipt, 0, len(h.people))
	for user := range h.people {
		out = append(out, h.receipt(user))
	}
	slices.SortFunc(out, func(a, b store.Receipt) int { return strings.Compare(a.User, b.User) })
	return out, nil
}

// snapshot returns the hall of a topic with all that is known by now.
func (b *Book) snapshot(ctx context.Context, name topic.Name) (*hall, error) {
	h, err := b.load(ctx, name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.halls[string(name)]; known != nil && known.epoch == h.epoch {
		if known.large {
			return known, nil // it has nothing that changes
		}
		for user, c := range known.people {
			h.advance(user, c)
		}
	}
	for user, m := range b.moving[string(name)] {
		if m.epoch == h.epoch {
			h.advance(user, m.to)
		}
	}
	return h, nil
}

// load reads the hall of a topic.
func (b *Book) load(ctx context.Context, name topic.Name) (*hall, error) {
	at, err := b.Position(ctx, name)
	if err != nil {
		return nil, err
	}
	list, all, err := b.Store.Receipts(ctx, string(name), "", MaxCounted+1)
	if err != nil {
		return nil, err
	}
	if all > MaxCounted {
		return &hall{topic: string(name), epoch: at.Epoch, large: true}, nil
	}
	return newHall(string(name), at.Epoch, list), nil
}

// OnReceipt adds a hook that is called when somebody has got further, one at a
// time, with the latest only when it takes its time.
func (b *Book) OnReceipt(f func(store.Receipt)) { b.hooks.add(f) }

// Run tells and stores what there is until ctx ends, and stores what is left
// then.
func (b *Book) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	last, stop := context.WithCancel(context.WithoutCancel(ctx)) // the hooks hear of what is settled at the end
	defer stop()
	running.Go(func() { b.hooks.run(last) })
	timer := time.NewTimer(pause)
	timer.Stop()
	defer timer.Stop()
	for armed := false; ; {
		select {
		case <-b.work:
			if !armed {
				timer.Reset(pause)
				armed = true
			}
		case <-timer.C:
			armed = false
			b.settle(ctx)
		case <-ctx.Done():
			b.settle(context.WithoutCancel(ctx))
			return
		}
	}
}

// settle looks at everything that moved.
func (b *Book) settle(ctx context.Context) {
	b.mu.Lock()
	moving := b.moving
	b.moving = make(map[string]map[string]move)
	b.mu.Unlock()
	var stored []store.Receipt
	for name, moves := range moving {
		h, err := b.hall(ctx, topic.Name(name), moves)
		if err != nil {
			b.Log.Error("receipts could not be read", "topic", name, "error", err)
			continue
		}
		stored = append(stored, b.advance(h, moves)...)
	}
	if len(stored) > 0 {
		b.Store.Advance(stored)
	}
	b.giveUp()
}

// hall returns that of a topic, which some of the moves belong to: a new one
// when the topic's history has begun anew.
func (b *Book) hall(ctx context.Context, name topic.Name, moves map[string]move) (*hall, error) {
	b.mu.Lock()
	h := b.halls[string(name)]
	b.mu.Unlock()
	if h != nil {
		same := true
		for _, m := range moves {
			same = same && m.epoch == h.epoch
		}
		if same {
			return h, nil
		}
	}
	fresh, err := b.load(ctx, name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if h != nil {
		if h.epoch == fresh.epoch {
			return h, nil
		}
		b.people -= len(h.people)
	}
	b.halls[string(name)] = fresh
	b.people += len(fresh.people)
	return fresh, nil
}

// advance moves people on, tells whom it concerns, and returns what is to be
// stored.
func (b *Book) advance(h *hall, moves map[string]move) []store.Receipt {
	var moved []store.Receipt
	sessions := make(map[string]string, len(moves)) // by user
	b.mu.Lock()
	before := len(h.people)
	h.used = true
	for user, m := range moves {
		if m.epoch != h.epoch {
			continue
		}
		switch {
		case h.advance(user, m.to):
			sessions[user] = m.session
			moved = append(moved, h.receipt(user))
			b.hooks.note(h.receipt(user))
		case h.large: // nobody is told, but the application may keep more than we do
			b.hooks.note(store.Receipt{Topic: h.topic, User: user, Epoch: h.epoch, Delivered: m.to.delivered, Read: m.to.read})
		}
	}
	b.people += len(h.people) - before
	if h.large {
		moved = nil
	}
	events := h.events(b.Mode(topic.Name(h.topic)), sessions)
	b.mu.Unlock()
	b.tell(h.topic, events)
	return moved
}

func (b *Book) tell(name string, events []news) {
	if len(events) == 0 {
		return
	}
	to := b.watchers.of(name)
	for _, e := range events {
		d := &hub.Delivery{Event: &parleyv1.Reply{Reply: &parleyv1.Reply_Receipt{Receipt: e.Receipt}}, Droppable: true}
		for session, w := range to {
			if session != e.session || session == "" {
				w.Deliver(d)
			}
		}
	}
}

// giveUp forgets halls when there are too many people in them: those that were
// not used lately first. What they hold is stored.
func (b *Book) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for unused := true; b.people > maxPeople; unused = false {
		for name, h := range b.halls {
			if b.people > maxPeople && !(unused && h.used) {
				delete(b.halls, name)
				b.people -= len(h.people)
			}
			h.used = false
		}
	}
}
