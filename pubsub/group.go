package pubsub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/broker"
	"github.com/parleyhq/parley/hub"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/pubsub/group"
	"github.com/parleyhq/parley/store"
	"github.com/parleyhq/parley/topic"
)

const (
	// groupAttempts is how many members get a message before it is a dead letter.
	groupAttempts = 5
	// groupWindow is how far a group may be ahead of the oldest message that is
	// not dealt with.
	groupWindow = 4096
	// groupSave is how soon it is stored how far a group has got, groupTouch how
	// often that it is there. groupLinger is how long it stays in memory without
	// members, groupExpiry in the store.
	groupSave   = 200 * time.Millisecond
	groupTouch  = time.Hour
	groupLinger = time.Minute
	groupExpiry = 7 * 24 * time.Hour
)

// DeadPrefix begins the names of the topics where dead letters are: messages
// of a group that no member could deal with, as $dead/group/topic. They behave
// as the topic they come from.
const DeadPrefix = "$dead/"

// groups are the groups that have members on this node, or had a moment ago.
type groups struct {
	mu     sync.Mutex
	byKey  map[string]*consumers
	closed bool
}

// consumers are the members of one group for one filter. What they share comes
// through a feed of its own, whose receiver this is.
type consumers struct {
	s         *Service
	name, key string
	filter    topic.Filter
	opened    sync.Once
	failed    error
	source    *Feed

	// Guarded by the lock of the service's groups.
	users  int
	linger *time.Timer
	over   chan struct{} // set when it ends, closed when it has

	mu     sync.Mutex // taken after the source's
	group  *group.Group
	feeds  map[*Feed]struct{} // of members
	wake   func()             // of the source, which waits for room
	queued bool               // known to the readers
	saver  *time.Timer
	soon   bool // it is to save soon
	ended  bool
}

// seat is a member's feed in its group.
type seat struct {
	group.Member

	in *consumers
}

// openMember opens a feed for a member of a group.
func (s *Service) openMember(ctx context.Context, r Request, name string, filter topic.Filter) (*Feed, Start, error) {
	in, err := s.groups.enter(ctx, s, name, filter)
	if err != nil {
		return nil, Start{}, brokerError(err)
	}
	f := &Feed{s: s, receiver: r.Receiver, filter: r.Filter, qos: uint8(min(r.QoS, 1))}
	f.seat = &seat{Member: group.Member{Receiver: r.Receiver, Session: r.Session}, in: in}
	if r.QoS > 0 {
		f.seat.Window = s.window
	}
	return f, Start{Recovered: true, QoS: uint32(f.qos)}, nil
}

