// Package account keeps who people are: sign-up, sign-in, sessions, roles.
package account

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/markup"
	"github.com/parleyhq/parley/community/store"
)

// Service signs people up and in. Safe for concurrent use.
type Service struct {
	db       *store.DB
	now      func() time.Time
	throttle *throttle
	hashing  chan struct{}
}

// New makes the service. now is the clock.
func New(db *store.DB, now func() time.Time) *Service {
	return &Service{db: db, now: now, throttle: newThrottle(now), hashing: make(chan struct{}, hashesAtOnce)}
}

// Browser is where a request came from, for throttling and for the list of sessions.
type Browser struct {
	Address string // without port
	Agent   string // User-Agent
}

// SignedIn is a person and the session a request belongs to.
type SignedIn struct {
	User    store.User
	Session store.Session
	// Renewed tells that the session's end was just moved: its cookie should be set again.
	Renewed bool
}

var handleShape = regexp.MustCompile(`^` + markup.Handle + `$`)

// reserved handles would be mistaken for the site itself.
var reserved = map[string]bool{"parley": true, "system": true, "all": true, "everyone": true, "here": true, "channel": true, "moderator": true}

// SignUp creates a member and their first session, and returns the token for its cookie.
func (s *Service) SignUp(ctx context.Context, handle, display, password string, from Browser) (token string, in SignedIn, err error) {
	if wait := s.throttle.wait("up " + from.Address); wait > 0 {
		return "", in, fault.Wait(fault.TooManyTries, wait)
	}
	handle = strings.ToLower(strings.TrimSpace(handle))
	if reserved[handle] {
		return "", in, fault.Field("name", fault.TakenHandle)
	}
	user, err := s.create(ctx, handle, display, password, store.Member)
	if err != nil {
		return "", in, err
	}
	s.throttle.count("up "+from.Address, signUpsPerAddress)
	return s.open(ctx, user, from)
}

// Create adds a person with a role, without signing them in. It serves set-up and the command
// line; SignUp is for people.
func (s *Service) Create(ctx context.Context, handle, display, password string, role store.Role) (store.User, error) {
	return s.create(ctx, handle, display, password, role)
}

func (s *Service) create(ctx context.Context, handle, display, password string, role store.Role) (u store.User, err error) {
	if !handleShape.MatchString(handle) {
		return u, fault.Field("name", fault.BadHandle)
	}
	display, err = displayName(display, handle)
	if err != nil {
		return u, err
	}
	if err := acceptable(password); err != nil {
		return u, err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return u, err
	}
	now := s.now().UnixMilli()
	u = store.User{Handle: handle, DisplayName: display, PasswordHash: hash, Role: role, CreatedAt: now, SeenAt: now}
	err = s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		added, err := tx.AddUser(ctx, &u)
		if err != nil {
			return err
		}
		if !added {
			return fault.Field("name", fault.TakenHandle)
		}
		return tx.Audit(ctx, store.AuditEntry{ActorID: &u.ID, Action: "account.created", Subject: handle, At: now})
	})
	return u, err
}

// SignIn checks a password and opens a session. Who it was for and from where is counted: after
// too many failures the answer is to wait, for the right password as well.
func (s *Service) SignIn(ctx context.Context, handle, password string, from Browser) (token string, in SignedIn, err error) {
	handle = strings.ToLower(strings.TrimSpace(handle))
	byName, byAddress := "in "+handle, "in from "+from.Address
	// Counted before the slow check, so that guesses sent at once are counted as well.
	if wait := s.throttle.take(map[string]limit{byName: failuresPerName, byAddress: failuresPerAddress}); wait > 0 {
		return "", in, fault.Wait(fault.TooManyTries, wait)
	}
	var user store.User
	err = s.db.Read(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		user, err = tx.UserByHandle(ctx, handle)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", in, err
	}
	// For an unknown name the work is done all the same: time must not tell who has an account.
	right, err := s.verify(ctx, user.PasswordHash, password)
	if err != nil {
		return "", in, err
	}
	if user.ID == 0 || !right {
		return "", in, fault.New(fault.Invalid, fault.WrongSignIn)
	}
	if user.BannedAt != nil {
		return "", in, fault.New(fault.Forbidden, fault.Banned)
	}
	s.throttle.forget(byName)
	s.throttle.undo(byAddress)
	return s.open(ctx, user, from)
}

