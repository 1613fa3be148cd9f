package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/topic"
)

// Everyone is the role that every client holds, signed in or not.
const Everyone = "*"

// userMark is what a pattern holds where the id of the asking user goes.
const userMark = "{user}"

// Rule grants actions on the topics that a pattern matches. Rules only ever
// grant; what no rule grants is refused.
type Rule struct {
	// Roles are those the rule is for; one of them is enough. Empty means any
	// signed-in user, and "*" includes those who did not sign in.
	Roles []string
	// Actions are what the rule grants. At least one is needed.
	Actions []Action
	// Pattern is a topic filter. "{user}" in it stands for the id of the user
	// who asks, so "user/{user}/#" is everybody's own place.
	Pattern string
}

// String describes the rule in one line, as logs and refusals show it.
func (r Rule) String() string {
	who := "signed-in users"
	switch {
	case slices.Contains(r.Roles, Everyone):
		who = "everyone"
	case len(r.Roles) > 0:
		who = "role " + strings.Join(r.Roles, ", ")
	}
	actions := make([]string, len(r.Actions))
	for i, a := range r.Actions {
		actions[i] = string(a)
	}
	return who + " may " + strings.Join(actions, ", ") + " on " + r.Pattern
}

// Validate reports what is wrong with the rule, or nil.
func (r Rule) Validate() error {
	if len(r.Actions) == 0 {
		return errors.New("the rule grants no action: name at least one of " + actionList())
	}
	for _, a := range r.Actions {
		if !a.Valid() {
			return fmt.Errorf("the rule grants the unknown action %q: use %s", string(a), actionList())
		}
	}
	if slices.Contains(r.Roles, "") {
		return errors.New("the rule names an empty role: leave roles out to mean any signed-in user")
	}
	probe := strings.ReplaceAll(r.Pattern, userMark, "u")
	if strings.ContainsAny(probe, "{}") {
		return fmt.Errorf("the rule's pattern %q holds a brace: only {user} may stand in braces", r.Pattern)
	}
	if _, err := topic.ParseFilter(probe); err != nil {
		return fmt.Errorf("the rule's pattern %q: %w", r.Pattern, err)
	}
	return nil
}

// DefaultRules are what holds when nothing is configured: whoever is signed in
// uses public/# and a place of their own.
func DefaultRules() []Rule {
	use := []Action{ActionSubscribe, ActionPublish, ActionPresence, ActionHistory}
	return []Rule{
		{Actions: use, Pattern: "public/#"},
		{Actions: use, Pattern: "user/{user}/#"},
	}
}

// Rules is an Authorizer made of a fixed list of rules. It is safe for
// concurrent use. The zero value refuses everything.
type Rules struct {
	rules []Rule
}

// NewRules checks every rule and returns them as an Authorizer. The error names
// the rule by its number, counted from 1.
func NewRules(rules ...Rule) (*Rules, error) {
	kept := make([]Rule, len(rules))
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		kept[i] = Rule{Roles: slices.Clone(r.Roles), Actions: slices.Clone(r.Actions), Pattern: r.Pattern}
	}
	return &Rules{rules: kept}, nil
}

// List returns a copy of the rules in their order.
func (rs *Rules) List() []Rule { return slices.Clone(rs.rules) }

// Authorize allows what one single rule grants completely: a subscription to
// "room/#" needs a rule whose pattern covers all of "room/#".
//
// A refusal's message names who asked and what was refused. Its cause names the
// rule that would have granted it to another role, when there is one.
func (rs *Rules) Authorize(_ context.Context, who Identity, action Action, topicOrFilter string) error {
	asked, err := topic.ParseFilter(topicOrFilter)
	if err != nil {
		return &Error{Code: CodeForbidden, Message: "no rule can allow this topic: " + err.Error(), Cause: err}
	}
	var near error
	for i, r := range rs.rules {
		if !slices.Contains(r.Actions, action) {
			continue
		}
		pattern, ok := r.patternFor(who)
		if !ok || !pattern.Covers(asked) {
			continue
		}
		if r.isFor(who) {
			return nil
		}
		if near == nil {
			near = fmt.Errorf("rule %d: %s", i+1, r)
		}
	}
	if near == nil {
		near = errors.New("no rule grants it to anybody")
	}
	return &Error{
		Code:    CodeForbidden,
		Message: fmt.Sprintf("%s may not %s on %s", describe(who), action.phrase(), topicOrFilter),
		Cause:   near,
	}
}

// isFor reports whether the rule speaks of who at all.
func (r Rule) isFor(who Identity) bool {
	if slices.Contains(r.Roles, Everyone) {
		return true
	}
	if who.Anonymous() {
		return false
	}
	return len(r.Roles) == 0 || slices.ContainsFunc(r.Roles, who.HasRole)
}

// patternFor puts the user's id into the pattern. A user whose id would read as
// topic syntax gets no place: somebody called "+" would own everybody's.
func (r Rule) patternFor(who Identity) (topic.Filter, bool) {
	if !strings.Contains(r.Pattern, userMark) {
		return topic.Filter(r.Pattern), true
	}
	if who.User == "" || strings.ContainsAny(who.User, "+#/\x00") {
		return "", false
	}
	return topic.Filter(strings.ReplaceAll(r.Pattern, userMark, who.User)), true
}

// phrase is the action as it reads after "may not".
func (a Action) phrase() string {
	switch a {
	case ActionPresence:
		return "see presence"
	case ActionHistory:
		return "read history"
	case ActionSubscribe, ActionPublish, ActionManage:
	}
	return string(a)
}

// maxRolesShown keeps a refusal readable for somebody with very many roles.
const maxRolesShown = 4

func describe(who Identity) string {
	switch n := len(who.Roles); {
	case who.Anonymous():
		return "an anonymous client"
	case n == 0:
		return "a signed-in user without a role"
	case n == 1:
		return "role " + who.Roles[0]
	case n > maxRolesShown:
		return fmt.Sprintf("roles %s and %d more", strings.Join(who.Roles[:maxRolesShown], ", "), n-maxRolesShown)
	default:
		return "roles " + strings.Join(who.Roles, ", ")
	}
}

func actionList() string {
	names := make([]string, 0, len(Actions()))
	for _, a := range Actions() {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}
