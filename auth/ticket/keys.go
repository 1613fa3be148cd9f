// Package ticket makes the two strings that a server hands out to recognise a
// client by: a one-use ticket, with which a page that has signed in opens a
// socket, and a resume ticket, with which a session is taken up again on any
// node without a look-up.
package ticket

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/parleyhq/parley/auth"
)

// MinSecret is the fewest bytes a secret may have.
const MinSecret = 32

// maxTicket bounds the work a stranger can ask for.
const maxTicket = 8 << 10

// Keys are the secrets that sign tickets: the first signs and all verify, so
// that a secret can be replaced while tickets of the old one are still out.
// They are safe for concurrent use, and the same secrets on several nodes make
// each other's tickets good.
type Keys struct {
	current *key
	byID    map[string]*key
}

// key is what is derived from one secret. The purposes are kept apart, so that
// one kind of ticket can never be passed off as the other.
type key struct {
	id     string
	hashes sync.Pool // of hash.Hash, with the secret of resume tickets in it
	once   []byte
}

// NewKeys makes the keys from the current secret and those it replaced, each at
// least MinSecret random bytes.
func NewKeys(current []byte, older ...[]byte) (*Keys, error) {
	ks := &Keys{byID: make(map[string]*key, 1+len(older))}
	for i, secret := range append([][]byte{current}, older...) {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("a secret that signs tickets needs at least %d random bytes, number %d has %d", MinSecret, i+1, len(secret))
		}
		k, err := derive(secret)
		if err != nil {
			return nil, err
		}
		if ks.current == nil {
			ks.current = k
		}
		if ks.byID[k.id] == nil {
			ks.byID[k.id] = k
		}
	}
	return ks, nil
}

func derive(secret []byte) (*key, error) {
	out := make(map[string][]byte, 3)
	for info, size := range map[string]int{"parley key id": 6, "parley resume ticket": 32, "parley one-use ticket": 32} {
		part, err := hkdf.Key(sha256.New, secret, nil, info, size)
		if err != nil {
			return nil, fmt.Errorf("derive ticket key: %w", err)
		}
		out[info] = part
	}
	k := &key{id: base64.RawURLEncoding.EncodeToString(out["parley key id"]), once: out["parley one-use ticket"]}
	resume := out["parley resume ticket"]
	k.hashes.New = func() any { return hmac.New(sha256.New, resume) }
	return k, nil
}

// split takes a ticket of the form kind.key-id.body.seal apart and finds its
// key. Nothing in it is believed before the seal is checked.
func (ks *Keys) split(kind, text string) (k *key, body, seal []byte, err error) {
	// Base64 decoders skip line breaks; one ticket has one spelling here.
	if text == "" || len(text) > maxTicket || strings.ContainsAny(text, "\r\n") {
		return nil, nil, nil, errShape
	}
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != kind {
		return nil, nil, nil, errShape
	}
	k, ok := ks.byID[parts[1]]
	if !ok {
		return nil, nil, nil, errUnknownKey
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	if body, err = decode(parts[2]); err != nil {
		return nil, nil, nil, errShape
	}
	if seal, err = decode(parts[3]); err != nil {
		return nil, nil, nil, errShape
	}
	return k, body, seal, nil
}

func join(kind string, k *key, body, seal []byte) string {
	encoding := base64.RawURLEncoding
	out := make([]byte, 0, len(kind)+len(k.id)+encoding.EncodedLen(len(body))+encoding.EncodedLen(len(seal))+3)
	out = append(append(append(append(out, kind...), '.'), k.id...), '.')
	out = append(encoding.AppendEncode(out, body), '.')
	return string(encoding.AppendEncode(out, seal))
}

// seal signs the body of a resume ticket.
func (k *key) seal(body []byte) []byte {
	h, _ := k.hashes.Get().(hash.Hash)
	defer k.hashes.Put(h)
	h.Reset()
	h.Write(body)
	return h.Sum(nil)
}

// Causes for the operator's log.
var (
	errShape      = errors.New("it does not look like a ticket of this kind")
	errUnknownKey = errors.New("it was signed with a secret this server does not have")
	errForged     = errors.New("its signature does not fit")
)

func invalid(message string, cause error) error {
	return &auth.Error{Code: auth.CodeTicketInvalid, Message: message, Cause: cause}
}

func expired(message string) error {
	return &auth.Error{Code: auth.CodeTicketExpired, Message: message}
}
