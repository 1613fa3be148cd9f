package ticket

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/auth"
)

const (
	kindOnce = "pt1"
	// nonceSize is that of AES-GCM; the nonce doubles as the ticket's id.
	nonceSize = 12
	// DefaultLife is how long a one-use ticket waits to be used.
	DefaultLife = 30 * time.Second
)

// Spent remembers which tickets were used.
type Spent interface {
	// Spend records id as used until the given time, after which it may be
	// forgotten. First reports whether it had not been used before; of several
	// concurrent calls with one id exactly one is first. An error means that
	// the answer is not known, and the ticket is refused.
	Spend(ctx context.Context, id string, until time.Time) (first bool, err error)
}

// Once issues and redeems one-use tickets. A ticket is encrypted: the page that
// carries it can neither read nor change the identity inside. Once is safe for
// concurrent use.
type Once struct {
	keys  *Keys
	spent Spent
	life  time.Duration
}

// NewOnce makes an issuer whose tickets live for life, or DefaultLife when that
// is 0. A ticket is good on every node with the same keys, and is used once on
// all nodes that share spent; NewMemory serves one node.
func NewOnce(keys *Keys, spent Spent, life time.Duration) *Once {
	if life <= 0 {
		life = DefaultLife
	}
	return &Once{keys: keys, spent: spent, life: life}
}

// Is reports whether text has the form of a one-use ticket, so that the first
// message of a connection may carry either a ticket or a bearer token.
func Is(text string) bool { return strings.HasPrefix(text, kindOnce+".") }

type onceBody struct {
	User    string         `json:"u"`
	Name    string         `json:"n,omitempty"`
	Roles   []string       `json:"r,omitempty"`
	Until   int64          `json:"i,omitempty"` // the identity's expiry, Unix milliseconds; 0 for none
	Claims  map[string]any `json:"c,omitempty"`
	Expires int64          `json:"e"` // the ticket's
}

// open reads a body that was not tampered with.
func open(plain []byte) (b onceBody, err error) {
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber()
	err = d.Decode(&b)
	for name, v := range b.Claims {
		b.Claims[name] = whole(v)
	}
	return b, err
}

// whole gives whole numbers back as what they were, an int64: a float64 would
// equal none of them, and would round an id that is larger than 2^53.
func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	case map[string]any:
		for name, part := range v {
			v[name] = whole(part)
		}
	case []any:
		for i, part := range v {
			v[i] = whole(part)
		}
	}
	return v
}

// Issue returns a ticket for id and how long it lives. Claims travel as JSON:
// of numbers, whole ones come back as int64 and others as float64.
func (o *Once) Issue(id auth.Identity) (string, time.Duration, error) {
	if id.Anonymous() {
		return "", 0, &auth.Error{Code: auth.CodeTokenMissing, Message: "sign in first: a ticket stands for somebody"}
	}
	now := time.Now()
	if id.ExpiredAt(now) {
		return "", 0, &auth.Error{Code: auth.CodeTokenExpired, Message: "the sign-in has expired: sign in again"}
	}
	b := onceBody{User: id.User, Name: id.Name, Roles: id.Roles, Claims: id.Claims, Expires: now.Add(o.life).UnixMilli()}
	if !id.Expires.IsZero() {
		b.Until = id.Expires.UnixMilli()
	}
	plain, err := json.Marshal(b)
	if err != nil {
		return "", 0, fmt.Errorf("encode ticket: %w", err)
	}
	k := o.keys.current
	sealer, err := k.sealer()
	if err != nil {
		return "", 0, err
	}
	sealed := sealer.Seal(nil, nil, plain, []byte(kindOnce)) //nolint:gosec // this cipher draws a random nonce itself
	text := join(kindOnce, k, sealed[:nonceSize], sealed[nonceSize:])
	if len(text) > maxTicket {
		return "", 0, fmt.Errorf("the identity of %q is too large for a ticket: %d bytes, at most %d", id.User, len(text), maxTicket)
	}
	return text, o.life, nil
}

// Redeem returns the identity a ticket was issued for, the first time it is
// asked. A refusal is an *auth.Error with CodeTicketInvalid or
// CodeTicketExpired; any other error means that the ticket could not be judged.
func (o *Once) Redeem(ctx context.Context, text string) (auth.Identity, error) {
	const refusal = "the ticket is not genuine: fetch a new one"
	k, nonce, sealed, err := o.keys.split(kindOnce, text)
	if err != nil {
		return auth.Identity{}, invalid(refusal, err)
	}
	sealer, err := k.sealer()
	if err != nil {
		return auth.Identity{}, err
	}
	if len(nonce) != nonceSize {
		return auth.Identity{}, invalid(refusal, errShape)
	}
	plain, err := sealer.Open(nil, nil, slices.Concat(nonce, sealed), []byte(kindOnce))
	if err != nil {
		return auth.Identity{}, invalid(refusal, errForged)
	}
	b, err := open(plain)
	if err != nil {
		return auth.Identity{}, invalid(refusal, err)
	}
	until := time.UnixMilli(b.Expires)
	if !time.Now().Before(until) {
		return auth.Identity{}, expired("the ticket was not used in time: fetch a new one")
	}
	first, err := o.spent.Spend(ctx, base64.RawURLEncoding.EncodeToString(nonce), until)
	if err != nil {
		return auth.Identity{}, fmt.Errorf("look up whether a ticket was used: %w", err)
	}
	if !first {
		return auth.Identity{}, invalid("the ticket was used before: fetch a new one", errors.New("second use of one ticket"))
	}
	id := auth.Identity{User: b.User, Name: b.Name, Roles: b.Roles, Claims: b.Claims}
	if b.Until != 0 {
		id.Expires = time.UnixMilli(b.Until)
	}
	return id, nil
}

// sealer puts a random nonce in front of what it seals.
func (k *key) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.once)
	if err != nil {
		return nil, fmt.Errorf("ticket cipher: %w", err)
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("ticket cipher: %w", err)
	}
	return sealer, nil
}
