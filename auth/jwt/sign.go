package jwt

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/auth"
)

// Sign returns a token for id. The identity must name a user and an expiry:
// a token that never ends cannot be taken back.
func (k *Key) Sign(id auth.Identity) (string, error) {
	switch {
	case k.sign == nil:
		return "", errors.New("this key only verifies: signing needs the private key")
	case id.User == "":
		return "", errors.New("a token needs a user")
	case len(id.User) > maxUser:
		return "", fmt.Errorf("a user id has at most %d bytes, this one has %d", maxUser, len(id.User))
	case id.Expires.IsZero():
		return "", errors.New("a token needs an expiry")
	case slices.Contains(id.Roles, auth.Everyone), slices.Contains(id.Roles, ""):
		return "", fmt.Errorf("a token's roles are names: neither empty nor %q, which everyone holds anyway", auth.Everyone)
	}
	claims := jwt.MapClaims{}
	maps.Copy(claims, id.Claims)
	for _, known := range registered() {
		delete(claims, known) // these come from the identity's own fields only
	}
	claims["sub"], claims["exp"] = id.User, id.Expires.Unix()
	if id.Name != "" {
		claims["name"] = id.Name
	}
	if len(id.Roles) > 0 {
		claims["roles"] = id.Roles
	}
	if k.cfg.Issuer != "" {
		claims["iss"] = k.cfg.Issuer
	}
	if k.cfg.Audience != "" {
		claims["aud"] = k.cfg.Audience
	}
	token, err := jwt.NewWithClaims(k.method, claims).SignedString(k.sign)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}
