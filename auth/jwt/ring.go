package jwt

import (
	"context"
	"errors"

	"github.com/parleyhq/parley/auth"
)

// Ring accepts a token that any of its keys accepts: the key of today beside
// the key of yesterday, or the server's own beside the application's. Each key
// keeps its own algorithm.
type Ring []*Key

// Verify returns the identity from the first key that accepts token. When none
// does, the refusal is that of the key which came furthest: a token that one
// key finds expired is expired, whatever the others think of its signature.
func (r Ring) Verify(ctx context.Context, token string) (auth.Identity, error) {
	best := error(&auth.Error{Code: auth.CodeTokenInvalid, Message: "this server accepts no tokens", Cause: errors.New("no key is configured")})
	rank := -1
	for _, k := range r {
		id, err := k.Verify(ctx, token)
		if err == nil {
			return id, nil
		}
		if n := progress(err); n > rank {
			best, rank = err, n
		}
	}
	return auth.Identity{}, best
}

func progress(err error) int {
	switch auth.Code(err) {
	case auth.CodeTokenExpired:
		return 2
	case auth.CodeTokenInvalid:
		return 1
	}
	return 0
}