// ChangePassword replaces a password and ends all other sessions of the person.
func (s *Service) ChangePassword(ctx context.Context, who SignedIn, current, password string) error {
	right, err := s.verify(ctx, who.User.PasswordHash, current)
	if err != nil {
		return err
	}
	if !right {
		return fault.Field("current", fault.WrongPassword)
	}
	if err := acceptable(password); err != nil {
		return err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.SetPassword(ctx, who.User.ID, hash); err != nil {
			return err
		}
		if err := tx.EndSessions(ctx, who.User.ID, who.Session.ID); err != nil {
			return err
		}
		return tx.Audit(ctx, store.AuditEntry{ActorID: &who.User.ID, Action: "account.password", Subject: who.User.Handle, At: s.now().UnixMilli()})
	})
}

// SaveSettings stores what a person says about themselves. Unknown languages and themes are
// stored as "no choice".
func (s *Service) SaveSettings(ctx context.Context, user store.User, want store.Settings) error {
	display, err := displayName(want.DisplayName, user.Handle)
	if err != nil {
		return err
	}
	want.DisplayName = display
	want.Bio = strings.TrimSpace(want.Bio)
	if utf8.RuneCountInString(want.Bio) > 2000 {
		return fault.Field("bio", fault.TooLong)
	}
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.SaveSettings(ctx, user.ID, want)
	})
}

// ResetPassword gives the person with the handle a password and ends all their sessions. It
// serves set-up and the command line.
func (s *Service) ResetPassword(ctx context.Context, handle, password string) error {
	if err := acceptable(password); err != nil {
		return err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.UserByHandle(ctx, handle)
		if err != nil {
			return err
		}
		if err := tx.SetPassword(ctx, u.ID, hash); err != nil {
			return err
		}
		if err := tx.EndSessions(ctx, u.ID, 0); err != nil {
			return err
		}
		return tx.Audit(ctx, store.AuditEntry{Action: "account.password", Subject: handle, At: s.now().UnixMilli()})
	})
}

// SetRole gives the person with the handle a role and notes who did it. Only admins may.
func (s *Service) SetRole(ctx context.Context, actor store.User, handle string, role store.Role) error {
	if !slices.Contains(store.Roles(), role) {
		return fault.New(fault.Invalid, fault.BadRequest)
	}
	return s.govern(ctx, actor, handle, "account.role", string(role), func(ctx context.Context, tx store.Tx, u store.User) error {
		return tx.SetRole(ctx, u.ID, role)
	})
}

// Unban opens a closed account again and notes who did it. Only admins may.
func (s *Service) Unban(ctx context.Context, actor store.User, handle string) error {
	return s.govern(ctx, actor, handle, "account.unbanned", "", func(ctx context.Context, tx store.Tx, u store.User) error {
		return tx.SetBanned(ctx, u.ID, nil)
	})
}

// Ban closes an account, ends its sessions and notes who did it. Only admins may.
func (s *Service) Ban(ctx context.Context, actor store.User, handle string) error {
	return s.govern(ctx, actor, handle, "account.banned", "", func(ctx context.Context, tx store.Tx, u store.User) error {
		at := s.now().UnixMilli()
		if err := tx.SetBanned(ctx, u.ID, &at); err != nil {
			return err
		}
		return tx.EndSessions(ctx, u.ID, 0)
	})
}

func (s *Service) govern(ctx context.Context, actor store.User, handle, action, detail string,
	act func(context.Context, store.Tx, store.User) error,
) error {
	if actor.Role != store.Admin || actor.Handle == handle {
		return fault.New(fault.Forbidden, fault.NotAllowed)
	}
	return s.db.Write(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.UserByHandle(ctx, handle)
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.NotFound, fault.NoPerson)
		}
		if err != nil {
			return err
		}
		if err := act(ctx, tx, u); err != nil {
			return err
		}
		return tx.Audit(ctx, store.AuditEntry{ActorID: &actor.ID, Action: action, Subject: handle, Detail: detail, At: s.now().UnixMilli()})
	})
}

func displayName(display, handle string) (string, error) {
	display = strings.Join(strings.Fields(display), " ")
	if display == "" {
		return handle, nil
	}
	if utf8.RuneCountInString(display) > 40 || !utf8.ValidString(display) || strings.ContainsFunc(display, invisible) {
		return "", fault.Field("display", fault.BadName)
	}
	return display, nil
}

// invisible characters would let one name pass for another, or turn the line around.
func invisible(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}
