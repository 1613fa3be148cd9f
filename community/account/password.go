package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/parleyhq/parley/community/fault"
)

// Cost of a password hash: OWASP's argon2id profile of 19 MiB, two passes, one lane.
const (
	hashMemory  = 19 * 1024 // KiB
	hashPasses  = 2
	hashLanes   = 1
	hashSalt    = 16
	hashLength  = 32
	shortest    = 8
	longest     = 128 // characters; bounds what an attacker can make us hash
	hashVersion = argon2.Version
)

// hashesAtOnce bounds the memory that signing in can take: 4 × 19 MiB.
const hashesAtOnce = 4

var encoding = base64.RawStdEncoding

func acceptable(password string) error {
	switch n := utf8.RuneCountInString(password); {
	case n < shortest:
		return fault.Field("password", fault.ShortPassword)
	case n > longest:
		return fault.Field("password", fault.TooLong)
	}
	return nil
}

// hash makes the stored form of a password, in the PHC string format.
func (s *Service) hash(ctx context.Context, password string) (string, error) {
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.leave()
	salt := make([]byte, hashSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand stops the program instead
	sum := argon2.IDKey([]byte(password), salt, hashPasses, hashMemory, hashLanes, hashLength)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", hashVersion, hashMemory, hashPasses, hashLanes,
		encoding.EncodeToString(salt), encoding.EncodeToString(sum)), nil
}

// verify compares a password with a stored hash, in the same time for an empty hash as for a
// real one.
func (s *Service) verify(ctx context.Context, stored, password string) (bool, error) {
	if utf8.RuneCountInString(password) > longest {
		return false, nil
	}
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	if stored == "" {
		argon2.IDKey([]byte(password), make([]byte, hashSalt), hashPasses, hashMemory, hashLanes, hashLength)
		return false, nil
	}
	memory, passes, lanes, salt, sum, err := parseHash(stored)
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, lanes, uint32(len(sum)))
	return subtle.ConstantTimeCompare(got, sum) == 1, nil
}

func parseHash(stored string) (memory, passes uint32, lanes uint8, salt, sum []byte, err error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return 0, 0, 0, nil, nil, errors.New("account: stored password hash is not argon2id")
	}
	if _, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return 0, 0, 0, nil, nil, fmt.Errorf("account: stored password hash: %w", err)
	}
	salt, errSalt := encoding.DecodeString(parts[4])
	sum, errSum := encoding.DecodeString(parts[5])
	return memory, passes, lanes, salt, sum, errors.Join(errSalt, errSum)
}

func (s *Service) enter(ctx context.Context) error {
	select {
	case s.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) leave() { <-s.hashing }