// enter returns a group that the caller uses until it calls leave.
func (gs *groups) enter(ctx context.Context, s *Service, name string, filter topic.Filter) (*consumers, error) {
	key := name + "/" + string(filter)
	for {
		gs.mu.Lock()
		if gs.closed {
			gs.mu.Unlock()
			return nil, broker.ErrClosed
		}
		c := gs.byKey[key]
		if c != nil && c.over != nil {
			over := c.over
			gs.mu.Unlock()
			select {
			case <-over:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if c == nil {
			c = &consumers{s: s, name: name, key: key, filter: filter, group: group.New(name, groupAttempts, s.again), feeds: make(map[*Feed]struct{})}
			if gs.byKey == nil {
				gs.byKey = make(map[string]*consumers)
			}
			gs.byKey[key] = c
		}
		if c.users++; c.linger != nil {
			c.linger.Stop()
			c.linger = nil
		}
		gs.mu.Unlock()
		c.opened.Do(func() { c.failed = c.open(ctx) })
		if c.failed != nil {
			gs.leave(c)
		}
		return c, c.failed
	}
}

// leave ends the use of a group. It stays for a while.
func (gs *groups) leave(c *consumers) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	switch c.users--; {
	case c.users > 0 || c.over != nil:
	case c.failed != nil || gs.closed:
		delete(gs.byKey, c.key)
	default:
		c.linger = time.AfterFunc(groupLinger, func() { gs.expire(c) })
	}
}

// expire ends a group without members.
func (gs *groups) expire(c *consumers) {
	gs.mu.Lock()
	if c.users > 0 || c.over != nil || gs.closed {
		gs.mu.Unlock()
		return
	}
	c.over = make(chan struct{})
	gs.mu.Unlock()
	c.end()
	gs.mu.Lock()
	delete(gs.byKey, c.key)
	gs.mu.Unlock()
	close(c.over)
}

// close ends all groups.
func (gs *groups) close() {
	gs.mu.Lock()
	gs.closed = true
	all := maps.Clone(gs.byKey)
	for _, c := range all {
		if c.linger != nil {
			c.linger.Stop()
		}
	}
	gs.mu.Unlock()
	for _, c := range all {
		c.end()
	}
}

// open reads how far the group has got, and begins to receive.
func (c *consumers) open(ctx context.Context) error {
	saved, err := c.load(ctx)
	if err != nil {
		return err
	}
	c.source, _, err = c.s.Open(ctx, Request{Filter: c.filter, QoS: 1, Saved: saved, Receiver: c, window: groupWindow})
	if err != nil {
		return err
	}
	c.source.Start()
	c.mu.Lock()
	c.saver = time.AfterFunc(groupTouch, c.save)
	c.mu.Unlock()
	c.save()
	return nil
}

// load returns where the group goes on; nil from now.
func (c *consumers) load(ctx context.Context) (*store.Subscription, error) {
	if c.s.store == nil {
		return nil, nil //nolint:nilnil // a group that nothing is known of
	}
	list, err := c.s.store.Groups(ctx, c.key)
	if err != nil {
		return nil, fmt.Errorf("the group %s: %w", c.name, err)
	}
	var saved *store.Subscription
	acked := make(map[string]message.Position)
	for _, g := range list {
		if g.Topic == "" {
			saved = &store.Subscription{Mark: g.Done.Seq, Acked: acked}
			if seen, _ := strconv.ParseInt(g.Done.Epoch, 10, 64); time.Since(time.Unix(seen, 0)) > groupExpiry {
				c.s.store.DeleteGroup(c.key, nil)
				return nil, nil //nolint:nilnil // as above
			}
			continue
		}
		acked[g.Topic] = g.Done
		c.group.Restore(g)
	}
	return saved, nil
}

// Deliver is how the source hands over.
func (c *consumers) Deliver(d *hub.Delivery) bool {
	if d.Message != nil && d.Message.Retained {
		return true // a last value is for everybody, so for nobody here
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.group.Take(d)
	c.later()
	return taken
}

// Ready is asked by the source when Deliver has refused something.
func (c *consumers) Ready(wake func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group.Room() {
		return true
	}
	c.wake = wake
	return false
}

// Ended is called when the source can go on no longer.
func (c *consumers) Ended(_ *Feed, err error) {
	c.s.log.Error("a group of consumers has ended", "group", c.name, "filter", c.filter, "error", err)
	c.s.groups.mu.Lock()
	if c.s.groups.byKey[c.key] == c {
		delete(c.s.groups.byKey, c.key)
	}
	c.s.groups.mu.Unlock()
	c.end()
	c.mu.Lock()
	feeds := slices.Collect(maps.Keys(c.feeds))
	c.mu.Unlock()
	for _, f := range feeds {
		f.fail(err)
	}
}

// join makes a feed's receiver a member, and quit ends that.
func (c *consumers) join(f *Feed) {
	c.change(func(g *group.Group) {
		c.feeds[f] = struct{}{}
		g.Join(&f.seat.Member)
	})
}

func (c *consumers) quit(f *Feed) {
	c.stand(f)
	c.s.groups.leave(c)
}

func (c *consumers) stand(f *Feed) {
	c.change(func(g *group.Group) {
		delete(c.feeds, f)
		g.Leave(&f.seat.Member)
	})
}

// later has turn called soon; mu is held.
func (c *consumers) later() {
	if !c.queued && !c.ended {
		c.queued = true
		c.s.readers.add(c)
	}
}

// turn does what follows from what the group did.
func (c *consumers) turn() bool {
	c.mu.Lock()
	c.queued = false
	done, stuck, dead := c.group.Done(), c.group.Stuck(), c.group.Dead()
	var wake func()
	if c.group.Room() {
		wake, c.wake = c.wake, nil
	}
	if c.saver != nil && !c.soon && !c.ended {
		c.soon = true
		c.saver.Reset(groupSave)
	}
	c.mu.Unlock()
	for name, at := range done {
		c.source.ackAt(name, at)
	}
	for _, m := range stuck {
		if r, ok := m.Receiver.(Receiver); ok && r.Ready(func() { c.change(func(g *group.Group) { g.Ready(m) }) }) {
			c.change(func(g *group.Group) { g.Ready(m) })
		}
	}
	for _, d := range dead {
		c.bury(d)
	}
	if wake != nil {
		wake()
	}
	return false
}

// change does something to the group, and has turn do what follows.
func (c *consumers) change(f func(*group.Group)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.group)
	c.later()
}

// bury publishes a dead letter.
func (c *consumers) bury(d group.Dead) {
	m := d.Message
	letter := &message.Message{
		Topic: DeadPrefix + c.name + "/" + m.Topic, Type: m.Type, From: m.From, Payload: m.Payload, Binary: m.Binary,
		Headers: make(map[string]string, len(m.Headers)+6),
		Key:     "dead/" + c.key + "/" + m.Epoch + "/" + strconv.FormatUint(m.Seq, 10), // the same after a crash
	}
	if len(letter.Key) > maxKey {
		letter.Key = ""
	}
	maps.Copy(letter.Headers, m.Headers)
	maps.Copy(letter.Headers, map[string]string{
		"dead-group": c.name, "dead-topic": m.Topic, "dead-id": m.ID, "dead-epoch": m.Epoch,
		"dead-seq": strconv.FormatUint(m.Seq, 10), "dead-attempts": strconv.FormatUint(uint64(d.Attempts), 10),
	})
	c.s.Publish(Publication{Message: letter}, func(_ broker.Result, err error) {
		if err != nil {
			c.s.log.Error("a dead letter could not be written", "group", c.name, "topic", m.Topic, "seq", m.Seq, "error", err)
			c.change(func(g *group.Group) { g.Revived(d) })
			return
		}
		c.change(func(g *group.Group) { g.Buried(d) })
	})
}

// save stores how far the group has got.
func (c *consumers) save() {
	at := c.source.Saved()
	c.mu.Lock()
	c.soon = false
	if !c.ended {
		c.saver.Reset(groupTouch)
	}
	list := c.group.Changed(c.key)
	c.group.Forget(func(name string) bool {
		_, known := at.Acked[name]
		return known
	})
	c.mu.Unlock()
	if c.s.store == nil {
		return
	}
	for _, g := range list {
		c.s.store.SaveGroup(g, nil)
	}
	// The group as a whole: its mark, and when it was last heard of.
	whole := message.Position{Epoch: strconv.FormatInt(time.Now().Unix(), 10), Seq: at.Mark}
	c.s.store.SaveGroup(&store.Group{Name: c.key, Done: whole}, nil)
}

// end ends the source, and stores how far it has got.
func (c *consumers) end() {
	c.mu.Lock()
	if c.ended || c.source == nil {
		c.mu.Unlock()
		return
	}
	c.ended = true
	if c.saver != nil {
		c.saver.Stop()
	}
	c.mu.Unlock()
	c.source.Close()
	c.turn()
	c.save()
}

// deadSource returns the topic or filter that dead letters come from.
func deadSource(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, DeadPrefix)
	if !ok {
		return "", false
	}
	_, source, ok := strings.Cut(rest, "/")
	return source, ok && source != ""
}
