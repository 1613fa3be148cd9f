package jwt_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	golang "github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/auth/jwt"
)

var secret = bytes.Repeat([]byte("k"), jwt.MinSecret)

func pair(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func must(t *testing.T, k *jwt.Key, err error) *jwt.Key {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hs(t *testing.T, cfg jwt.Config) *jwt.Key {
	t.Helper()
	k, err := jwt.HS256(secret, cfg)
	return must(t, k, err)
}

// raw signs claims as somebody else's program would, without our checks.
func raw(t *testing.T, method golang.SigningMethod, key any, claims golang.MapClaims, header ...string) string {
	t.Helper()
	token := golang.NewWithClaims(method, claims)
	for _, h := range header {
		token.Header[h] = []string{h}
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func soon() int64 { return time.Now().Add(time.Hour).Unix() }

func TestSignThenVerify(t *testing.T) {
	t.Parallel()
	_, private := pair(t)
	cfg := jwt.Config{Issuer: "shop", Audience: "parley"}
	signer, err := jwt.EdDSASigner(private, cfg)
	for name, k := range map[string]*jwt.Key{"HS256": hs(t, cfg), "EdDSA": must(t, signer, err)} {
		want := auth.Identity{
			User: "u1", Name: "Ann 安", Roles: []string{"member", "mod"},
			Expires: time.Now().Add(time.Hour).Truncate(time.Second), Claims: map[string]any{"team": "blue"},
		}
		token, err := k.Sign(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Verify(t.Context(), token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.User != want.User || got.Name != want.Name || !slices.Equal(got.Roles, want.Roles) ||
			!got.Expires.Equal(want.Expires) || len(got.Claims) != 1 || got.Claims["team"] != "blue" {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	public, private := pair(t)
	_, strange := pair(t)
	ed, err := jwt.EdDSA(public, jwt.Config{})
	must(t, ed, err)
	symmetric := hs(t, jwt.Config{})
	strict := hs(t, jwt.Config{Issuer: "shop", Audience: "parley"})
	good := raw(t, golang.SigningMethodHS256, secret, golang.MapClaims{"sub": "u1", "exp": soon()})
	hsClaims := func(c golang.MapClaims) string { return raw(t, golang.SigningMethodHS256, secret, c) }

	tests := []struct {
		name, token, code string
		key               *jwt.Key
	}{
		{"missing", "", auth.CodeTokenMissing, symmetric},
		{"not a token", "hello", auth.CodeTokenInvalid, symmetric},
		{"three empty parts", "..", auth.CodeTokenInvalid, symmetric},
		{"too long", strings.Repeat("a", 17<<10), auth.CodeTokenInvalid, symmetric},
		{"line break", good[:len(good)-3] + "\n" + good[len(good)-3:], auth.CodeTokenInvalid, symmetric},
		{"expired", hsClaims(golang.MapClaims{"sub": "u1", "exp": time.Now().Add(-time.Minute).Unix()}), auth.CodeTokenExpired, symmetric},
		{"not yet valid", hsClaims(golang.MapClaims{"sub": "u1", "exp": soon(), "nbf": time.Now().Add(time.Minute).Unix()}), auth.CodeTokenInvalid, symmetric},
		{"no exp", hsClaims(golang.MapClaims{"sub": "u1"}), auth.CodeTokenInvalid, symmetric},
		{"exp is text", hsClaims(golang.MapClaims{"sub": "u1", "exp": "soon"}), auth.CodeTokenInvalid, symmetric},
		{"no sub", hsClaims(golang.MapClaims{"exp": soon()}), auth.CodeTokenInvalid, symmetric},
		{"sub is a number", hsClaims(golang.MapClaims{"sub": 7, "exp": soon()}), auth.CodeTokenInvalid, symmetric},
		{"sub too long", hsClaims(golang.MapClaims{"sub": strings.Repeat("u", 300), "exp": soon()}), auth.CodeTokenInvalid, symmetric},
		{"roles is text", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "roles": "admin"}), auth.CodeTokenInvalid, symmetric},
		{"role is the wildcard", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "roles": []string{"*"}}), auth.CodeTokenInvalid, symmetric},
		{"name is a list", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "name": []string{"x"}}), auth.CodeTokenInvalid, symmetric},
		{"forged: payload changed", swapPayload(t, good, `{"sub":"admin","exp":9999999999}`), auth.CodeTokenInvalid, symmetric},
		{"forged: other secret", raw(t, golang.SigningMethodHS256, bytes.Repeat([]byte("x"), 32), golang.MapClaims{"sub": "u", "exp": soon()}), auth.CodeTokenInvalid, symmetric},
		{"forged: other key", raw(t, golang.SigningMethodEdDSA, strange, golang.MapClaims{"sub": "u", "exp": soon()}), auth.CodeTokenInvalid, ed},
		{"forged and expired", raw(t, golang.SigningMethodEdDSA, strange, golang.MapClaims{"sub": "u", "exp": 1}), auth.CodeTokenInvalid, ed},
		{"algorithm none", raw(t, golang.SigningMethodNone, golang.UnsafeAllowNoneSignatureType, golang.MapClaims{"sub": "admin", "exp": soon()}), auth.CodeTokenAlgorithm, symmetric},
		{"HS256 with the public key", raw(t, golang.SigningMethodHS256, []byte(public), golang.MapClaims{"sub": "admin", "exp": soon()}), auth.CodeTokenAlgorithm, ed},
		{"HS512 with the right secret", raw(t, golang.SigningMethodHS512, secret, golang.MapClaims{"sub": "u", "exp": soon()}), auth.CodeTokenAlgorithm, symmetric},
		{"EdDSA where HS256 is pinned", raw(t, golang.SigningMethodEdDSA, private, golang.MapClaims{"sub": "u", "exp": soon()}), auth.CodeTokenAlgorithm, symmetric},
		{"unknown algorithm", swapHeader(t, good, `{"alg":"XX1","typ":"JWT"}`), auth.CodeTokenAlgorithm, symmetric},
		{"critical extension", raw(t, golang.SigningMethodHS256, secret, golang.MapClaims{"sub": "u", "exp": soon()}, "crit"), auth.CodeTokenInvalid, symmetric},
		{"other issuer", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "iss": "x", "aud": "parley"}), auth.CodeTokenInvalid, strict},
		{"other audience", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "iss": "shop", "aud": []string{"x"}}), auth.CodeTokenInvalid, strict},
		{"no audience", hsClaims(golang.MapClaims{"sub": "u", "exp": soon(), "iss": "shop"}), auth.CodeTokenInvalid, strict},
		{"other audience and expired", hsClaims(golang.MapClaims{"sub": "u", "exp": 1, "iss": "shop", "aud": "x"}), auth.CodeTokenInvalid, strict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, err := tt.key.Verify(t.Context(), tt.token)
			if auth.Code(err) != tt.code {
				t.Fatalf("code %q (%v), want %q", auth.Code(err), err, tt.code)
			}
			if id.User != "" {
				t.Errorf("a refused token still named %q", id.User)
			}
		})
	}
}

