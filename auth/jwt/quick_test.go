package jwt

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	golang "github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/auth"
)

// What the quick way accepts, the general one accepts with the same claims:
// here of tokens with any byte changed, taken out or doubled, or with other
// segments.
func TestQuickAcceptsNoMore(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte("k"), MinSecret)
	k, err := HS256(secret, Config{Issuer: "shop", Audience: "parley"})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(id auth.Identity) string {
		token, err := k.Sign(id)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := sign(auth.Identity{User: "u1", Roles: []string{"member"}, Expires: time.Now().Add(time.Hour), Claims: map[string]any{"team": "blue"}})
	late := sign(auth.Identity{User: "u1", Expires: time.Now().Add(-time.Hour)})
	elsewhere, err := golang.NewWithClaims(golang.SigningMethodHS256, golang.MapClaims{"sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "iss": "shop", "aud": "other"}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.quick.verify(good); !ok {
		t.Error("a good token is not accepted")
	}
	parts := strings.Split(good, ".")
	tries := []string{
		late, elsewhere, "", ".", "..", "...", good + ".", "." + good, good + "." + parts[2], parts[0] + "." + parts[1], good + "=",
		parts[0] + "." + parts[1] + ".." + parts[2], parts[0] + "." + parts[1] + parts[1] + "." + parts[2],
	}
	for i := range good {
		for _, by := range []string{"", "A", ".", good[i:i+1] + good[i:i+1], string(good[i] ^ 1)} {
			tries = append(tries, good[:i]+by+good[i+1:])
		}
	}
	for _, token := range tries {
		claims, ok := k.quick.verify(token)
		if !ok {
			continue
		}
		var want golang.MapClaims
		if _, err := k.parser.ParseWithClaims(token, &want, func(*golang.Token) (any, error) { return secret, nil }); err != nil || !reflect.DeepEqual(claims, want) {
			t.Errorf("%s: %v accepted, the general way says %v, %v", token, claims, want, err)
		}
	}
}
