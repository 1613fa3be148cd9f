package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/parleyhq/parley/auth"
)

var (
	nobody = auth.Identity{}
	ann    = auth.Identity{User: "ann"}
	member = auth.Identity{User: "mia", Roles: []string{"member"}}
	admin  = auth.Identity{User: "ada", Roles: []string{"member", "admin"}}
)

func rules(t *testing.T, list ...auth.Rule) *auth.Rules {
	t.Helper()
	rs, err := auth.NewRules(list...)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestDefaultRules(t *testing.T) {
	t.Parallel()
	rs := rules(t, auth.DefaultRules()...)
	tests := []struct {
		who    auth.Identity
		action auth.Action
		topic  string
		allow  bool
	}{
		{ann, auth.ActionPublish, "public/a", true},
		{ann, auth.ActionSubscribe, "public/#", true},
		{ann, auth.ActionSubscribe, "public/+/x", true},
		{ann, auth.ActionPresence, "public", true},
		{ann, auth.ActionHistory, "user/ann/inbox", true},
		{ann, auth.ActionSubscribe, "user/ann/#", true},
		{ann, auth.ActionManage, "public/a", false},
		{ann, auth.ActionPublish, "publicity", false},
		{ann, auth.ActionSubscribe, "#", false},
		{ann, auth.ActionSubscribe, "+/a", false},
		{ann, auth.ActionSubscribe, "user/#", false},
		{ann, auth.ActionSubscribe, "user/+/inbox", false},
		{ann, auth.ActionSubscribe, "user/bob/inbox", false},
		{ann, auth.ActionPublish, "$sys/x", false},
		{ann, auth.ActionPublish, "", false},
		{ann, auth.Action("fly"), "public/a", false},
		{nobody, auth.ActionSubscribe, "public/a", false},
		{nobody, auth.ActionSubscribe, "user//inbox", false},
	}
	for _, tt := range tests {
		err := rs.Authorize(t.Context(), tt.who, tt.action, tt.topic)
		if (err == nil) != tt.allow {
			t.Errorf("%q %s %q: %v, want allowed %v", tt.who.User, tt.action, tt.topic, err, tt.allow)
		}
		if err != nil && auth.Code(err) != auth.CodeForbidden {
			t.Errorf("%q %s %q: code %q", tt.who.User, tt.action, tt.topic, auth.Code(err))
		}
	}
}

// A user id comes from a token that somebody else's system issued: nothing in
// it may be read as topic syntax.
func TestUserIDIsNeverSyntax(t *testing.T) {
	t.Parallel()
	rs := rules(t, auth.DefaultRules()...)
	for _, id := range []string{"+", "#", "ann/..", "ann/inbox", "a+", "a#b", "/", "\x00"} {
		who := auth.Identity{User: id}
		for _, asked := range []string{"user/ann/inbox", "user/" + id + "/inbox", "user/" + id, "user/+/x", "user/#"} {
			if err := rs.Authorize(t.Context(), who, auth.ActionSubscribe, asked); err == nil {
				t.Errorf("the user called %q was let into %q", id, asked)
			}
		}
	}
	// A name that only looks like the mark is an ordinary name.
	who := auth.Identity{User: "{user}"}
	if err := rs.Authorize(t.Context(), who, auth.ActionSubscribe, "user/{user}/x"); err != nil {
		t.Error(err)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	rs := rules(t,
		auth.Rule{Roles: []string{auth.Everyone}, Actions: []auth.Action{auth.ActionSubscribe}, Pattern: "news/#"},
		auth.Rule{Roles: []string{"admin", "ops"}, Actions: []auth.Action{auth.ActionPublish}, Pattern: "admin/#"},
	)
	for _, who := range []auth.Identity{nobody, ann, member, admin} {
		if err := rs.Authorize(t.Context(), who, auth.ActionSubscribe, "news/today"); err != nil {
			t.Errorf("news is for everyone: %v", err)
		}
	}
	if err := rs.Authorize(t.Context(), admin, auth.ActionPublish, "admin/x"); err != nil {
		t.Error(err)
	}
	tests := []struct {
		who    auth.Identity
		action auth.Action
		asked  string
		want   string
		cause  string
	}{
		{member, auth.ActionPublish, "admin/#", "role member may not publish on admin/#", "rule 2: role admin, ops may publish on admin/#"},
		{ann, auth.ActionPublish, "admin/x", "a signed-in user without a role may not publish on admin/x", "rule 2"},
		{nobody, auth.ActionPublish, "admin/x", "an anonymous client may not publish on admin/x", "rule 2"},
		{admin, auth.ActionHistory, "admin/x", "roles member, admin may not read history on admin/x", "no rule grants it"},
	}
	for _, tt := range tests {
		var refused *auth.Error
		if err := rs.Authorize(t.Context(), tt.who, tt.action, tt.asked); !errors.As(err, &refused) {
			t.Fatalf("%s: %v, want a refusal", tt.want, err)
		}
		if refused.Message != tt.want {
			t.Errorf("message %q, want %q", refused.Message, tt.want)
		}
		if !strings.Contains(refused.Cause.Error(), tt.cause) {
			t.Errorf("cause %q, want %q in it", refused.Cause, tt.cause)
		}
	}
}

func TestNewRulesNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	pub := []auth.Action{auth.ActionPublish}
	tests := map[string]auth.Rule{
		"grants no action": {Pattern: "a"},
		"unknown action":   {Pattern: "a", Actions: []auth.Action{"write"}},
		"empty role":       {Pattern: "a", Actions: pub, Roles: []string{""}},
		"topic is empty":   {Actions: pub},
		"must stand alone": {Pattern: "a#", Actions: pub},
		"only {user}":      {Pattern: "a/{name}", Actions: pub},
	}
	for want, r := range tests {
		_, err := auth.NewRules(auth.Rule{Pattern: "ok", Actions: pub}, r)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "rule 2") {
			t.Errorf("%+v: %v, want %q of rule 2", r, err, want)
		}
	}
}

// The list is copied: changing it afterwards changes no permission.
func TestRulesAreTheirOwn(t *testing.T) {
	t.Parallel()
	list := []auth.Rule{{Roles: []string{"admin"}, Actions: []auth.Action{auth.ActionPublish}, Pattern: "a"}}
	rs := rules(t, list...)
	list[0].Roles[0] = "member"
	if rs.Authorize(t.Context(), member, auth.ActionPublish, "a") == nil {
		t.Error("a rule changed after it was handed over")
	}
}

func TestErrorIs(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk")
	err := error(&auth.Error{Code: auth.CodeForbidden, Message: "no", Cause: cause})
	if !errors.Is(err, &auth.Error{Code: auth.CodeForbidden}) || errors.Is(err, &auth.Error{Code: auth.CodeTokenExpired}) {
		t.Error("errors.Is asks for the code")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
}
