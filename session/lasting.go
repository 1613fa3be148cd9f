package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/message"
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/session/order"
	"github.com/parleyhq/parley/session/vault"
	"github.com/parleyhq/parley/store"
)

// lasting is what only a session has that outlives the process, or has asked for
// something of the kind, or has made a mistake.
type lasting struct {
	answers order.Queue // that wait for the store

	// Never changed once the client is welcome.
	asked    time.Duration // for how long the client wants it kept; 0: the default
	producer string        // under which it numbers what it publishes
	epoch    uint64        // of the producer

	expires atomic.Int64 // nanoseconds that replace asked; 0 for none

	// Guarded by the session's lock.
	notes  map[string][]byte // what its transport keeps with it; replaced, never changed
	stored bool              // the store has it, or is about to
	saved  time.Time         // when its record was made last
	moved  vault.Cursors     // that the store does not know of
	final  *store.Session    // what remains, once the connection has ended
	errors *rate.Limiter     // nil until the first
}

// lasts returns the session's lasting part, which it has from then on.
func (s *Session) lasts() *lasting {
	if l := s.last.Load(); l != nil {
		return l
	}
	s.last.CompareAndSwap(nil, &lasting{})
	return s.last.Load()
}

// nameOf returns the id of the session that a client means: that of its ticket,
// else the one that is always its device's; "" for a new one.
func (s *Session) nameOf(c *parleyv1.Connect, who auth.Identity) string {
	if text := c.GetSession(); text != "" {
		// One that is not good is no mistake: the client starts anew, and is told so.
		if r, err := s.m.Keys.VerifyResume(text); err == nil && r.User == who.User {
			return r.Session
		}
	}
	if c.GetDevice() == "" || who.User == "" && !s.byDevice {
		return ""
	}
	return vault.OfDevice(who.User, c.GetDevice())
}

// comeback is the session that a connection goes on with.
type comeback struct {
	kept    *store.Session // nil: it begins anew
	stored  bool           // the store has a record of it
	behind  bool           // that is not what is kept, or not durable yet
	moved   bool           // cursors have moved since
	release func()         // lets others have it
}

// resume makes the session that the client means this connection's own, or a
// new one. Whoever else comes for it meanwhile waits until release.
func (s *Session) resume(ctx context.Context, c *parleyv1.Connect, who auth.Identity) (back comeback, err error) {
	back.release = func() {}
	s.user, s.device = who.User, c.GetDevice()
	if s.id = s.nameOf(c, who); s.id == "" {
		s.id = "s-" + rand.Text()
		return back, s.m.enter(s, nil)
	}
	if back.release, err = s.m.vault.Claim(ctx, s.id); err != nil {
		return back, protocol.Overloaded.Hide(err, "the session is busy: try again")
	}
	defer func() {
		if err != nil {
			back.release()
		}
	}()
	for {
		older := s.m.holder(s.id)
		if older == nil {
			if back.kept, back.stored, err = s.m.vault.Recall(ctx, s.id, time.Now()); err != nil {
				return back, protocol.Internal.Hide(err, "the session could not be read: try again later")
			}
			back.behind = s.m.vault.Unwritten(s.id)
		}
		err = s.m.enter(s, older)
		if errors.Is(err, errMoved) { // it has ended since: what remains of it is in the vault by now
			continue
		}
		if err != nil {
			return back, err
		}
		if older != nil {
			back.kept, back.stored, back.moved = older.surrender()
			back.behind = s.m.vault.Unwritten(s.id)
			older.takenOver()
		}
		break
	}
	s.m.vault.Taken(s.id)
	if c.GetClean() {
		back.kept = nil
	}
	return back, nil
}

// surrender gives a session to a newer connection: what is kept of it, whether
// the store has a record, and whether cursors have moved that it does not know
// of. Nothing that comes through the older connection changes it any more.
func (s *Session) surrender() (kept *store.Session, stored, moved bool) {
	s.mu.Lock()
	s.taken = true
	l := s.last.Load()
	if l != nil {
		stored, moved = l.stored, len(l.moved) > 0
	}
	lingers := s.fleeting || s.leaving != nil && s.leaving.Retry == protocol.RetryNever // it was ended for good
	s.mu.Unlock()
	if lingers {
		return nil, stored, false
	}
	kept = s.record()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l = s.last.Load(); l != nil && l.final != nil { // feeds that are closed do not know everything
		kept = l.final
	}
	return kept, stored, moved
}

// record returns what is to be kept of the session as it is.
func (s *Session) record() *store.Session {
	s.mu.Lock()
	subs := slices.Collect(s.subs.all())
	s.mu.Unlock()
	return s.recordOf(subs)
}

func (s *Session) recordOf(subs []*subscription) *store.Session {
	s.mu.Lock()
	r := &store.Session{ID: s.id, User: s.user, Device: s.device, Seen: time.Now()}
	if l := s.last.Load(); l != nil {
		r.Notes = maps.Clone(l.notes)
	}
	s.mu.Unlock()
	for _, sub := range subs {
		r.Subscriptions = append(r.Subscriptions, sub.saved())
	}
	r.Expiry = s.expiry(vault.Durable(r))
	return r
}

