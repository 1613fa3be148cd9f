package account_test

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/fault"
	"github.com/parleyhq/parley/community/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var home = account.Browser{Address: "192.0.2.1", Agent: "test"}

// clock is a time that tests move.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func setUp(t *testing.T) (*account.Service, *clock) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "community.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	c := &clock{}
	c.ms.Store(1_790_000_000_000)
	return account.New(db, c.now), c
}

func signUp(t *testing.T, s *account.Service, handle string) (string, account.SignedIn) {
	t.Helper()
	token, in, err := s.SignUp(t.Context(), handle, "", "correct horse", home)
	if err != nil {
		t.Fatalf("sign up %s: %v", handle, err)
	}
	return token, in
}

func refused(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	f, ok := fault.Of(err)
	if !ok || f.Kind != kind || f.Text != text {
		t.Errorf("got %v (%#v), want %s", err, f, text)
	}
}

func TestSignUpRefusals(t *testing.T) {
	s, _ := setUp(t)
	signUp(t, s, "ada")
	for name, c := range map[string]struct {
		handle, display, password, field, text string
	}{
		"taken":              {"ADA", "", "long enough", "name", fault.TakenHandle},
		"reserved":           {"everyone", "", "long enough", "name", fault.TakenHandle},
		"too short":          {"a", "", "long enough", "name", fault.BadHandle},
		"space":              {"ada b", "", "long enough", "name", fault.BadHandle},
		"markup":             {"<b>ada", "", "long enough", "name", fault.BadHandle},
		"weak password":      {"bob", "", "short", "password", fault.ShortPassword},
		"endless password":   {"bob", "", strings.Repeat("x", 200), "password", fault.TooLong},
		"text turned around": {"bob", "a\u202eb", "long enough", "display", fault.BadName},
		"endless name":       {"bob", strings.Repeat("长", 41), "long enough", "display", fault.BadName},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.SignUp(t.Context(), c.handle, c.display, c.password, home)
			refused(t, err, fault.Invalid, c.text)
			if f, ok := fault.Of(err); ok && f.Field != c.field {
				t.Errorf("field %q, want %q", f.Field, c.field)
			}
		})
	}
}

func TestSessionLife(t *testing.T) {
	s, c := setUp(t)
	token, in := signUp(t, s, "ada")
	if in.Session.TokenHash == token || strings.Contains(in.Session.TokenHash, token) {
		t.Fatal("the token itself is stored")
	}
	if in.User.PasswordHash == "" || strings.Contains(in.User.PasswordHash, "correct horse") {
		t.Fatal("the password is not hashed")
	}
	who, err := s.Who(t.Context(), token)
	if err != nil || who.User.Handle != "ada" {
		t.Fatalf("Who: %v %v", who.User.Handle, err)
	}
	c.advance(account.SessionLife - time.Hour)
	if _, err := s.Who(t.Context(), token); err != nil { // use moves the end
		t.Fatal(err)
	}
	c.advance(account.SessionLife - time.Hour)
	if _, err := s.Who(t.Context(), token); err != nil {
		t.Fatalf("a used session ended: %v", err)
	}
	c.advance(account.SessionLife + time.Hour)
	_, err = s.Who(t.Context(), token)
	refused(t, err, fault.SignedOut, fault.NeedSignIn)

	token, who, err = s.SignIn(t.Context(), "Ada", "correct horse", home)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SignOut(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	_, err = s.Who(t.Context(), token)
	refused(t, err, fault.SignedOut, fault.NeedSignIn)
}

func TestRevocation(t *testing.T) {
	s, _ := setUp(t)
	one, in := signUp(t, s, "ada")
	two, _, err := s.SignIn(t.Context(), "ada", "correct horse", home)
	if err != nil {
		t.Fatal(err)
	}
	_, mallory := signUp(t, s, "mallory")
	refused(t, s.Revoke(t.Context(), mallory, in.Session.ID), fault.NotFound, fault.NoSuchPage)
	list, err := s.Sessions(t.Context(), in.User)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	if err := s.ChangePassword(t.Context(), in, "correct horse", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Who(t.Context(), one); err != nil {
		t.Errorf("the session that changed the password ended: %v", err)
	}
	_, err = s.Who(t.Context(), two)
	refused(t, err, fault.SignedOut, fault.NeedSignIn)
	_, _, err = s.SignIn(t.Context(), "ada", "correct horse", home)
	refused(t, err, fault.Invalid, fault.WrongSignIn)
}

func TestGuessesAreThrottled(t *testing.T) {
	s, c := setUp(t)
	signUp(t, s, "ada")
	var wrong, waits atomic.Int32
	var all sync.WaitGroup
	for range 20 { // at once: the count must not wait for the slow hash
		all.Go(func() {
			_, _, err := s.SignIn(context.Background(), "ada", "guess", home)
			switch f, _ := fault.Of(err); f.Kind {
			case fault.Invalid:
				wrong.Add(1)
			case fault.TooMany:
				waits.Add(1)
			}
		})
	}
	all.Wait()
	if wrong.Load() != 8 || waits.Load() != 12 {
		t.Errorf("%d guesses were checked, %d were told to wait", wrong.Load(), waits.Load())
	}
	_, _, err := s.SignIn(t.Context(), "ada", "correct horse", account.Browser{Address: "198.51.100.7"})
	refused(t, err, fault.TooMany, fault.TooManyTries)
	c.advance(6 * time.Minute)
	if _, _, err := s.SignIn(t.Context(), "ada", "correct horse", home); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// Who has an account must not be able to wipe out, by signing in to it, what they guessed about
// others from the same address.
func TestSigningInKeepsGuessesAboutOthers(t *testing.T) {
	s, _ := setUp(t)
	signUp(t, s, "ada")
	for i := range 60 {
		_, _, err := s.SignIn(t.Context(), "somebody"+strconv.Itoa(i), "guess", home)
		refused(t, err, fault.Invalid, fault.WrongSignIn)
		if i == 30 {
			if _, _, err := s.SignIn(t.Context(), "ada", "correct horse", home); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _, err := s.SignIn(t.Context(), "bob", "guess", home)
	refused(t, err, fault.TooMany, fault.TooManyTries)
}

func TestBanAndRoles(t *testing.T) {
	s, _ := setUp(t)
	admin, err := s.Create(t.Context(), "admin", "", "admin admin", store.Admin)
	if err != nil {
		t.Fatal(err)
	}
	token, ada := signUp(t, s, "ada")
	refused(t, s.Ban(t.Context(), ada.User, "admin"), fault.Forbidden, fault.NotAllowed)
	if err := s.SetRole(t.Context(), admin, "ada", store.Moderator); err != nil {
		t.Fatal(err)
	}
	if who, err := s.Who(t.Context(), token); err != nil || who.User.Role != store.Moderator {
		t.Errorf("role %q, %v", who.User.Role, err)
	}
	if err := s.Ban(t.Context(), admin, "ada"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Who(t.Context(), token)
	refused(t, err, fault.SignedOut, fault.NeedSignIn)
	_, _, err = s.SignIn(t.Context(), "ada", "correct horse", home)
	refused(t, err, fault.Forbidden, fault.Banned)
}
