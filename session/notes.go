package session

import (
	"maps"
	"time"

	"github.com/parleyhq/parley/session/vault"
)

// Note returns what the transport keeps with the session under a name; nil when
// there is nothing. It must not be changed.
func (s *Session) Note(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.last.Load(); l != nil {
		return l.notes[name]
	}
	return nil
}

// SetNote keeps a value, which must not be changed afterwards, with the session
// under a name, nil for none any more, and calls done, if it is not nil, when
// that is durable. Values are small and few; they end with the session. An
// older connection's are not taken once a newer one has the session. To be
// called after the connect command was answered; done must not block.
func (s *Session) SetNote(name string, value []byte, done func(error)) {
	if s.fleeting {
		if done != nil {
			done(nil)
		}
		return
	}
	l := s.lasts()
	s.mu.Lock()
	if s.taken || s.ended {
		s.mu.Unlock()
		if done != nil {
			done(vault.ErrTaken)
		}
		return
	}
	notes := maps.Clone(l.notes)
	if notes == nil {
		notes = make(map[string][]byte)
	}
	if value == nil {
		delete(notes, name)
	} else {
		notes[name] = value
	}
	l.notes = notes
	known := l.stored
	l.stored = true
	s.mu.Unlock()
	if known {
		s.m.vault.Note(s.id, s, name, value, done)
	} else {
		s.m.vault.Save(s.id, s, done)
	}
}

// Fleeting says that the session ends with its connection, whoever ends that:
// nothing of it is kept anywhere. To be called before the connect command.
func (s *Session) Fleeting() { s.fleeting = true }

// SetExpiry changes how long the session is kept after its connection, within
// what the server allows.
func (s *Session) SetExpiry(d time.Duration) { s.lasts().expires.Store(int64(max(d, 1))) }