// expiry is how long the session is kept without a connection.
func (s *Session) expiry(durable bool) time.Duration {
	var asked time.Duration
	if l := s.last.Load(); l != nil {
		asked = cmp.Or(time.Duration(l.expires.Load()), l.asked)
	}
	return cmp.Or(min(asked, s.m.Limits.SessionExpiry), s.m.usualExpiry(durable && s.device != ""))
}

// usualExpiry is that of clients that do not ask for any.
func (m *Manager) usualExpiry(comesBack bool) time.Duration {
	if comesBack {
		return m.Limits.SessionExpiry
	}
	return m.Limits.ResumeWindow
}

// remain notes what remains of a session whose connection has ended, while its
// feeds still know.
func (s *Session) remain(subs []*subscription) {
	s.mu.Lock()
	taken := s.taken
	s.mu.Unlock()
	if taken {
		return
	}
	r := s.recordOf(subs)
	l := s.lasts()
	s.mu.Lock()
	l.final = r
	s.mu.Unlock()
}

// Record is described at vault.Source.
func (s *Session) Record() *store.Session {
	s.mu.Lock()
	if s.taken || s.ended {
		s.mu.Unlock()
		return nil // somebody else says what is kept
	}
	l := s.lasts()
	l.saved, l.moved = time.Now(), nil
	s.mu.Unlock()
	return s.record()
}

// Acks is described at vault.Source.
func (s *Session) Acks(to []store.Ack) []store.Ack {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken || s.ended {
		return to
	}
	l := s.lasts()
	to = append(to, l.moved...)
	l.moved = nil
	return to
}

// moved notes where a subscription goes on some day.
func (s *Session) moved(filter, name string, at message.Position) {
	s.mu.Lock()
	l := s.last.Load()
	kept := l != nil && l.stored && !s.taken
	first := kept && len(l.moved) == 0
	if kept {
		l.moved.Move(s.id, filter, name, at)
	}
	s.mu.Unlock()
	if first {
		s.m.vault.Moved(s)
	}
}

// lay puts what remains of the session into the vault, or sees to it that
// nothing does. It does no I/O: the manager's lock is held.
func (s *Session) lay() {
	l := s.last.Load()
	if l == nil {
		return
	}
	s.mu.Lock()
	final, stored := l.final, l.stored
	s.mu.Unlock()
	switch {
	case final != nil && !vault.Expired(final, time.Now()):
		s.m.vault.Part(final, vault.Durable(final), stored)
	case stored:
		s.m.vault.Forget(s.id, nil)
	}
}

// renewals is how often, in the time that a session is kept, one that is held
// is saved anew.
const renewals = 8

// renew has the session saved when its record says that it was last seen long
// ago.
func (s *Session) renew(now time.Time) {
	l := s.last.Load()
	if l == nil {
		return
	}
	s.mu.Lock()
	due := l.stored && now.Sub(l.saved) >= s.expiry(true)/renewals
	if due {
		l.saved = now
	}
	s.mu.Unlock()
	if due {
		s.resave()
	}
}

// maxAnswers is how many answers of one client wait for the store.
const maxAnswers = 64

// save has the session written, and runs then when that is durable, after
// everything that waits already.
func (s *Session) save(then func(error)) {
	l := s.lasts()
	s.mu.Lock()
	l.stored = true
	s.mu.Unlock()
	if l.answers.Len() >= maxAnswers {
		l.answers.Wait(s.m.base)
	}
	s.running.Add(1) // a drain waits for it
	s.m.vault.Save(s.id, s, l.answers.Add(s.m.calls.Go, func(err error) { then(err); s.finished() }))
}

// resave has a session written that the store has, for nobody who waits.
func (s *Session) resave() {
	s.mu.Lock()
	l := s.last.Load()
	stored := l != nil && l.stored && !s.taken && !s.ended
	s.mu.Unlock()
	if stored {
		s.m.vault.Save(s.id, s, nil)
	}
}

// await waits for the answers that have to come before that to c.
func (s *Session) await(c *parleyv1.Command) {
	l := s.last.Load()
	if l == nil || l.answers.Len() == 0 {
		return
	}
	if s.isWelcomed() {
		switch c := c.GetCommand().(type) {
		case *parleyv1.Command_Publish, *parleyv1.Command_Ack, *parleyv1.Command_Call, *parleyv1.Command_Pong, *parleyv1.Command_Ping:
			return
		case *parleyv1.Command_Subscribe:
			if c.Subscribe.GetQos() > 0 { // it waits in the row
				return
			}
		}
	}
	if _, pong := c.GetCommand().(*parleyv1.Command_Pong); !pong {
		l.answers.Wait(s.m.base)
	}
}
