package ticket_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/ticket"
)

func keys(tb testing.TB, fill ...byte) *ticket.Keys {
	tb.Helper()
	secrets := make([][]byte, len(fill))
	for i, b := range fill {
		secrets[i] = bytes.Repeat([]byte{b}, ticket.MinSecret)
	}
	ks, err := ticket.NewKeys(secrets[0], secrets[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	return ks
}

// pass lets the bubble's clock run on.
func pass(d time.Duration) {
	<-time.NewTimer(d).C
}

func TestResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ks := keys(t, 'a')
		want := ticket.Resume{Session: "s-1", User: "ann", Expires: time.Now().Add(time.Minute)}
		text, err := ks.SignResume(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ks.VerifyResume(text)
		if err != nil || got.Session != want.Session || got.User != want.User || !got.Expires.Equal(want.Expires) {
			t.Fatalf("%+v, %v", got, err)
		}
		pass(time.Minute)
		if _, err := ks.VerifyResume(text); auth.Code(err) != auth.CodeTicketExpired {
			t.Errorf("after a minute: %v", err)
		}
	})
}

func TestResumeForged(t *testing.T) {
	t.Parallel()
	ks := keys(t, 'a')
	text, err := ks.SignResume(ticket.Resume{Session: "s-1", User: "ann", Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	once, _, err := ticket.NewOnce(ks, ticket.NewMemory(0), 0).Issue(auth.Identity{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keys(t, 'b').SignResume(ticket.Resume{Session: "s-1", User: "ann", Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "x", "...", text + "x", text[:len(text)-1], once, foreign, strings.Repeat("a.", 9000), strings.Replace(text, "pr1", "pt1", 1)}
	for i := range len(text) {
		flipped := []byte(text)
		if flipped[i] == 'A' {
			flipped[i] = 'B'
		} else {
			flipped[i] = 'A'
		}
		bad = append(bad, string(flipped))
	}
	for _, b := range bad {
		if r, err := ks.VerifyResume(b); auth.Code(err) != auth.CodeTicketInvalid || r != (ticket.Resume{}) {
			t.Errorf("%.60q: %+v, %v", b, r, err)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	r := ticket.Resume{Session: "s", Expires: time.Now().Add(time.Minute)}
	old, err := keys(t, 'a').SignResume(r)
	if err != nil {
		t.Fatal(err)
	}
	rotated := keys(t, 'b', 'a')
	if _, err := rotated.VerifyResume(old); err != nil {
		t.Errorf("a ticket of the secret before: %v", err)
	}
	fresh, err := rotated.SignResume(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys(t, 'b').VerifyResume(fresh); err != nil {
		t.Errorf("new tickets are signed with the new secret: %v", err)
	}
	if _, err := keys(t, 'b').VerifyResume(old); auth.Code(err) != auth.CodeTicketInvalid {
		t.Errorf("a retired secret: %v", err)
	}
}

// An application compares claims with its own ids, which are whole numbers.
func TestClaimsKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	o := ticket.NewOnce(keys(t, 'a'), ticket.NewMemory(0), 0)
	const id = int64(1)<<62 + 1
	claims := map[string]any{"id": id, "part": 0.5, "list": []any{int64(-1), "x"}, "deep": map[string]any{"n": int64(7)}, "none": nil}
	text, _, err := o.Issue(auth.Identity{User: "ann", Claims: claims})
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Redeem(t.Context(), text)
	if err != nil || !reflect.DeepEqual(got.Claims, claims) {
		t.Errorf("%#v, %v", got.Claims, err)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := ticket.NewOnce(keys(t, 'a'), ticket.NewMemory(0), 0)
		id := auth.Identity{User: "ann", Name: "Ann", Roles: []string{"mod"}, Expires: time.Now().Add(time.Hour), Claims: map[string]any{"secret": "plan"}}
		text, life, err := o.Issue(id)
		if err != nil || life != 30*time.Second || !ticket.Is(text) {
			t.Fatalf("%q lives %v: %v", text, life, err)
		}
		if strings.Contains(text, "cGxhb") {
			t.Error("the ticket shows what is inside")
		}
		got, err := o.Redeem(t.Context(), text)
		if err != nil || got.User != "ann" || got.Name != "Ann" || !got.HasRole("mod") || !got.Expires.Equal(id.Expires) || got.Claims["secret"] != "plan" {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, err := o.Redeem(t.Context(), text); auth.Code(err) != auth.CodeTicketInvalid {
			t.Errorf("second use: %v", err)
		}
		late, _, err := o.Issue(id)
		if err != nil {
			t.Fatal(err)
		}
		pass(30 * time.Second)
		if _, err := o.Redeem(t.Context(), late); auth.Code(err) != auth.CodeTicketExpired {
			t.Errorf("after 30 s: %v", err)
		}
	})
}

func TestOnceRefuses(t *testing.T) {
	t.Parallel()
	ks := keys(t, 'a')
	o := ticket.NewOnce(ks, ticket.NewMemory(0), 0)
	text, _, err := o.Issue(auth.Identity{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	resume, err := ks.SignResume(ticket.Resume{Session: "s", User: "ann", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "pt1", "pt1...", resume, strings.Replace(resume, "pr1", "pt1", 1), text[:len(text)-2] + "AA", "pt1." + strings.Split(text, ".")[1] + ".AA.AA"}
	for _, b := range bad {
		if _, err := o.Redeem(t.Context(), b); auth.Code(err) != auth.CodeTicketInvalid {
			t.Errorf("%.50q: %v", b, err)
		}
	}
	if _, _, err := o.Issue(auth.Identity{}); auth.Code(err) != auth.CodeTokenMissing {
		t.Errorf("nobody: %v", err)
	}
	if _, _, err := o.Issue(auth.Identity{User: "u", Expires: time.Now().Add(-time.Second)}); auth.Code(err) != auth.CodeTokenExpired {
		t.Errorf("expired sign-in: %v", err)
	}
	if _, _, err := o.Issue(auth.Identity{User: strings.Repeat("u", 9000)}); err == nil {
		t.Error("a ticket nobody would accept was issued")
	}
}

// However many connections race with one ticket, one wins.
func TestOnceIsOnce(t *testing.T) {
	t.Parallel()
	o := ticket.NewOnce(keys(t, 'a'), ticket.NewMemory(0), 0)
	text, _, err := o.Issue(auth.Identity{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := o.Redeem(context.Background(), text); err == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d connections used one ticket", won.Load())
	}
}

func TestMemoryIsBoundedAndForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := ticket.NewMemory(2)
		until := time.Now().Add(10 * time.Second)
		for _, id := range []string{"a", "b"} {
			if first, err := m.Spend(t.Context(), id, until); !first || err != nil {
				t.Fatal(first, err)
			}
		}
		if _, err := m.Spend(t.Context(), "c", until); err == nil {
			t.Error("the bound does not bind")
		}
		if first, err := m.Spend(t.Context(), "a", until); first || err != nil {
			t.Errorf("a full memory still knows what was used: %v %v", first, err)
		}
		pass(11 * time.Second)
		if first, err := m.Spend(t.Context(), "c", time.Now().Add(time.Second)); !first || err != nil {
			t.Errorf("after the others expired: %v %v", first, err)
		}
	})
}

type broken struct{}

func (broken) Spend(context.Context, string, time.Time) (bool, error) {
	return true, errors.New("the shared memory is away")
}

func TestUnknownIsRefused(t *testing.T) {
	t.Parallel()
	o := ticket.NewOnce(keys(t, 'a'), broken{}, time.Second)
	text, _, err := o.Issue(auth.Identity{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := o.Redeem(t.Context(), text); err == nil || auth.Code(err) != "" || id.User != "" {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestShortSecret(t *testing.T) {
	t.Parallel()
	if _, err := ticket.NewKeys(make([]byte, 31)); err == nil || !strings.Contains(err.Error(), "32") {
		t.Errorf("%v", err)
	}
}

func FuzzTickets(f *testing.F) {
	ks := keys(f, 'a')
	// A fixed time: every process that fuzzes must come to the same ticket.
	text, err := ks.SignResume(ticket.Resume{Session: "s", Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		f.Fatal(err)
	}
	o := ticket.NewOnce(ks, ticket.NewMemory(0), 0)
	f.Add(text)
	f.Add("pt1.a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ks.VerifyResume(s); err == nil && s != text {
			t.Fatalf("forged: %q", s)
		}
		if _, err := o.Redeem(t.Context(), s); auth.Code(err) == "" {
			t.Fatalf("%q: %v", s, err)
		}
	})
}
