// Package auth says who somebody is and what they may do.
//
// It holds the words every floor above shares: an Identity, the Verifier that
// turns a token into one, the Authorizer that answers whether an identity may
// act on a topic, and the Error that refuses. Token formats live in folders
// of their own: auth/jwt for bearer tokens, auth/ticket for one-use and resume
// tickets.
package auth

import (
	"context"
	"slices"
	"time"
)

// Identity is who a client is, as established by the server. It is never read
// from what a client says about itself in a message.
//
// An Identity is a value: copy it freely. Roles and Claims are shared by the
// copies and must not be changed once the identity is in use.
type Identity struct {
	// User is the stable id of the account; "" means anonymous.
	User string
	// Name is what other people see. It may be empty and is not unique.
	Name string
	// Roles are the names that rules grant to.
	Roles []string
	// Expires is the moment the identity stops being valid; zero means that it
	// lasts as long as whatever established it (a cookie session, say).
	Expires time.Time
	// Claims is whatever else the token said. Parley does not interpret it.
	Claims map[string]any
}

// Anonymous reports whether nobody has signed in.
func (id Identity) Anonymous() bool { return id.User == "" }

// HasRole reports whether the identity holds role.
func (id Identity) HasRole(role string) bool { return slices.Contains(id.Roles, role) }

// ExpiredAt reports whether the identity is no longer valid at now.
func (id Identity) ExpiredAt(now time.Time) bool {
	return !id.Expires.IsZero() && !now.Before(id.Expires)
}

// Verifier turns a bearer token into an identity.
//
// Verify is called concurrently: at a handshake, for the token in a first
// message, and when a live connection refreshes its token. Every refusal is an
// *Error whose Code and Message are fit for the client. An error of any other
// kind means that the token could not be judged (a key server is down, say) and
// the client is told to try again.
type Verifier interface {
	Verify(ctx context.Context, token string) (Identity, error)
}

// VerifierFunc lets a function be a Verifier.
type VerifierFunc func(ctx context.Context, token string) (Identity, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, token string) (Identity, error) {
	return f(ctx, token)
}

// Action is one thing that can be done with a topic.
type Action string

// The actions that rules grant.
const (
	ActionSubscribe Action = "subscribe" // receive what is published
	ActionPublish   Action = "publish"   // send to the topic
	ActionPresence  Action = "presence"  // see who is there
	ActionHistory   Action = "history"   // read what was sent before
	ActionManage    Action = "manage"    // disconnect people, delete, change settings
)

// Actions lists every action, in the order documentation shows them.
func Actions() []Action {
	return []Action{ActionSubscribe, ActionPublish, ActionPresence, ActionHistory, ActionManage}
}

// Valid reports whether a is one of the actions that exist.
func (a Action) Valid() bool { return slices.Contains(Actions(), a) }

// Authorizer answers whether an identity may act on a topic.
//
// For ActionSubscribe, ActionPresence and ActionHistory the target may be a
// filter with wildcards; it is allowed only when every topic that the filter
// matches is allowed. Authorize returns nil to allow and an *Error with
// CodeForbidden to refuse; any other error means that the question could not
// be answered, which the caller treats as a refusal that may be retried.
// Authorize is called concurrently and must not block on anything slow: callers
// hold up a client's commands until it returns.
type Authorizer interface {
	Authorize(ctx context.Context, who Identity, action Action, topicOrFilter string) error
}

// AuthorizerFunc lets a function be an Authorizer.
type AuthorizerFunc func(ctx context.Context, who Identity, action Action, topicOrFilter string) error

// Authorize calls f.
func (f AuthorizerFunc) Authorize(ctx context.Context, who Identity, action Action, topicOrFilter string) error {
	return f(ctx, who, action, topicOrFilter)
}
