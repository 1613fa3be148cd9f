// Package jwt verifies and signs bearer tokens.
//
// A Key is one algorithm with one key: the algorithm a token names is never
// what decides how it is checked, so a token that says "none", or that is
// signed with HMAC using a public key as the secret, is refused (RFC 8725
// §3.1).
package jwt

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/auth"
)

const (
	// MinSecret is the fewest bytes an HS256 secret may have (RFC 7518 §3.2).
	MinSecret = 32
	// maxToken bounds the work a stranger can ask for.
	maxToken = 16 << 10
	// maxUser bounds what becomes part of topics, logs and indexes.
	maxUser = 255
)

// Config is what a token must say besides carrying a good signature. The zero
// value asks for nothing more.
type Config struct {
	// Issuer, when set, must equal the "iss" claim; Sign writes it.
	Issuer string
	// Audience, when set, must be among the "aud" claim; Sign writes it.
	Audience string
	// Leeway forgives clocks that disagree when "exp" and "nbf" are checked.
	// The identity is valid for that much longer, too.
	Leeway time.Duration
}

// Key verifies tokens, and signs them when it holds the private half. It is an
// auth.Verifier and safe for concurrent use.
type Key struct {
	method jwt.SigningMethod
	verify any
	sign   any // nil when only the public half is known
	cfg    Config
	parser *jwt.Parser
	quick  *quick // nil unless HS256
}

// HS256 makes a key from a secret of at least MinSecret random bytes, which
// whoever verifies and whoever signs share.
func HS256(secret []byte, cfg Config) (*Key, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("an HS256 secret needs at least %d random bytes, this one has %d: make one with `openssl rand -hex 32`", MinSecret, len(secret))
	}
	own := append([]byte(nil), secret...)
	return newKey(jwt.SigningMethodHS256, own, own, cfg)
}

// EdDSA makes a key that verifies only.
func EdDSA(public ed25519.PublicKey, cfg Config) (*Key, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("an Ed25519 public key has %d bytes, this one has %d", ed25519.PublicKeySize, len(public))
	}
	return newKey(jwt.SigningMethodEdDSA, public, nil, cfg)
}

// EdDSASigner makes a key that signs and verifies.
func EdDSASigner(private ed25519.PrivateKey, cfg Config) (*Key, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("an Ed25519 private key has %d bytes, this one has %d", ed25519.PrivateKeySize, len(private))
	}
	return newKey(jwt.SigningMethodEdDSA, private.Public(), private, cfg)
}

func newKey(method jwt.SigningMethod, verify, sign any, cfg Config) (*Key, error) {
	if cfg.Leeway < 0 {
		return nil, errors.New("the leeway of token times cannot be negative")
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{method.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	k := &Key{method: method, verify: verify, sign: sign, cfg: cfg, parser: jwt.NewParser(options...)}
	if secret, ok := verify.([]byte); ok && method == jwt.SigningMethodHS256 {
		k.quick = newQuick(secret, options)
	}
	return k, nil
}

// Algorithm returns the "alg" that this key accepts.
func (k *Key) Algorithm() string { return k.method.Alg() }

// Verify returns the identity a token stands for: "sub" is the user and must be
// there, as must "exp"; "name" and "roles" (a list of text) may be.
func (k *Key) Verify(_ context.Context, token string) (auth.Identity, error) {
	switch {
	case token == "":
		return auth.Identity{}, &auth.Error{Code: auth.CodeTokenMissing, Message: "no token was sent: sign in first"}
	case len(token) > maxToken:
		return auth.Identity{}, invalid(fmt.Sprintf("the token is longer than %d bytes", maxToken), nil)
	case strings.ContainsAny(token, "\r\n"): // base64 decoders skip them; one token has one spelling here
		return auth.Identity{}, invalid("the token holds a line break", nil)
	}
	if k.quick != nil {
		if claims, ok := k.quick.verify(token); ok {
			return k.identity(claims)
		}
	}
	var claims jwt.MapClaims
	parsed, err := k.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		// No extension is understood here, so none may be critical (RFC 7515 §4.1.11).
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("the header names a critical extension")
		}
		return k.verify, nil
	})
	if err != nil {
		return auth.Identity{}, k.refuse(parsed, claims, err)
	}
	return k.identity(claims)
}

func (k *Key) refuse(parsed *jwt.Token, claims jwt.MapClaims, err error) error {
	if parsed != nil {
		if alg, ok := parsed.Header["alg"].(string); ok && alg != k.method.Alg() {
			return &auth.Error{
				Code:    auth.CodeTokenAlgorithm,
				Message: fmt.Sprintf("the token is signed with %.20q, this server accepts %s", alg, k.method.Alg()), Cause: err,
			}
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("the token is not a JWT", err)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return invalid("the token was not signed with this server's key", err)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("the token is meant for another server (iss or aud)", err)
	case errors.Is(err, jwt.ErrTokenExpired):
		at := ""
		if exp, expErr := claims.GetExpirationTime(); expErr == nil && exp != nil {
			at = " at " + exp.UTC().Format(time.RFC3339)
		}
		return &auth.Error{Code: auth.CodeTokenExpired, Message: "the token expired" + at + ": fetch a fresh one", Cause: err}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("the token is not valid yet (nbf): compare the clocks of this server and of whoever issued it", err)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("the token lacks a claim that is required (exp always; iss and aud when configured)", err)
	}
	return invalid("the token is not acceptable", err)
}

func invalid(message string, cause error) error {
	return &auth.Error{Code: auth.CodeTokenInvalid, Message: message, Cause: cause}
}

func (k *Key) identity(claims jwt.MapClaims) (auth.Identity, error) {
	sub, err := claims.GetSubject()
	if err != nil || sub == "" {
		return auth.Identity{}, invalid("the token names no user: the sub claim must be text and not empty", err)
	}
	if len(sub) > maxUser || !utf8.ValidString(sub) {
		return auth.Identity{}, invalid(fmt.Sprintf("the token's sub claim must be UTF-8 text of at most %d bytes", maxUser), nil)
	}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return auth.Identity{}, invalid("the token's exp claim must be a number", err)
	}
	id := auth.Identity{User: sub, Expires: exp.Add(k.cfg.Leeway)}
	if raw, ok := claims["name"]; ok {
		if id.Name, ok = raw.(string); !ok {
			return auth.Identity{}, invalid("the token's name claim must be text", nil)
		}
	}
	if id.Roles, err = roles(claims["roles"]); err != nil {
		return auth.Identity{}, err
	}
	for _, known := range registered() {
		delete(claims, known)
	}
	if len(claims) > 0 {
		id.Claims = claims
	}
	return id, nil
}

// registered are the claims that have a meaning here or in RFC 7519 §4.1; the
// rest is the application's.
func registered() []string {
	return []string{"sub", "name", "roles", "exp", "nbf", "iat", "iss", "aud", "jti"}
}

func roles(raw any) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	list, ok := raw.([]any)
	if !ok {
		return nil, invalid(`the token's roles claim must be a list, as in ["member"]`, nil)
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		role, ok := item.(string)
		if !ok || role == "" || role == auth.Everyone {
			return nil, invalid("each of the token's roles must be a name", nil)
		}
		out = append(out, role)
	}
	return out, nil
}
