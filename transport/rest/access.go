package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/protocol"
	"github.com/parleyhq/parley/topic"
)

// caller is who asks: the application's own backend, which holds an API key and
// may do everything, or one signed-in user.
type caller struct {
	auth.Identity

	backend bool
}

// digest gives keys of any length the same length, so that comparing them takes
// the same time.
func digest(key string) [32]byte { return sha256.Sum256([]byte(key)) }

func (a *API) authenticate(r *http.Request) (caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return caller{}, a.missing()
	}
	if a.isKey(token) {
		return caller{backend: true}, nil
	}
	if a.cfg.Verifier != nil {
		id, err := a.cfg.Verifier.Verify(r.Context(), token)
		switch {
		case err == nil:
			return caller{Identity: id}, nil
		case strings.Count(token, ".") == 2 || auth.Code(err) == "":
			return caller{}, err
		}
	}
	// What does not look like a token was meant to be a key.
	if len(a.keys) == 0 {
		return caller{}, a.missing()
	}
	return caller{}, protocol.Unauthorized.Errorf("this is not the API key of this server: compare it with %s", a.cfg.KeyHint)
}

// isKey compares with every key, so that the time tells neither which one fits
// nor how much of it.
func (a *API) isKey(token string) bool {
	got, found := digest(token), 0
	for i := range a.keys {
		found |= subtle.ConstantTimeCompare(got[:], a.keys[i][:])
	}
	return found == 1
}

func (a *API) missing() error {
	switch {
	case len(a.keys) > 0:
		return protocol.Unauthorized.Errorf("send the header Authorization: Bearer with the API key of this server (%s)", a.cfg.KeyHint)
	case a.cfg.Verifier != nil:
		return protocol.Unauthorized.Errorf("no API key is set on this server: start it with %s to let your backend in, "+
			"or send a signed-in user's token as Authorization: Bearer", a.cfg.KeyHint)
	}
	return protocol.Unauthorized.Errorf("no API key is set on this server, so nobody may use this API: start it with %s", a.cfg.KeyHint)
}

// allowed asks the rules about a user; the backend may do everything.
func (a *API) allowed(ctx context.Context, who caller, action auth.Action, f topic.Filter) error {
	if who.backend {
		return nil
	}
	if topic.Name(f).System() {
		return protocol.Forbidden.Errorf("topics that begin with $ belong to the server")
	}
	return a.topics.Authorize(ctx, who.Identity, action, f)
}

var errNotBackend = errors.New("only a holder of an API key may do this")

func backendOnly(who caller) error {
	if who.backend {
		return nil
	}
	return protocol.Forbidden.Errorf("%w: a user's token is not enough", errNotBackend)
}
