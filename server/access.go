package server

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/parleyhq/parley/auth/jwt"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
)

// Names of the secrets in the data folder.
const (
	tokenSecret  = "token"  // signs what parley token prints
	ticketSecret = "ticket" // signs resume and one-use tickets
)

// TokenKey returns the server's own key for bearer tokens, which lies in its
// data folder. Created tells that this call made it.
func TokenKey(dir datadir.Dir) (key *jwt.Key, created bool, err error) {
	secret, created, err := dir.Secret(tokenSecret)
	if err != nil {
		return nil, false, err
	}
	key, err = jwt.HS256(secret, jwt.Config{})
	return key, created, err
}

// verifier accepts the server's own tokens and those of the configured keys.
func verifier(dir datadir.Dir, c config.JWT) (jwt.Ring, error) {
	own, _, err := TokenKey(dir)
	if err != nil {
		return nil, err
	}
	ring := jwt.Ring{own}
	theirs := jwt.Config{Issuer: c.Issuer, Audience: c.Audience, Leeway: c.Leeway}
	if c.Secret != "" {
		key, err := jwt.HS256([]byte(c.Secret), theirs)
		if err != nil {
			return nil, fmt.Errorf("jwt.secret: %w", err)
		}
		ring = append(ring, key)
	}
	if c.PublicKey != "" {
		public, err := readPublicKey(c.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("jwt.public_key: %s: %w", c.PublicKey, err)
		}
		key, err := jwt.EdDSA(public, theirs)
		if err != nil {
			return nil, fmt.Errorf("jwt.public_key: %w", err)
		}
		ring = append(ring, key)
	}
	return ring, nil
}

func readPublicKey(path string) (ed25519.PublicKey, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("this is no PEM file: it begins with -----BEGIN PUBLIC KEY-----")
	}
	if block.Type == "PRIVATE KEY" {
		return nil, errors.New("this is the private key, which stays with whoever signs: make the public one with `openssl pkey -in KEY -pubout`")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("this is a key of another kind (%T): an Ed25519 key is needed", parsed)
	}
	return public, nil
}