func swapPayload(t *testing.T, token, payload string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(payload))
	return strings.Join(parts, ".")
}

func swapHeader(t *testing.T, token, header string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	parts[0] = base64.RawURLEncoding.EncodeToString([]byte(header))
	return strings.Join(parts, ".")
}

func TestLeewayProlongsTheIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := hs(t, jwt.Config{Leeway: 10 * time.Second})
		token, err := k.Sign(auth.Identity{User: "u", Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		<-time.NewTimer(65 * time.Second).C
		id, err := k.Verify(t.Context(), token)
		if err != nil || id.ExpiredAt(time.Now()) {
			t.Fatalf("within the leeway: %v, expired %v", err, id.ExpiredAt(time.Now()))
		}
		<-time.NewTimer(6 * time.Second).C
		if _, err := k.Verify(t.Context(), token); auth.Code(err) != auth.CodeTokenExpired || !id.ExpiredAt(time.Now()) {
			t.Fatalf("after the leeway: %v", err)
		}
	})
}

func TestRing(t *testing.T) {
	t.Parallel()
	public, private := pair(t)
	ed, err := jwt.EdDSA(public, jwt.Config{})
	ring := jwt.Ring{hs(t, jwt.Config{}), must(t, ed, err)}
	for _, token := range []string{
		raw(t, golang.SigningMethodHS256, secret, golang.MapClaims{"sub": "u", "exp": soon()}),
		raw(t, golang.SigningMethodEdDSA, private, golang.MapClaims{"sub": "u", "exp": soon()}),
	} {
		if id, err := ring.Verify(t.Context(), token); err != nil || id.User != "u" {
			t.Errorf("%+v, %v", id, err)
		}
	}
	// The second key knows that its token is expired; the first only sees a wrong algorithm.
	old := raw(t, golang.SigningMethodEdDSA, private, golang.MapClaims{"sub": "u", "exp": 1})
	if _, err := ring.Verify(t.Context(), old); auth.Code(err) != auth.CodeTokenExpired {
		t.Errorf("%v, want expired", err)
	}
	confused := raw(t, golang.SigningMethodHS256, []byte(public), golang.MapClaims{"sub": "u", "exp": soon()})
	if _, err := ring.Verify(t.Context(), confused); auth.Code(err) != auth.CodeTokenInvalid {
		t.Errorf("%v, want invalid", err)
	}
	if _, err := (jwt.Ring{}).Verify(t.Context(), old); auth.Code(err) != auth.CodeTokenInvalid {
		t.Errorf("an empty ring: %v", err)
	}
}

