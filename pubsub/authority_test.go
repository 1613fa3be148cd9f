package pubsub_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/topic"
)

func TestTheMostSpecificCodeDecides(t *testing.T) {
	s := serve(t, short(3), nil) // its rules allow everything
	decide := func(pattern string, allowed bool) {
		s.Decide(topic.Filter(pattern), auth.AuthorizerFunc(func(context.Context, auth.Identity, auth.Action, string) error {
			if allowed {
				return nil
			}
			return protocol.Forbidden.Errorf("%s refuses", pattern)
		}))
	}
	decide("room/#", true)
	decide("room/secret/#", false)
	decide("room/+/typing", false)
	decide("room/lobby/+", true)
	for asked, says := range map[string]string{
		"other":              "",
		"room/1":             "",
		"room/1/x":           "",
		"room/1/typing":      "room/+/typing refuses",
		"room/secret":        "room/secret/# refuses",
		"room/secret/typing": "room/secret/# refuses",
		"room/lobby/typing":  "", // a name in the second level goes before '+'
		"room/lobby/+":       "includes room/+/typing",
		"room/#":             "which has rules of its own",
		"room/+":             "room/secret/#",
		"#":                  "which has rules of its own",
		"+/secret":           "which has rules of its own",
		"+/1/x":              "includes room/#",
		"other/#":            "",
		"$own/#":             "",
		"room/secret/+/x":    "room/secret/# refuses",
	} {
		err := s.Authorize(t.Context(), auth.Identity{User: "ada"}, auth.ActionSubscribe, topic.Filter(asked))
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", asked, err, says)
		}
	}
}

func TestErrorsOfCodeThatDecides(t *testing.T) {
	s := serve(t, short(3), nil)
	for name, tc := range map[string]struct {
		code string
		f    auth.AuthorizerFunc
	}{
		"denied": {"forbidden", func(context.Context, auth.Identity, auth.Action, string) error {
			return &auth.Error{Code: auth.CodeForbidden, Message: "members only", Cause: errors.New("secret")}
		}},
		"broken": {"internal", func(context.Context, auth.Identity, auth.Action, string) error {
			return errors.New("secret: the database is away")
		}},
		"panic": {"internal", func(context.Context, auth.Identity, auth.Action, string) error { panic("secret") }},
	} {
		s.Decide(topic.Filter(name), tc.f)
		err := s.Authorize(t.Context(), auth.Identity{}, auth.ActionPublish, topic.Filter(name))
		var refused *protocol.Error
		if !errors.As(err, &refused) || refused.Code != tc.code || strings.Contains(refused.Message, "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
