package jwt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// quick verifies what nearly every token is: HS256 with one of the two headers
// that programs write. All clients send one when a node comes back, and what
// the general way takes longest for is to find out what the header says and to
// make the hash anew. It accepts what that would accept, and refuses nothing:
// what it does not accept goes the general way, which also says why.
type quick struct {
	headers   []string // as they stand in a token
	strict    *base64.Encoding
	validator *jwt.Validator
	hashes    sync.Pool // of *keyed
}

// keyed is a hash with the secret in it, and room.
type keyed struct {
	hash.Hash

	text, sum []byte
}

func newQuick(secret []byte, options []jwt.ParserOption) *quick {
	q := &quick{strict: base64.RawURLEncoding.Strict(), validator: jwt.NewValidator(options...)}
	for _, header := range []string{`{"alg":"HS256","typ":"JWT"}`, `{"typ":"JWT","alg":"HS256"}`} {
		q.headers = append(q.headers, base64.RawURLEncoding.EncodeToString([]byte(header)))
	}
	q.hashes.New = func() any { return &keyed{Hash: hmac.New(sha256.New, secret)} }
	return q
}

// verify returns the claims of a token, or false for one to be looked at in
// the general way.
func (q *quick) verify(token string) (jwt.MapClaims, bool) {
	end := strings.LastIndexByte(token, '.')
	header, body, ok := strings.Cut(token[:max(end, 0)], ".")
	if !ok || !slices.Contains(q.headers, header) {
		return nil, false
	}
	h, _ := q.hashes.Get().(*keyed)
	defer q.hashes.Put(h)
	if !q.genuine(h, token[:end], token[end+1:]) {
		return nil, false
	}
	h.text = append(h.text[:0], body...)
	plain, err := q.strict.AppendDecode(h.sum[:0], h.text)
	if err != nil {
		return nil, false
	}
	h.sum = plain
	var claims jwt.MapClaims
	if json.Unmarshal(plain, &claims) != nil || q.validator.Validate(claims) != nil {
		return nil, false
	}
	return claims, true
}

// genuine reports whether seal is that of text.
func (q *quick) genuine(h *keyed, text, seal string) bool {
	var said [sha256.Size]byte
	h.text = append(h.text[:0], seal...)
	if len(seal) != q.strict.EncodedLen(len(said)) {
		return false
	}
	if n, err := q.strict.Decode(said[:], h.text); err != nil || n != len(said) {
		return false
	}
	h.Reset()
	h.text = append(h.text[:0], text...)
	_, _ = h.Write(h.text) // never fails (package hash)
	h.sum = h.Sum(h.sum[:0])
	return hmac.Equal(said[:], h.sum)
}