func TestKeysThatCannotWork(t *testing.T) {
	t.Parallel()
	if _, err := jwt.HS256(secret[:31], jwt.Config{}); err == nil || !strings.Contains(err.Error(), "32") {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := jwt.EdDSA(nil, jwt.Config{}); err == nil {
		t.Error("no public key was accepted")
	}
	if _, err := jwt.EdDSASigner(nil, jwt.Config{}); err == nil {
		t.Error("no private key was accepted")
	}
	if _, err := jwt.HS256(secret, jwt.Config{Leeway: -1}); err == nil {
		t.Error("a negative leeway was accepted")
	}
	public, _ := pair(t)
	k, err := jwt.EdDSA(public, jwt.Config{})
	if _, err := must(t, k, err).Sign(auth.Identity{User: "u", Expires: time.Now().Add(time.Hour)}); err == nil {
		t.Error("a public key signed")
	}
	for _, id := range []auth.Identity{{Expires: time.Now()}, {User: "u"}, {User: strings.Repeat("u", 256), Expires: time.Now()}, {User: "u", Expires: time.Now(), Roles: []string{"*"}}} {
		if _, err := hs(t, jwt.Config{}).Sign(id); err == nil {
			t.Errorf("signed %+v", id)
		}
	}
}

// What an application keeps among its claims never becomes a permission.
func TestClaimsAreNotFields(t *testing.T) {
	t.Parallel()
	k := hs(t, jwt.Config{})
	token, err := k.Sign(auth.Identity{
		User: "u", Expires: time.Now().Add(time.Hour),
		Claims: map[string]any{"roles": []string{"admin"}, "name": "Boss", "sub": "root", "team": "blue"},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := k.Verify(t.Context(), token)
	if err != nil || id.User != "u" || id.Name != "" || len(id.Roles) != 0 || id.Claims["team"] != "blue" {
		t.Errorf("%+v, %v", id, err)
	}
}

func FuzzVerify(f *testing.F) {
	k, err := jwt.HS256(secret, jwt.Config{})
	if err != nil {
		f.Fatal(err)
	}
	token, err := k.Sign(auth.Identity{User: "u", Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := k.Verify(t.Context(), s)
		switch { // the time is fixed, so every process that fuzzes knows the same token
		case err != nil && auth.Code(err) == "":
			t.Fatalf("a refusal without a code: %v", err)
		case err == nil && s != token:
			t.Fatalf("forged: %q is %+v", s, id)
		}
	})
}
