package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
)

// SessionLife is how long a session lives after its last use.
const SessionLife = 30 * 24 * time.Hour

// touchEvery bounds how often use is written down: a page view must not cost a disk write.
const touchEvery = 5 * time.Minute

// open starts a session and returns the token, which is known to the browser alone.
func (s *Service) open(ctx context.Context, user store.User, from Browser) (string, SignedIn, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: crypto/rand stops the program instead
	token := base64.RawURLEncoding.EncodeToString(raw)
	now := s.now()
	session := store.Session{
		TokenHash: hashToken(token), UserID: user.ID, Address: from.Address, Agent: shortAgent(from.Agent),
		CreatedAt: now.UnixMilli(), SeenAt: now.UnixMilli(), ExpiresAt: now.Add(SessionLife).UnixMilli(),
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.ExpireSessions(ctx, now.UnixMilli()); err != nil {
			return err
		}
		if err := tx.Seen(ctx, user.ID, now.UnixMilli()); err != nil {
			return err
		}
		return tx.AddSession(ctx, &session)
	})
	return token, SignedIn{User: user, Session: session}, err
}

// Who finds the person behind a session token. It answers a fault of kind SignedOut when there
// is none: the token is unknown, expired, or its owner is banned.
func (s *Service) Who(ctx context.Context, token string) (SignedIn, error) {
	if token == "" || len(token) > 64 {
		return SignedIn{}, fault.New(fault.SignedOut, fault.NeedSignIn)
	}
	now := s.now()
	var in SignedIn
	err := s.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		in.Session, in.User, err = tx.SessionByToken(ctx, hashToken(token), now.UnixMilli())
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && in.User.BannedAt != nil {
		return SignedIn{}, fault.New(fault.SignedOut, fault.NeedSignIn)
	}
	if err != nil {
		return SignedIn{}, err
	}
	if in.Renewed = now.UnixMilli()-in.Session.SeenAt > touchEvery.Milliseconds(); in.Renewed {
		err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := tx.Seen(ctx, in.User.ID, now.UnixMilli()); err != nil {
				return err
			}
			return tx.TouchSession(ctx, in.Session.ID, now.UnixMilli(), now.Add(SessionLife).UnixMilli())
		})
	}
	return in, err
}

// Alive reports whether a session still stands, for connections that outlive a request.
func (s *Service) Alive(ctx context.Context, session int64) (alive bool, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		alive, err = tx.SessionAlive(ctx, session, s.now().UnixMilli())
		return err
	})
	return alive, err
}

// Closed reports whether an account is closed or gone, for connections that no session stands
// behind.
func (s *Service) Closed(ctx context.Context, handle string) (closed bool, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.UserByHandle(ctx, handle)
		closed = u.BannedAt != nil || errors.Is(err, store.ErrNotFound)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return closed, err
}

// SignOut ends the session itself.
func (s *Service) SignOut(ctx context.Context, who SignedIn) error {
	return s.Revoke(ctx, who, who.Session.ID)
}

// Sessions lists where the person is signed in.
func (s *Service) Sessions(ctx context.Context, user store.User) (list []store.Session, err error) {
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		list, err = tx.Sessions(ctx, user.ID, s.now().UnixMilli())
		return err
	})
	return list, err
}

// Revoke ends one session of the person; another's is not found.
func (s *Service) Revoke(ctx context.Context, who SignedIn, session int64) error {
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		ended, err := tx.EndSession(ctx, who.User.ID, session)
		if err == nil && !ended {
			return fault.New(fault.NotFound, fault.NoSuchPage)
		}
		return err
	})
}

// RevokeOthers ends every session of the person but the one they use.
func (s *Service) RevokeOthers(ctx context.Context, who SignedIn) error {
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.EndSessions(ctx, who.User.ID, who.Session.ID)
	})
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// shortAgent keeps what fits a list.
func shortAgent(agent string) string {
	return strings.ToValidUTF8(agent[:min(len(agent), 300)], "")
}
